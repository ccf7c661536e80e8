"""Updates that readers repair, or that change what was signed under names that nobody compares."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import copy_into_new_writer

from signing.authority import Authority
from tests.signing.authority import NOW, World
from tests.signing.judged import judge, verdict
from tests.signing.pdf_cases import PLAIN, document_stamp, signed
from tests.signing.pdf_cases import updated as rewritten
from tests.signing.test_pdf_revisions import document, stream, updated

WORLD = World()
OTHER = stream(b"BT /F1 24 Tf 72 700 Td (1 euro) Tj ET")
TITLE = b"<</Title(Offre)>>"
ID = b"/ID[<00112233445566778899aabbccddeeff><00112233445566778899aabbccddeeff>]"
PASSED, PARTIAL = ("TOTAL_PASSED", ""), ("INDETERMINATE", "FORMAT_FAILURE")
SIGNED = signed(WORLD.signer, document())


def _body(data: bytes, number: int) -> bytes:
    """The latest object of this number, as it is written."""
    found = re.findall(rb"(?<!\d)%d 0 obj\s(.*?)\sendobj" % number, data, re.DOTALL)
    return bytes(found[-1])


def _damaged(
    *,
    before: bytes = b"",
    offset: bytes = b"%010d",
    after: bytes = b"",
    close: bytes = b">>",
    more: bytes = b"",
) -> bytes:
    """The title written again by an update in which a reader may find something else."""
    former = int(re.findall(rb"startxref\s+(\d+)", SIGNED)[-1])
    size = max(map(int, re.findall(rb"/Size (\d+)", SIGNED)))
    out = SIGNED + before
    rows = b"6 1\n" + offset % len(out) + b" 00000 n \n"
    out += b"6 0 obj\n%s\nendobj\n" % TITLE + more
    trailer = b"trailer\n<</Size %d/Prev %d/Root 1 0 R/Info 6 0 R%s%s\n" % (size, former, ID, close)
    return (
        out
        + b"xref\n0 1\n0000000000 65535 f \n"
        + rows
        + trailer
        + after
        + b"startxref\n%d\n%%%%EOF\n" % len(out)
    )


STRAY = b"trailer\n<</Size 40/Root 30 0 R%s>>\n" % ID
TABLE = (
    b"<</Type/XRef/W[1 2 2]/Index[0 1]/Size 40/Root 30 0 R%s/Length 5>>\nstream\n\1\0\0\0\0\nendstream" % ID
)
REPAIRED: dict[str, tuple[Callable[[], bytes], tuple[str, str]]] = {
    "to the letter": (_damaged, PASSED),
    "a comment of the writer": (lambda: _damaged(after=b"%Writer-7.1.6\n"), PASSED),
    "a number that no reader reads": (lambda: _damaged(offset=b"0_%08d"), PARTIAL),
    "a dictionary that no reader closes": (lambda: _damaged(close=b">!"), PARTIAL),
    "a second trailer": (lambda: _damaged(after=STRAY), PARTIAL),
    "a trailer in a comment": (lambda: _damaged(after=b"%trailer\n"), PARTIAL),
    "a table of objects that is none": (lambda: _damaged(more=b"31 0 obj\n%s\nendobj\n" % TABLE), PARTIAL),
    **{
        f"an object written {form.decode()}": (
            lambda form=form: _damaged(before=form + b"\n" + OTHER + b"\nendobj\n"),  # type: ignore[misc]
            PARTIAL,
        )
        for form in (b"00000000004 0 obj", b"4 000000 obj", b"4 0 %x\nobj", b"4 0obj", b"4 0 obj")
    },
}


@pytest.mark.parametrize("case", REPAIRED)
def test_an_update_is_read_to_the_letter(case: str, tmp_path: Path) -> None:
    make, expected = REPAIRED[case]
    assert verdict(judge(make(), tmp_path, WORLD.trust)) == expected


def _page(resources: bytes = b"", content: bytes = b"(12000 euros) Tj", parent: bytes = b"2 0 R") -> bytes:
    """A document whose page has these resources beside its font."""
    made = document(content=stream(b"BT /F1 24 Tf 72 700 Td %s ET" % content))
    before = b"/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>"
    after = b"/Parent %s/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>%s" % (
        parent,
        resources,
    )
    assert before in made
    return _shifted(made, before, after)


def _shifted(data: bytes, before: bytes, after: bytes) -> bytes:
    """The same with other bytes, its table made again."""
    changed = data.replace(before, after, 1)
    rows = b"0000000000 65535 f \n"
    for number in range(1, 1 + len(re.findall(rb"(?m)^\d+ 0 obj", changed))):
        rows += b"%010d 00000 n \n" % changed.index(b"%d 0 obj" % number)
    start = changed.index(b"xref\n")
    trailer = re.search(rb"trailer\n<<.*>>\n", changed)
    assert trailer is not None
    return (
        changed[:start]
        + b"xref\n0 %d\n" % rows.count(b"\n")
        + rows
        + trailer[0]
        + b"startxref\n%d\n%%%%EOF\n" % start
    )


def _defined_later() -> tuple[bytes, bytes]:
    """A drawing by the name of Parent, designated and not there."""
    first = signed(WORLD.signer, _page(b"/XObject<</Parent 900 0 R>>", b"(12000 euros) Tj ET /Parent Do BT"))
    drawing = OTHER.replace(b"<<", b"<</Type/XObject/Subtype/Form/BBox[0 0 595 842]", 1)
    return first, updated(first, {900: drawing}, listed={900}, size=901)


def _information_as_a_parent() -> tuple[bytes, bytes]:
    first = signed(WORLD.signer, _page(parent=b"6 0 R"))
    return first, updated(first, {6: b"<</Title(Offre)/Rotate 180/CropBox[0 0 595 300]>>"}, listed={6})


def _string_made_a_name() -> tuple[bytes, bytes]:
    layers = b"/OCProperties<</OCGs[]/D<</BaseState(/OFF)/ON[]>>>>"
    first = signed(WORLD.signer, _shifted(document(), b"<</Type/Catalog", b"<</Type/Catalog" + layers))
    root = re.sub(rb"/BaseState\s*\([^)]*OFF\)", b"/BaseState /OFF", _body(first, 1))
    assert root != _body(first, 1)
    return first, updated(first, {1: root}, listed={1})


def _second_page_of_a_kind() -> tuple[bytes, bytes]:
    return SIGNED, updated(SIGNED, {90: b"<</Type/Page/MediaBox[0 0 9 9]>>"}, listed={90}, size=91)


def _page_taken_away() -> tuple[bytes, bytes]:
    return SIGNED, updated(SIGNED, {}, listed=set(), more=lambda _: b"4 1\n0000000000 00001 f \n")


SHADOWS = [
    _defined_later,
    _information_as_a_parent,
    _string_made_a_name,
    _second_page_of_a_kind,
    _page_taken_away,
]


@pytest.mark.parametrize("shadow", SHADOWS)
def test_what_was_signed_is_not_changed_under_a_name(
    shadow: Callable[[], tuple[bytes, bytes]], tmp_path: Path
) -> None:
    first, then = shadow()
    assert verdict(judge(first, tmp_path, WORLD.trust)) == PASSED
    assert verdict(judge(then, tmp_path, WORLD.trust)) == PARTIAL


def _annotated() -> bytes:
    note = b"<</Type/Annot/Subtype/Stamp/F 4/Rect[60 600 360 640]/AP<</N 9 0 R>>>>"
    made = document(annots=b"/Annots[7 0 R 8 0 R]")
    drawing = OTHER.replace(b"<<", b"<</Type/XObject/Subtype/Form/BBox[0 0 300 40]", 1)
    bodies = b"".join(b"%d 0 obj\n%s\nendobj\n" % each for each in ((7, note), (8, note), (9, drawing)))
    return _shifted(made, b"xref\n", bodies + b"xref\n").replace(b"/Size 7", b"/Size 10")


def _annotations(change: Callable[[list[Any]], list[Any]]) -> Callable[[bytes, Authority], bytes]:
    def made(data: bytes, authority: Authority) -> bytes:
        writer = IncrementalPdfFileWriter(io.BytesIO(data))
        page = writer.root["/Pages"]["/Kids"][0].get_object()
        page[generic.pdf_name("/Annots")] = generic.ArrayObject(change(list(page["/Annots"])))
        writer.update_container(page)
        out = io.BytesIO()
        writer.write(out)
        return document_stamp(out.getvalue(), authority)

    return made


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows, PASSED),
        (lambda rows: rows[1:] + rows[:1], PARTIAL),
        (lambda rows: rows + rows[:1], PARTIAL),
    ],
    ids=["as they were", "turned over", "repeated"],
)
def test_annotations_keep_their_order_beside_a_timestamp(
    change: Callable[[list[Any]], list[Any]], expected: tuple[str, str], tmp_path: Path
) -> None:
    data = _annotations(change)(signed(WORLD.signer, _annotated()), WORLD.issuer.authority(tmp_path))
    assert verdict(judge(data, tmp_path, WORLD.trust, at=NOW + timedelta(minutes=2))) == expected


def test_a_title_that_changes_is_said(tmp_path: Path) -> None:
    data = updated(SIGNED, {6: b"<</Title(Autre)>>"}, listed={6})
    report = judge(data, tmp_path, WORLD.trust)
    assert verdict(report) == PASSED
    assert any("titre" in each for each in report.signatures[0].warnings)
    dated = updated(SIGNED, {6: b"<</Title(Offre)/ModDate(D:20261128000000Z)>>"}, listed={6})
    assert not judge(dated, tmp_path, WORLD.trust).signatures[0].warnings


def test_a_head_that_gives_the_size_of_now_is_doubtful(tmp_path: Path) -> None:
    """Readers page by page follow the first table when the size that it tells is the file's."""
    head = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"

    def told(size: int) -> bytes:
        return _shifted(document(), head, head + b"%%<</Linearized 1/L %010d>>\n" % size)

    def changed(size: int) -> bytes:
        return updated(signed(WORLD.signer, told(size)), {6: TITLE}, listed={6})

    size = 0
    for _ in range(50):  # a signature has not always the same length
        data = changed(size)
        if len(data) == size:
            break
        size = len(data)
    assert len(data) == size
    assert verdict(judge(data, tmp_path, WORLD.trust)) == PARTIAL
    assert verdict(judge(changed(size + 5000), tmp_path, WORLD.trust)) == PASSED


