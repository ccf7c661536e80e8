"""The health of this machine's clock, as chrony, ntpd or timesyncd told its kernel."""

import ctypes
import logging
import sys
import time
from dataclasses import dataclass

log = logging.getLogger(__name__)
MOST_ERROR = 1.0  # seconds: what the embedded authority promises of its own tokens
_NOT_SYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_UNSYNC = 0x0040  # STA_UNSYNC


class _Timex(ctypes.Structure):
    """`struct timex` of <sys/timex.h>; only its first fields are read."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),  # microseconds
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


@dataclass(frozen=True)
class Clock:
    """`synchronised` is None where nobody knows; `error` is the estimated error in seconds, when it is."""

    synchronised: bool | None
    error: float | None = None

    @property
    def is_good(self) -> bool | None:
        """Whether times may be relied upon to the second; None where nobody knows."""
        if self.synchronised is None:
            return None
        return self.synchronised and (self.error or 0.0) <= MOST_ERROR

    @property
    def words(self) -> str:
        """The same, for people."""
        if self.synchronised is None:
            return "Cette machine ne dit pas si son horloge est synchronisée."
        if not self.synchronised:
            return "L'horloge n'est pas synchronisée (NTP)."
        said = f"{self.error or 0.0:.3f}".replace(".", ",")
        return f"L'horloge est synchronisée ; erreur estimée : {said} seconde."


def health() -> Clock:
    """What the kernel says now; it asks nothing of the network."""
    if not sys.platform.startswith("linux"):
        return Clock(None)
    try:
        found = _Timex()
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return Clock(None)
    if state < 0:
        return Clock(None)
    if state == _NOT_SYNCHRONISED or found.status & _UNSYNC:
        return Clock(False)
    return Clock(True, found.esterror / 1_000_000)


_EVERY = 3600.0  # seconds between two alarms of one process
_said = float("-inf")


def alarm() -> None:
    """Say it in the log, hourly, while the clock is not to be relied upon."""
    global _said
    clock, now = health(), time.monotonic()
    if clock.is_good is False and now >= _said + _EVERY:
        _said = now
        log.error("horloge : %s Les heures des dépôts en dépendent.", clock.words)
