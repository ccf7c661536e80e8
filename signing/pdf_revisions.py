"""Whether what follows a signed revision is all accounted for, for readers that repair files too.

A reader that finds a table wanting rebuilds it by looking for objects in the bytes (the « incremental
saving » and « shadow » attacks): the objects that it would find must be those that the tables list, and the
signed bytes must be a document by themselves.
"""

import io
import mmap
import re
from collections.abc import Iterator
from typing import BinaryIO

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.xref import XRefSectionData, XRefSectionMetaInfo, XRefSectionType

from signing.pdf_grammar import NotPlain, check_updates
from signing.pdf_reading import Reader

_OBJECT = re.compile(rb"(?<![0-9])([0-9]{1,10})[\s\0]+([0-9]{1,5})[\s\0]+obj\b")
_BLANK = re.compile(rb"(?:[\s\0]|%[^\r\n]*[\r\n])*")
_HEAD_BYTES = 2048
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_SIZE = re.compile(rb"/L(?:[\s\0]|%[^\r\n]*[\r\n])*\+?(\d{1,15})")
_LENGTH = re.compile(rb"/Length[\s\0]+(\d{1,10})")
_MAX_NUMBER = 8_388_607  # of an object (ISO 32000-2 annex C): beyond it, readers differ


def is_hybrid_plain(reader: PdfFileReader, signed_revision: int) -> bool:
    """Whether the second system of tables (§7.5.8.4) says what the first says, and only adds to it.

    Such are the files of office suites; otherwise two readers may see two documents. Added since, it is not
    plain.
    """
    xrefs = reader.xrefs
    known: dict[int, object] = {}
    for revision in range(xrefs.total_revisions):
        section = xrefs.get_xref_data(revision)
        known |= _places(section)
        if section.hybrid is None:
            continue
        added = _places(section.hybrid.xref_data)
        if revision > signed_revision or any(known.get(each, at) != at for each, at in added.items()):
            return False
    return True


def _places(section: XRefSectionData) -> dict[int, object]:
    return {**section.standard_xrefs, **section.xrefs_in_objstm}


