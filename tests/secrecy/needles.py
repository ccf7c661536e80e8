"""What must not be found, and every form under which it is looked for."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote


def _base64(secret: bytes) -> Iterator[bytes]:
    """What base64 of any text that holds the secret must hold, at each of the three alignments."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        skipped = (shift * 8 + 5) // 6
        kept = (len(secret) + shift) // 3 * 4
        body = encoded[skipped:kept]
        yield body
        yield body.replace(b"+", b"-").replace(b"/", b"_")


@dataclass(frozen=True)
class Needle:
    """A secret and its name in reports."""

    name: str
    secret: bytes

    def forms(self) -> frozenset[bytes]:
        """Raw, base64, hexadecimal, URL-encoded, UTF-16, escaped as in JSON."""
        found = {
            self.secret,
            self.secret.hex().encode(),
            self.secret.hex().upper().encode(),
            *_base64(self.secret),
        }
        try:
            text = self.secret.decode()
        except UnicodeDecodeError:
            return frozenset(found)
        found |= {text.encode("utf-16-le"), text.encode("utf-16-be"), quote(text).encode()}
        found.add(json.dumps(text)[1:-1].encode())
        return frozenset(found)


class Haystack:
    """Looks for every form of every needle; what is compressed is opened first."""

    def __init__(self, needles: list[Needle]) -> None:
        self._forms = [(needle.name, form) for needle in needles for form in needle.forms()]

    def search(self, data: bytes) -> set[str]:
        """Names of the needles that are there."""
        found = {name for name, form in self._forms if form in data}
        for opened in _decompressed(data):
            found |= {name for name, form in self._forms if form in opened}
        return found


def _decompressed(data: bytes) -> Iterator[bytes]:
    if data[:2] == b"\x1f\x8b":
        try:
            yield gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return
