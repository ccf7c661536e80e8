"""PDFs as ISO 32000-2 has them where pyHanko has its own mind: names are bytes, what is nowhere is null.

pyHanko takes names for UTF-8, else for Latin-1: two may be one for it, and one that it writes again may be
another, which designates nothing any more; so may a palette that it took for a text. Imported, this module
mends it for all that it reads and writes.
"""

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


for _owner, _name, _mended in (
    (generic, "_decode_name", _decoded),
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