def stands_alone(reader: PdfFileReader, file: BinaryIO, *, end: int, signed_revision: int) -> bool:
    """Whether the revision that ends at `end` reads the same alone, and nothing after it is left unlisted."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return (
            not _is_linear_again(data)
            and _is_tabled(reader, end=end, signed_revision=signed_revision)
            and _lists_its_objects(reader, data)
            and _is_plain_after(reader, data, end=end, signed_revision=signed_revision)
            and _holds_listed_members(reader, signed_revision)
            and _reads_the_same(reader, data[:end], signed_revision)
        )


def _is_linear_again(data: mmap.mmap) -> bool:
    """Whether a head for reading page by page (annex F) gives the size that the file has only now.

    Readers then follow its table, and not the last one.
    """
    head = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), data[:_HEAD_BYTES])
    return b"/Linearized" in head and any(int(each) == len(data) for each in _SIZE.findall(head))


def _sections(reader: PdfFileReader, revision: int) -> Iterator[tuple[XRefSectionData, XRefSectionMetaInfo]]:
    section = reader.xrefs.get_xref_data(revision)
    yield section, reader.xrefs.get_xref_container_info(revision)
    if section.hybrid is not None:
        yield section.hybrid.xref_data, section.hybrid.meta_info


def _is_tabled(reader: PdfFileReader, *, end: int, signed_revision: int) -> bool:
    """Each table says its size and its root, and those that are signed list nothing beyond what is signed."""
    xrefs = reader.xrefs
    trailers = reader.trailer._trailer_revisions  # the latest first
    if len(trailers) != xrefs.total_revisions:
        return False
    for revision in range(xrefs.total_revisions):
        trailer = trailers[xrefs.total_revisions - 1 - revision]
        size = trailer.get("/Size")
        if not isinstance(size, generic.NumberObject) or not 0 < size <= _MAX_NUMBER + 1:
            return False
        for section, _ in _sections(reader, revision):
            if max((*section.standard_xrefs, *section.xrefs_in_objstm), default=0) >= size:
                return False
            offsets = [offset for _, offset in section.standard_xrefs.values()]
            if revision <= signed_revision and max(offsets, default=0) >= end:
                return False
        if revision > signed_revision and not _names_its_root(trailer):
            return False
    return True


def _names_its_root(trailer: generic.DictionaryObject) -> bool:
    return "/Root" in trailer and isinstance(trailer.raw_get("/Root"), generic.IndirectObject)


def _begins(data: mmap.mmap, offset: int) -> int:
    """Where the object begins that a table says to be there: some count the blank before it."""
    blank = _BLANK.match(data, offset)
    return blank.end() if blank else offset


def _lists_its_objects(reader: PdfFileReader, data: mmap.mmap) -> bool:
    """Each object in the bytes is where some table says that it is."""
    starts = set[int]()
    for revision in range(reader.xrefs.total_revisions):
        for section, meta in _sections(reader, revision):
            offsets = [offset for _, offset in section.standard_xrefs.values()]
            if meta.xref_section_type != XRefSectionType.STANDARD:
                offsets.append(meta.start_location)
            starts |= {_begins(data, offset) for offset in offsets}
    return all(found.start() in starts for found in _OBJECT.finditer(data))


def _is_plain_after(reader: PdfFileReader, data: mmap.mmap, *, end: int, signed_revision: int) -> bool:
    """Whether the bytes of the updates are objects that are listed and their tables, to the letter."""
    places: dict[int, tuple[int, int]] = {}
    tables: set[int] = set()
    for revision in range(signed_revision + 1, reader.xrefs.total_revisions):
        for section, meta in _sections(reader, revision):
            for number, (generation, offset) in section.standard_xrefs.items():
                places[_begins(data, offset)] = number, generation
            if meta.xref_section_type != XRefSectionType.STANDARD:
                tables.add(_begins(data, meta.start_location))

    def length_at(position: int) -> int | None:
        if position in tables:
            said = _LENGTH.search(data, position)
            return int(said[1]) if said else None
        found = _object(reader, *places[position])
        return len(found.encoded_data) if isinstance(found, generic.StreamObject) else None

    try:
        check_updates(data, end, listed=places.keys() | tables, length_at=length_at)
    except NotPlain:
        return False
    return True


def _holds_listed_members(reader: PdfFileReader, signed_revision: int) -> bool:
    """Each object stream added since holds as many objects as its table designates there."""
    for revision in range(signed_revision + 1, reader.xrefs.total_revisions):
        for section, _ in _sections(reader, revision):
            members: dict[int, int] = {}
            for place in section.xrefs_in_objstm.values():
                members[place.obj_stream_id] = members.get(place.obj_stream_id, 0) + 1
            for number in section.standard_xrefs:
                added = _object(reader, number, section.standard_xrefs[number][0])
                is_holder = isinstance(added, generic.StreamObject) and added.get("/Type") == "/ObjStm"
                if is_holder and added.get("/N") != members.get(number, 0):  # type: ignore[attr-defined]
                    return False
    return True


def _object(reader: PdfFileReader, number: int, generation: int) -> generic.PdfObject:
    found: generic.PdfObject = reader.get_object(  # type: ignore[no-untyped-call]
        generic.Reference(number, generation, reader), never_decrypt=True
    )
    return found


def _reads_the_same(reader: PdfFileReader, signed: bytes, signed_revision: int) -> bool:
    """The signed bytes, opened without what follows, give each object listed, and the same streams."""
    alone = Reader(io.BytesIO(signed))
    then = reader.get_historical_resolver(signed_revision)
    for revision in range(signed_revision + 1):
        section = reader.xrefs.get_xref_data(revision)
        for number, generation in section.explicit_refs_in_revision:
            if number in section.freed:
                continue
            mine = _object(alone, number, generation)
            seen = then(generic.Reference(number, generation, reader))
            if isinstance(mine, generic.StreamObject) != isinstance(seen, generic.StreamObject):
                return False
            if isinstance(mine, generic.StreamObject) and mine.encoded_data != seen.encoded_data:
                return False
    return True


def draws_no_text(reader: PdfFileReader, *, most: int) -> bool:
    """Whether no field but signatures, and no annotation with a text of its own, takes the form's fonts.

    False beyond `most` nodes of the document.
    """
    root = reader.root
    nodes: list[object] = [_held(root, "/Pages")]
    form = _held(root, "/AcroForm")
    nodes += _children(form, "/Fields") if isinstance(form, generic.DictionaryObject) else []
    for _ in range(most):
        if not nodes:
            return True
        node = nodes.pop()
        if not isinstance(node, generic.DictionaryObject):
            return False
        kind = str(_held(node, "/FT") or "/Sig")
        if kind != "/Sig" or ("/DA" in node and str(_held(node, "/Subtype")) != "/Widget"):
            return False
        nodes += _children(node, "/Kids") + _children(node, "/Annots")
    return False


def _children(owner: generic.DictionaryObject, name: str) -> list[object]:
    held = _held(owner, name)
    return [each.get_object() for each in held] if isinstance(held, generic.ArrayObject) else []


def _held(owner: generic.DictionaryObject, name: str) -> object:
    """An entry, behind its reference if it is one; None when there is none."""
    try:
        return owner[name]
    except KeyError:
        return None
