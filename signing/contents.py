"""Signed contents: a file of a bid or bytes found inside a container, digested without being read whole."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 1024 * 1024
_TEXT_LIMIT = 16 * 1024 * 1024  # bytes
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]|\r(?!\n)|\A[^\xff]{0,1024}%(?:PDF-|!PS)")


@dataclass
class Content:
    """A name and either a path or bytes; digests are computed once.

    `meant`: given as what is signed; otherwise it is a file of the same bid, among which that one may be.
    """

    name: str
    path: Path | None = None
    data: bytes = b""
    meant: bool = True
    _digests: dict[str, bytes] = field(default_factory=dict, repr=False)
    _mail_forms: "list[Content] | None" = field(default=None, repr=False)

    def digest(self, algorithm: str) -> bytes:
        """By asn1crypto's or hashlib's name. Raises ValueError for an unknown one."""
        if algorithm not in self._digests:
            running = hashlib.new(algorithm, usedforsecurity=False)
            if self.path is None:
                running.update(self.data)
            else:
                with self.path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        running.update(block)
            self._digests[algorithm] = running.digest()
        return self._digests[algorithm]

    def read(self, limit: int) -> bytes:
        """Raises ValueError beyond `limit` (bytes)."""
        if self.path is None:
            return self.data
        if self.path.stat().st_size > limit:
            raise ValueError("content too long")
        return self.path.read_bytes()

    def mail_forms(self) -> "list[Content]":
        """A text as mails sign it, alone or under the header of a text (RFC 8551 §3.1.1); none for another.

        The ends of its lines are all that changes: nothing in it is read by its place, as in a PDF.
        """
        if self._mail_forms is None:
            lines = self._lines()
            headers = () if lines is None else (b"", b"Content-Type: text/plain\r\n\r\n")
            self._mail_forms = [Content(self.name, data=each + (lines or b"")) for each in headers]
        return self._mail_forms

    def _lines(self) -> bytes | None:
        """With the ends of lines of a mail; None for what is no text."""
        try:
            data = self.read(_TEXT_LIMIT)
            data.decode("utf-8")
        except (ValueError, OSError):
            return None
        return None if _NO_TEXT.search(data) else data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def stem_of(signature: str) -> str:
    """« offre.pdf.p7s » and « offre.pdf - signature.p7s » speak of « offre.pdf »."""
    base = signature.rsplit("/", 1)[-1]
    for ending in (".p7s", ".p7m", ".sig", ".xml", ".asc", ".xades"):
        if base.lower().endswith(ending):
            base = base[: -len(ending)]
            break
    return base


def only_one(contents: Sequence[Content]) -> Content | None:
    """The content that was given alone, as what is signed."""
    return contents[0] if len(contents) == 1 and contents[0].meant else None


def named_like(signature: str, contents: Sequence[Content]) -> Content | None:
    """The content whose name the signature's repeats, when there is exactly one."""
    stem = stem_of(signature)
    close = [each for each in contents if each.name.rsplit("/", 1)[-1] == stem]
    return close[0] if len(close) == 1 else None
