"""A thin client of clamd: version, how busy it is, and INSTREAM in 1 MiB chunks, with deadlines."""

import re
import socket
from urllib.parse import urlsplit

from storage.errors import AntivirusUnavailable, ScanFailed

CHUNK_BYTES = 1024**2
_SILENT = "L'antivirus ne répond pas."
_ASK_SECONDS = 5.0  # for a question without a file
_SCAN_SECONDS = 120.0  # without progress
_ANSWER_SECONDS = 180.0  # after the last byte: more than MaxScanTime (deploy/clamav/clamd.conf)
_REFUSAL_SECONDS = 1.0  # in which a length that is too great is refused


def connect(url: str, *, timeout: float) -> socket.socket:
    """A connection to `tcp://host:port` or `unix:///path`. Raises AntivirusUnavailable."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(timeout)
            link.connect(parts.path)
            return link
        return socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 3310), timeout=timeout)
    except OSError as silent:
        raise AntivirusUnavailable(_SILENT) from silent


def _answer(link: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\0") and len(data) < 65536:
        block = link.recv(4096)
        if not block:
            break
        data += block
    return data.rstrip(b"\0").decode("utf-8", "replace").strip()


def _ask(url: str, command: bytes) -> str:
    with connect(url, timeout=_ASK_SECONDS) as link:
        try:
            link.sendall(command)
            return _answer(link)
        except OSError as silent:
            raise AntivirusUnavailable(_SILENT) from silent


def version(url: str) -> str:
    """Engine and signature base, such as « ClamAV 1.4.6/27500/… ». Raises AntivirusUnavailable.

    clamd counts in it only the signatures of its makers: the fragment of an address (`tcp://av2:3310#sane-3`)
    names a base to which others were added, and is said with it.
    """
    said = _ask(url, b"zVERSION\0")
    if not said:
        raise AntivirusUnavailable(_SILENT)
    name = urlsplit(url).fragment
    return f"{said} #{name}" if name else said


def base_of(engine: str) -> str:
    """The signature base of a version: what two engines must differ by to be two opinions."""
    numbered, _, name = engine.partition(" #")
    return name or numbered.partition("/")[2]


def load(url: str) -> int:
    """Files being scanned and waiting there. Raises AntivirusUnavailable."""
    said = _ask(url, b"zSTATS\0")
    threads = re.search(r"THREADS: live (\d+)\s+idle (\d+)", said)
    queue = re.search(r"QUEUE: (\d+) item", said)
    busy = int(threads[1]) - int(threads[2]) if threads else 0
    return busy + (int(queue[1]) if queue else 0)


def accepts(url: str, size: int) -> bool:
    """Whether a stream of so many bytes passes its StreamMaxLength. Raises AntivirusUnavailable.

    A length that is too great is refused as soon as it is announced: not one byte of it is sent.
    """
    with connect(url, timeout=_ASK_SECONDS) as link:
        try:
            link.sendall(b"zINSTREAM\0" + size.to_bytes(4, "big"))
            link.settimeout(_REFUSAL_SECONDS)
            return not _answer(link)
        except TimeoutError:
            return True  # it waits for the bytes
        except OSError as silent:
            raise AntivirusUnavailable(_SILENT) from silent


class Stream:
    """One INSTREAM: `send` blocks, then `answer`."""

    def __init__(self, url: str, engine: str) -> None:
        self.engine = engine
        self._cut = False
        self._link = connect(url, timeout=_SCAN_SECONDS)
        self._send(b"zINSTREAM\0")

    def _send(self, data: bytes) -> None:
        if self._cut:
            return
        try:
            self._link.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._cut = True  # clamd answered before the end (limit): its answer is still to be read
        except OSError as silent:
            raise ScanFailed("l'antivirus s'est interrompu") from silent

    def send(self, block: bytes) -> None:
        """Raises ScanFailed."""
        for start in range(0, len(block), CHUNK_BYTES):
            chunk = block[start : start + CHUNK_BYTES]
            self._send(len(chunk).to_bytes(4, "big") + chunk)

    def answer(self) -> str:
        """What clamd says of it all, such as « stream: OK ». Raises ScanFailed."""
        with self._link:
            self._send((0).to_bytes(4, "big"))
            try:
                self._link.settimeout(_ANSWER_SECONDS)
                return _answer(self._link)
            except OSError as silent:
                raise ScanFailed("l'antivirus s'est interrompu") from silent

    def close(self) -> None:
        """Give up."""
        self._link.close()
