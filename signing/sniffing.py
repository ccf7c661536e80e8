"""What a file is, by its first bytes: the engine is chosen by content, never by extension."""

from enum import Enum
from pathlib import Path

from signing.der import is_signed_data
from signing.mime import is_mail

_HEAD_BYTES, MOST_BYTES = 4096, 64 * 1024  # servers write much before what a mail is
_ARMOURS = (b"\n-----BEGIN PKCS7-----", b"\n-----BEGIN CMS-----", b"\n-----BEGIN PKCS #7 SIGNED DATA-----")


class Kind(Enum):
    PDF = "PDF"
    CMS = "CMS"
    XML = "XML"
    ZIP = "ZIP"
    POLYGLOT = "polyglot"  # a PDF that does not begin at its first byte: readers disagree on what it is
    OTHER = "other"


def kind_of(path: Path) -> Kind:
    with path.open("rb") as file:
        head = file.read(MOST_BYTES)
    return sniff(head)


def sniff(head: bytes) -> Kind:
    """From the first MOST_BYTES: all of them for a mail, 4 KiB for anything else."""
    start, head = head, head[:_HEAD_BYTES]
    if head.startswith(b"%PDF-"):
        return Kind.PDF
    if head.startswith(b"PK\x03\x04"):
        return Kind.ZIP
    if is_signed_data(head):
        return Kind.CMS
    if b"%PDF-" in head[:1024]:
        return Kind.POLYGLOT
    text = head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00")
    if text.startswith(b"<"):
        return Kind.XML
    if text.startswith((b"-----BEGIN ", b"M")) or any(name in head for name in _ARMOURS):
        return Kind.CMS  # PEM or base64: undressed, it may turn out to be something else
    if is_mail(start):
        return Kind.CMS
    return Kind.OTHER
