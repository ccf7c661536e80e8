"""PDFs as ISO 32000-2 has them where pyHanko has its own mind: names are bytes, what is nowhere is null.

pyHanko takes names for UTF-8, else for Latin-1: two may be one for it, and one that it writes again may be
another, which designates nothing any more; so may a palette that it took for a text. Imported, this module
mends it for all that it reads and writes.
"""

import binascii
import re
from collections.abc import Callable
from typing import IO, BinaryIO

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.misc import PdfReadError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.xref import ObjStreamRef, XRefCache

_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_LEFT = re.compile(rb"#(?![0-9A-Fa-f]{2})|[\x00-\x20\x7f()<>\[\]{}/%]")
_TO_ESCAPE = re.compile(rb"[^!-~]|[#()<>\[\]{}/%]")


def _decoded(name: bytes) -> generic.NameObject:
    """§7.3.5: bytes above 126 stand for themselves, escaped or not. Raises PdfReadError."""
    if _LEFT.search(name):
        raise PdfReadError("a byte that must be escaped in a name")
    plain = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name)
    return generic.NameObject("/" + plain.decode("utf-8", "surrogateescape"))


def _write(
    name: generic.NameObject, stream: IO[bytes], handler: object = None, container_ref: object = None
) -> None:
    plain = name.encode("utf-8", "surrogateescape")[1:]
    stream.write(b"/" + _TO_ESCAPE.sub(lambda found: b"#%02X" % found[0][0], plain))


_write_text: Callable[..., None] = generic.TextStringObject.write_to_stream


def _write_as_read(text: generic.TextStringObject, *where: object, **more: object) -> None:
    text.force_output_encoding = text.force_output_encoding or text.autodetected_encoding
    _write_text(text, *where, **more)


_read_hex: Callable[[IO[bytes]], generic.PdfObject] = generic.read_hex_string_from_stream


def _read_hex_at_once(stream: IO[bytes]) -> generic.PdfObject:
    """As pyHanko does digit by digit, which is most of the time that a signed file takes."""
    start, size, parts, end = stream.tell(), 256, list[bytes](), b""
    stream.seek(start + 1)
    while not end and (block := stream.read(size)):
        part, end, _ = block.partition(b">")
        parts.append(part)
        size = 16384
    written = b"".join(parts)
    digits = written.translate(None, b" \t\r\n\f\0")
    try:
        found = binascii.unhexlify(digits if end else b"?")
    except binascii.Error:  # an odd number, a comment, no end: as it says
        stream.seek(start)
        return _read_hex(stream)
    stream.seek(start + len(written) + 2)
    return generic.pdf_string(found)


for _owner, _name, _mended in (
    (generic, "_decode_name", _decoded),
    (generic, "read_hex_string_from_stream", _read_hex_at_once),
    (generic.NameObject, "write_to_stream", _write),
    (generic.TextStringObject, "write_to_stream", _write_as_read),
):
    setattr(_owner, _name, _mended)


class _Tables(XRefCache):
    """Those of a document some of whose references designate nothing."""

    def get_introducing_revision(self, ref: generic.Reference) -> int:
        """Nothing was added by what is nowhere: since the first revision, it is null."""
        try:
            return int(super().get_introducing_revision(ref))
        except KeyError:
            return 0


class Reader(PdfFileReader):
    """A strict reader, but for references to what is nowhere: null (§7.3.10)."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.xrefs = _Tables(self, self.xrefs._xref_sections)

    def _read_object(
        self,
        ref: generic.Reference,
        marker: int | ObjStreamRef | None,
        never_decrypt: bool = False,
        as_metadata_stream: bool = False,
    ) -> generic.PdfObject:
        if marker is not None:
            read: generic.PdfObject = super()._read_object(ref, marker, never_decrypt, as_metadata_stream)
            return read
        found = generic.NullObject()
        found.container_ref = ref
        return found
