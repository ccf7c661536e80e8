"""What an update does to the objects that were signed, beside pyHanko's own analysis.

That one never follows a key named /Parent, takes a string for a name and a list for a set (shadow attacks):
here each object that an update defines is compared to the letter with the one of that number before, and one
that was designated before it existed is refused. What may change is named: the catalogue's form, store and
metadata, the information of the document, lists that grow, fields that are signed.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader

from signing.pdf_drawing import held

_CATALOGUE = frozenset({"/AcroForm", "/DSS", "/Extensions", "/Metadata", "/Version"})
_FORM = frozenset({"/Fields", "/SigFlags"})
_DEFAULTS = frozenset({"/DA", "/DR", "/Q"})  # which the policy judges, where they are new
_DATED = frozenset({"/ModDate", "/Producer", "/Creator", "/CreationDate"})
_ONE_OF_A_KIND = frozenset({"/Catalog", "/Page", "/Pages", "/XRef"})
_TRAILER = frozenset({"/Encrypt", "/Info", "/Root"})  # which the trailer of a table designates
_MOST = 1_000_000  # values walked
_Place = tuple[int, str]  # the number of an object, and the key of it


@dataclass
class _Before:
    """The objects of the signed revision: generation by number, and who designates those that changed."""

    generations: dict[int, int] = field(default_factory=dict)
    holders: dict[int, set[_Place]] = field(default_factory=dict)


class Changes:
    """What came after a signed revision. `titled`: what the document says of itself changed."""

    def __init__(self, reader: PdfFileReader, signed_revision: int) -> None:
        self._reader, self._signed = reader, signed_revision
        self._then = reader.get_historical_resolver(signed_revision)
        self._later: dict[int, int] = {}
        self._freed: set[int] = set()
        self._tables: set[int] = set()
        for revision in range(signed_revision + 1, reader.xrefs.total_revisions):
            section = reader.xrefs.get_xref_data(revision)
            for number, generation in section.explicit_refs_in_revision:
                self._later[number] = generation
            self._freed |= set(section.freed) if section.freed else set()
            self._tables |= self._table_of(revision)
        self._before = self._read_before()
        trailers = reader.trailer._trailer_revisions  # the latest first
        trailer = trailers[len(trailers) - 1 - signed_revision]
        self._root, self._info = _number(trailer, "/Root"), _number(trailer, "/Info")
        self._catalogue = reader.get_historical_root(signed_revision)
        self._form, self._metadata = (
            _number(self._catalogue, "/AcroForm"),
            _number(self._catalogue, "/Metadata"),
        )
        self._store = self._of_the_store()
        self.titled = False

    def _table_of(self, revision: int) -> set[int]:
        """The number of the object that is the table of a revision, when it is one (§7.5.8)."""
        xrefs = self._reader.xrefs
        start = xrefs.get_xref_container_info(revision).start_location
        standard = xrefs.get_xref_data(revision).standard_xrefs
        return {number for number, (_, offset) in standard.items() if offset == start}

    def are_foreseen(self, signed_fields: Collection[int]) -> bool:
        """Whether nothing changed but what may; `signed_fields`: the numbers of fields signed since."""
        latest = self._reader.trailer._trailer_revisions[0]
        return _number(latest, "/Root") == self._root and all(
            self._is_foreseen(number, signed_fields) for number in {*self._later, *self._freed}
        )

    def _read_before(self) -> _Before:
        before, xrefs, tables = _Before(), self._reader.xrefs, set[int]()
        for revision in range(self._signed + 1):
            section = xrefs.get_xref_data(revision)
            tables |= self._table_of(revision)
            # Those of the second system of tables too, which hybrid files have (§7.5.8.4).
            before.generations |= {
                each.idnum: each.generation for each in xrefs.explicit_refs_in_revision(revision)
            }
            for number in section.freed or ():
                before.generations.pop(number, None)
        changed, left = {*self._later, *self._freed}, _MOST
        for number in before.generations:
            for key, reference in _references(self._old(number, before)):
                left -= 1
                if left < 0:
                    raise ValueError("too many objects")
                if number in tables and key in _TRAILER:
                    continue
                if reference.idnum in changed:
                    before.holders.setdefault(reference.idnum, set()).add((number, key))
        return before

    def _old(self, number: int, before: _Before | None = None) -> generic.PdfObject:
        generation = (before or self._before).generations[number]
        found: generic.PdfObject = self._then(generic.Reference(number, generation, self._reader))
        return found

    def _is_foreseen(self, number: int, signed_fields: Collection[int]) -> bool:
        holders = self._before.holders.get(number, set())
        if number not in self._later:
            return not holders  # taken away
        new: generic.PdfObject = self._reader.get_object(  # type: ignore[no-untyped-call]
            generic.Reference(number, self._later[number], self._reader), never_decrypt=True
        )
        if number not in self._before.generations:
            # Designated before it was there, or a second one of what a document has once.
            kind = str(held(new, "/Type")) if isinstance(new, generic.DictionaryObject) else ""
            return not holders and (kind not in _ONE_OF_A_KIND or number in self._tables)
        old = self._old(number)
        if number in signed_fields or _same(old, new):
            return True
        if number == self._info:
            self.titled |= _differs(old, new, _DATED)
            return not holders
        if number == self._metadata:
            return holders == {(self._root, "/Metadata")}
        if number in self._store:
            return all(each in self._store or (each, key) == (self._root, "/DSS") for each, key in holders)
        if isinstance(old, generic.DictionaryObject) and isinstance(new, generic.DictionaryObject):
            if number == self._root:
                return not _differs(old, new, _CATALOGUE) and self._form_grows(old, new)
            if number == self._form:
                return _is_form_of(old, new)
            return str(held(old, "/Type")) == "/Page" and self._page_grows(old, new)
        if isinstance(old, generic.ArrayObject) and isinstance(new, generic.ArrayObject):
            keys = {key for _, key in holders}
            return keys in ({"/Annots"}, {"/Fields"}) and _grows(old, new, in_order=keys == {"/Annots"})
        return False

    def _form_grows(self, old: generic.DictionaryObject, new: generic.DictionaryObject) -> bool:
        """The form of a catalogue that was written again, with its form in it or elsewhere."""
        before, after = held(self._catalogue, "/AcroForm"), held(new, "/AcroForm")
        if before is None:
            return True
        return isinstance(after, generic.DictionaryObject) and _is_form_of(before, after)

    def _page_grows(self, old: generic.DictionaryObject, new: generic.DictionaryObject) -> bool:
        if _differs(old, new, {"/Annots"}):
            return False
        number = _number(old, "/Annots")
        before = self._old(number) if number in self._before.generations else old.get("/Annots", None)
        if "/Annots" not in old:
            return True
        after = held(new, "/Annots")
        if not isinstance(before, generic.ArrayObject) or not isinstance(after, generic.ArrayObject):
            return False
        return _grows(before, after, in_order=True)

    def _of_the_store(self) -> set[int]:
        """The numbers of the objects of the signed document's store of long-term data."""
        found: set[int] = set()
        waiting = [self._catalogue.raw_get("/DSS")] if "/DSS" in self._catalogue else []
        while waiting:
            value = waiting.pop()
            if isinstance(value, generic.IndirectObject):
                if value.idnum in found or value.idnum not in self._before.generations:
                    continue
                found.add(value.idnum)
                value = self._old(value.idnum)
            waiting += [each for _, each in _references(value)]
        return found


