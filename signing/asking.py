"""Ask a timestamp authority over HTTP (RFC 3161 §3.4), within limits of seconds and of bytes."""

import concurrent.futures
import threading
import time
from collections.abc import Sequence
from datetime import datetime

import httpx

from signing.authority import Authority
from signing.errors import TimestampRefused

TOKEN_LIMIT = 1024 * 1024  # bytes of a response


def started(
    authority: Authority | str, request: bytes, now: datetime, timeout: float
) -> concurrent.futures.Future[bytes]:
    """The question, asked in a thread that nobody waits for: an authority may trickle its answer for ever."""
    future: concurrent.futures.Future[bytes] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(_ask(authority, request, now, timeout))
        except BaseException as failed:  # noqa: BLE001  (raised again by whoever reads the future)
            future.set_exception(failed)

    threading.Thread(target=run, daemon=True).start()
    return future


def _ask(authority: Authority | str, request: bytes, now: datetime, timeout: float) -> bytes:
    if isinstance(authority, Authority):
        return authority.respond(request, now=now)
    return _post(authority, request, timeout)


def _post(authority: str, request: bytes, timeout: float) -> bytes:
    headers = {"Content-Type": "application/timestamp-query"}
    with httpx.stream("POST", authority, content=request, headers=headers, timeout=timeout) as answer:
        answer.raise_for_status()
        data, until = b"", time.monotonic() + timeout  # of all, not of each byte
        for block in answer.iter_bytes():
            data += block
            if time.monotonic() > until:
                raise TimestampRefused("Réponse trop lente.")
            if len(data) > TOKEN_LIMIT:
                raise TimestampRefused("Réponse trop longue.")
    return data


class Resting:
    """Authorities that failed several times in a row: for a while they are asked after the others."""

    FAILURES, SECONDS = 3, 60.0

    def __init__(self) -> None:
        self._failed: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def last(self, authorities: Sequence[Authority | str]) -> list[Authority | str]:
        """The same, those that rest at the end: nobody is refused a token for their sake."""
        now = time.monotonic()
        return sorted(authorities, key=lambda each: self._until.get(str(each), 0.0) > now)

    def heard(self, authority: str, *, good: bool) -> None:
        count = 0 if good else self._failed.get(authority, 0) + 1
        self._failed[authority] = count
        if count >= self.FAILURES:
            self._until[authority] = time.monotonic() + self.SECONDS
        elif good:
            self._until.pop(authority, None)
