"""The antivirus: a file is scanned while it streams elsewhere, with an honest word for what could not be."""

import contextlib
import re
import tempfile
from collections.abc import Iterable
from typing import IO

from storage.errors import AntivirusUnavailable, workspace
from storage.members import scan_members
from storage.panel import TOO_LARGE, Opinions, Panel, State, Verdict
from storage.unpack import TAR_MAGIC_END, Zip64Watch, magic

__all__ = ["Panel", "ScanSession", "State", "Verdict", "open_session", "scan"]

ARCHIVE_BYTES = 16 * 1024**3  # above, an archive is not unpacked by us


class ScanSession:
    """One file being scanned while it streams elsewhere: `feed` blocks, then `finish` for the verdict.

    An archive is kept aside while it passes (a file without a name): what ClamAV passes over in silence
    (ZIP64) or gives up on (its limits) is then unpacked by a child process and scanned member by member.
    Without a panel nothing is scanned, and the verdict says so.
    """

    def __init__(self, panel: Panel | None) -> None:
        self._panel = panel
        self._head = b""
        self._watch = Zip64Watch()
        self._aside: IO[bytes] | None = None
        self._lost = False
        self._size = 0
        self._opinions = Opinions(panel.chosen()) if panel else None

    def feed(self, block: bytes) -> None:
        """Give the next bytes. Raises ScanFailed."""
        self._size += len(block)
        if self._opinions is None:
            return
        if len(self._head) < TAR_MAGIC_END:
            self._head += block
            if len(self._head) >= TAR_MAGIC_END:
                self._begin()
        elif self._aside is not None:
            self._keep(block)
        self._watch.feed(block)
        self._opinions.feed(block)

    def _begin(self) -> None:
        if magic(self._head):
            with workspace():
                self._aside = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
            self._keep(self._head)

    def _keep(self, block: bytes) -> None:
        if self._aside is None:
            return
        if self._size > ARCHIVE_BYTES:  # never called clean, for nobody looked inside
            self._aside.close()
            self._aside, self._lost = None, True
            return
        with workspace():
            self._aside.write(block)

    def finish(self) -> Verdict:
        """The verdict. Raises ScanFailed, AntivirusUnavailable."""
        if self._opinions is None or self._panel is None:
            return Verdict(State.NOT_SCANNED, "aucun antivirus configuré")
        if len(self._head) < TAR_MAGIC_END:
            self._begin()
        verdict = self._opinions.finish()
        gave_up = verdict.name.startswith("Heuristics.Limits.") or verdict.name == TOO_LARGE
        if self._aside is not None and (verdict.state is State.CLEAN or gave_up):
            inside = scan_members(self._aside, self._panel, everything=gave_up)
            if inside is not None:
                return Verdict(inside.state, inside.name, inside.engine or verdict.engine)
        elif verdict.state is State.CLEAN and self._lost:
            return Verdict(State.UNSCANNABLE, "archive trop volumineuse pour être dépliée", verdict.engine)
        elif verdict.state is State.CLEAN and self._watch.found:
            return Verdict(State.UNSCANNABLE, "archive ZIP64, que l'antivirus ne déplie pas", verdict.engine)
        return verdict

    def close(self) -> None:
        """Give up."""
        if self._opinions is not None:
            self._opinions.close()
        if self._aside is not None:
            with contextlib.suppress(OSError):  # what it had not written yet
                self._aside.close()


def panel() -> Panel | None:
    """The panel of the settings; None for the word "none". Raises AntivirusUnavailable when it is not set."""
    from django.conf import settings

    if settings.ANTIVIRUS_URL == "none":
        return None
    urls = [url for url in re.split(r"[\s,]+", settings.ANTIVIRUS_URL) if url]
    if not urls:
        raise AntivirusUnavailable("Aucun antivirus n'est configuré (DEMATMP_ANTIVIRUS_URL).")
    return Panel(urls, settings.ANTIVIRUS_AGREE)


def current_engines() -> list[str]:
    """What verdicts given now may bear as `engine`; empty without an antivirus, or when none answers."""
    try:
        asked = panel()
    except AntivirusUnavailable:
        return []
    return asked.engines() if asked else []


def answers() -> bool:
    """Whether a file given now would be scanned, or labelled by who wants no antivirus."""
    try:
        asked = panel()
    except AntivirusUnavailable:
        return False
    return asked is None or bool(asked.engines())


def open_session() -> ScanSession:
    """A session with the antivirus of the settings. Raises AntivirusUnavailable, also when it is not set."""
    return ScanSession(panel())


def scan_with(asked: Panel | None, chunks: Iterable[bytes]) -> Verdict:
    """The verdict of a panel on a stream. Raises AntivirusUnavailable, ScanFailed."""
    session = ScanSession(asked)
    try:
        for chunk in chunks:
            session.feed(chunk)
        return session.finish()
    finally:
        session.close()


def scan(chunks: Iterable[bytes]) -> Verdict:
    """The verdict on a stream. Raises AntivirusUnavailable, ScanFailed."""
    return scan_with(panel(), chunks)