def _number(owner: generic.DictionaryObject, key: str) -> int:
    """The number of the object that a key designates; 0 when it holds it, or when there is none."""
    value = owner.raw_get(key) if key in owner else None
    return value.idnum if isinstance(value, generic.IndirectObject) else 0


def _references(value: generic.PdfObject) -> Iterator[tuple[str, generic.IndirectObject]]:
    """Every reference inside a value, with the key of the value that leads to it."""
    waiting: list[tuple[str, generic.PdfObject]] = [("", value)]
    while waiting:
        key, each = waiting.pop()
        if isinstance(each, generic.IndirectObject):
            yield key, each
        elif isinstance(each, generic.DictionaryObject):
            waiting += [(key or str(name), each.raw_get(name)) for name in each]
        elif isinstance(each, generic.ArrayObject):
            waiting += [(key, each.raw_get(rank)) for rank in range(len(each))]


def _same(old: generic.PdfObject, new: generic.PdfObject) -> bool:
    """Of the same kind and value, references being what they designate by number."""
    if type(old) is not type(new):
        return False
    if isinstance(old, generic.IndirectObject) and isinstance(new, generic.IndirectObject):
        return (old.idnum, old.generation) == (new.idnum, new.generation)
    if isinstance(old, generic.StreamObject) and isinstance(new, generic.StreamObject):
        return old.encoded_data == new.encoded_data and not _differs(old, new, ())
    if isinstance(old, generic.DictionaryObject) and isinstance(new, generic.DictionaryObject):
        return not _differs(old, new, ())
    if isinstance(old, generic.ArrayObject) and isinstance(new, generic.ArrayObject):
        pairs = [(old.raw_get(rank), new.raw_get(rank)) for rank in range(min(len(old), len(new)))]
        return len(old) == len(new) and all(_same(*pair) and _same_bytes(*pair) for pair in pairs)
    return bool(old == new)


