"""ClamAV by INSTREAM: 1 MiB chunks, deadlines, and an honest word for what it could not scan."""

import enum
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from storage.archives import Zip64Watch
from storage.errors import AntivirusUnavailable, ScanFailed

CHUNK_BYTES = 1024**2
TWO_GIB = 2 * 1024**3  # clamd scans nothing above, whatever its settings
_TIMEOUT = 120.0  # seconds without progress


class State(enum.StrEnum):
    CLEAN = "clean"
    INFECTED = "infected"
    UNSCANNABLE = "unscannable"
    NOT_SCANNED = "not_scanned"


@dataclass(frozen=True)
class Verdict:
    """`name` is the threat or the reason, `engine` the version of engine and signatures."""

    state: State
    name: str = ""
    engine: str = ""


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(_TIMEOUT)
            link.connect(parts.path)
            return link
        return socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 3310), timeout=_TIMEOUT)
    except OSError as silent:
        raise AntivirusUnavailable("L'antivirus ne répond pas.") from silent


def _answer(link: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\0") and len(data) < 4096:
        block = link.recv(4096)
        if not block:
            break
        data += block
    return data.rstrip(b"\0").decode("utf-8", "replace").strip()


def version(url: str) -> str:
    """Engine and signature version, such as « ClamAV 1.4.6/27500/… ». Raises AntivirusUnavailable."""
    with _connect(url) as link:
        try:
            link.sendall(b"zVERSION\0")
            return _answer(link)
        except OSError as silent:
            raise AntivirusUnavailable("L'antivirus ne répond pas.") from silent


class ScanSession:
    """One file being scanned while it streams elsewhere: `feed` blocks, then `finish` for the verdict.

    With the word "none" as address nothing is scanned, and the verdict says so.
    """

    def __init__(self, url: str) -> None:
        self._none = url == "none"
        self._size = 0
        self._watch = Zip64Watch()
        self._cut = False
        self._link: socket.socket | None = None
        self._engine = ""
        if not self._none:
            self._engine = version(url)
            self._link = _connect(url)
            self._send(b"zINSTREAM\0")

    def _send(self, data: bytes) -> None:
        if self._link is None or self._cut:
            return
        try:
            self._link.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._cut = True  # clamd answered before the end (limit): its answer is still to be read
        except OSError as silent:
            raise ScanFailed("l'antivirus s'est interrompu") from silent

    def feed(self, block: bytes) -> None:
        """Give the next bytes. Raises ScanFailed."""
        self._size += len(block)
        if self._none:
            return
        self._watch.feed(block)
        if self._size > TWO_GIB:
            return
        for start in range(0, len(block), CHUNK_BYTES):
            chunk = block[start : start + CHUNK_BYTES]
            self._send(len(chunk).to_bytes(4, "big") + chunk)

    def finish(self) -> Verdict:
        """The verdict. Raises ScanFailed."""
        if self._link is None:
            return Verdict(State.NOT_SCANNED, "aucun antivirus configuré")
        with self._link as link:
            self._send((0).to_bytes(4, "big"))
            try:
                answer = _answer(link)
            except OSError as silent:
                raise ScanFailed("l'antivirus s'est interrompu") from silent
        return self._read(answer)

    def _read(self, answer: str) -> Verdict:
        found = re.fullmatch(r"stream: (.*) FOUND", answer)
        if found and not found[1].startswith(("Heuristics.Limits.", "Heuristics.Encrypted.")):
            return Verdict(State.INFECTED, found[1], self._engine)
        if found:
            return Verdict(State.UNSCANNABLE, found[1], self._engine)
        if "size limit exceeded" in answer or self._size > TWO_GIB:
            return Verdict(State.UNSCANNABLE, "fichier au-delà de la taille analysable", self._engine)
        if answer != "stream: OK":
            raise ScanFailed(f"l'antivirus a répondu « {answer[:80]} »")
        if self._watch.found:
            return Verdict(State.UNSCANNABLE, "archive ZIP64, que l'antivirus ne déplie pas", self._engine)
        return Verdict(State.CLEAN, "", self._engine)

    def close(self) -> None:
        """Give up."""
        if self._link is not None:
            self._link.close()


def open_session() -> ScanSession:
    """A session with the antivirus of settings.ANTIVIRUS_URL.

    Raises AntivirusUnavailable, also when it is not set.
    """
    from django.conf import settings

    if not settings.ANTIVIRUS_URL:
        raise AntivirusUnavailable("Aucun antivirus n'est configuré (DEMATMP_ANTIVIRUS_URL).")
    return ScanSession(settings.ANTIVIRUS_URL)


def scan(chunks: Iterable[bytes]) -> Verdict:
    """The verdict on a stream. Raises AntivirusUnavailable, ScanFailed."""
    session = open_session()
    try:
        for chunk in chunks:
            session.feed(chunk)
        return session.finish()
    finally:
        session.close()