@pytest.mark.parametrize("bad", [b"startxref\n-5\n%%EOF\n", b"startxref\n99999999999999\n%%EOF\n"])
def test_an_impossible_place_ends_in_a_report(bad: bytes, tmp_path: Path) -> None:
    assert judge(SIGNED + bad, tmp_path, WORLD.trust).indication == "INDETERMINATE"


def _dated(writer: IncrementalPdfFileWriter) -> None:
    reference = writer.prev.trailer.raw_get("/Info")
    reference.get_object()[generic.pdf_name("/ModDate")] = generic.pdf_string("D:20261128000000Z")
    writer.mark_update(reference)


def test_information_that_a_table_designates_may_be_dated(tmp_path: Path) -> None:
    """A table that is an object designates it as a trailer does: nothing that is drawn does."""
    kept = {"stream_xrefs": True}
    writer = copy_into_new_writer(PdfFileReader(io.BytesIO(PLAIN)), writer_kwargs=kept)
    writer.set_info(generic.DictionaryObject({generic.pdf_name("/Title"): generic.pdf_string("Offre")}))
    out = io.BytesIO()
    writer.write(out)
    first = signed(WORLD.signer, out.getvalue())
    assert b"/Type /XRef" in first
    assert verdict(judge(rewritten(first, _dated), tmp_path, WORLD.trust)) == PASSED


def test_an_ordinary_document_is_signed_stamped_and_titled(tmp_path: Path) -> None:
    authority, later = WORLD.issuer.authority(tmp_path), NOW + timedelta(minutes=2)
    both = signed(
        WORLD.issuer.issue("Maire"), signed(WORLD.signer, PLAIN), field="S2", box=(250, 50, 400, 100)
    )
    assert verdict(judge(document_stamp(both, authority), tmp_path, WORLD.trust, at=later)) == PASSED