def _same_bytes(old: generic.PdfObject, new: generic.PdfObject) -> bool:
    """Whether two equal texts are of the same bytes: a list may be a palette of colours (§8.6.6.3)."""
    texts = isinstance(old, generic.TextStringObject) and isinstance(new, generic.TextStringObject)
    return not texts or old.autodetected_encoding == new.autodetected_encoding  # type: ignore[attr-defined]


def _differs(old: generic.PdfObject, new: generic.PdfObject, but: Collection[str]) -> bool:
    """Whether two dictionaries differ elsewhere than under these keys."""
    if not isinstance(old, generic.DictionaryObject) or not isinstance(new, generic.DictionaryObject):
        return True
    keys = {str(key) for key in (*old, *new)} - set(but)
    for key in keys:
        if key not in old or key not in new or not _same(old.raw_get(key), new.raw_get(key)):
            return True
        if key == "/DA" and not _same_bytes(old.raw_get(key), new.raw_get(key)):
            return True  # operators, not a text
    return False


def _is_form_of(old: generic.DictionaryObject, new: generic.DictionaryObject) -> bool:
    """The same form, with more fields; defaults may come where there were none."""
    if _differs(old, new, _FORM | {key for key in _DEFAULTS if key not in old}):
        return False
    before, after = held(old, "/Fields"), held(new, "/Fields")
    if before is None:
        return True
    lists = isinstance(before, generic.ArrayObject) and isinstance(after, generic.ArrayObject)
    return lists and _grows(before, after, in_order=False)


def _grows(old: generic.ArrayObject, new: generic.ArrayObject, *, in_order: bool) -> bool:
    """The same values, then others: references that were not there, each once."""
    before, after = ([each.raw_get(rank) for rank in range(len(each))] for each in (old, new))
    if in_order:
        if len(after) < len(before) or not all(map(_same, before, after[: len(before)])):
            return False
        added = after[len(before) :]
    else:
        added = [each for each in after if not any(_same(each, one) for one in before)]
        if len(after) != len(before) + len(added):
            return False
    numbers = [each.idnum for each in added if isinstance(each, generic.IndirectObject)]
    known = {each.idnum for each in before if isinstance(each, generic.IndirectObject)}
    return len(numbers) == len(added) == len(set(numbers)) and not known & set(numbers)
