"""Updates that a reader repairs into another document: what is not listed, or not there yet, is uncovered."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.signing.authority import NOW, World
from tests.signing.judged import judge, verdict
from tests.signing.pdf_cases import document_stamp, signed

WORLD = World()
OTHER = b"BT /F1 24 Tf 72 700 Td (1 euro) Tj ET"
NOTE = b"<</Type/Annot/Subtype/FreeText/Rect[0 0 595 842]/F 4/Contents(1 euro)/DA(/Helv 24 Tf)>>"
FAR = 60_000  # an offset that no signed revision reaches
MOST = 2_147_483_640


def stream(data: bytes) -> bytes:
    return b"<</Length %d>>\nstream\n%s\nendstream" % (len(data), data)


def document(
    *,
    annots: bytes = b"",
    content: bytes = stream(b"BT /F1 24 Tf 72 700 Td (12000 euros) Tj ET"),
    more: bytes = b"",
) -> bytes:
    """One page, object by object; `more` are lines added to its table."""
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>%s>>" % annots
    )
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page,
        content,
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Title(Offre)>>",
    ]
    out, rows = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", b"0000000000 65535 f \n"
    for number, body in enumerate(bodies, 1):
        rows += b"%010d 00000 n \n" % len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    size = 1 + max([6, *(int(each) for each in re.findall(rb"(?m)^(\d+) 1$", more))])
    named = b"/Root 1 0 R/Info 6 0 R/ID[<00112233445566778899aabbccddeeff><00112233445566778899aabbccddeeff>]"
    start = len(out)
    out += b"xref\n0 7\n" + rows + more
    return out + b"trailer\n<</Size %d%s>>\nstartxref\n%d\n%%%%EOF\n" % (size, named, start)


def updated(
    data: bytes,
    bodies: dict[int, bytes],
    *,
    listed: set[int],
    root: bytes | None = None,
    size: int = 0,
    more: Callable[[dict[int, int]], bytes] = lambda _: b"",
    before: bytes = b"",
) -> bytes:
    """An update whose table lists only some of the objects that it holds."""
    former = int(re.findall(rb"startxref\s+(\d+)", data)[-1])
    named = re.findall(rb"/Root (\d+) 0 R", data)[-1], re.findall(rb"/Info (\d+) 0 R", data)[-1]
    known = max(map(int, re.findall(rb"/Size (\d+)", data)))
    out, at = data + before, dict[int, int]()
    for number, body in bodies.items():
        at[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows = b"".join(b"%d 1\n%010d 00000 n \n" % (each, at[each]) for each in sorted(listed))
    said = b"/Root %b 0 R/Info %b 0 R" % named if root is None else root
    trailer = b"trailer\n<</Size %d/Prev %d%s>>\n" % (size or known, former, said)
    table = b"xref\n0 1\n0000000000 65535 f \n" + rows + more(at)
    return out + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(out)


SIGNED = signed(WORLD.signer, document())
HIDDEN = {6: b"<</Title(x)>>", 4: stream(OTHER)}


def _beyond() -> bytes:
    """A note listed, in what is signed, where nothing is yet."""
    data = signed(WORLD.signer, document(annots=b"/Annots[20 0 R]", more=b"20 1\n%010d 00000 n \n" % FAR))
    room = b"%" + b"x" * (FAR - len(data) - 2) + b"\n"
    return updated(data, {20: NOTE}, listed=set(), before=room)


def _longer() -> bytes:
    """A content whose length, in what is signed, goes beyond it."""
    good = b"BT /F1 24 Tf 72 700 Td (12000 euros) Tj ET"
    content = b"<</Length %d>>\nstream\n%s\nendstream" % (FAR, good)
    data = signed(WORLD.signer, document(content=content))
    missing = FAR - (len(data) - data.index(good)) - len(OTHER) - 1
    return updated(data, {}, listed=set(), before=b"%" + b"x" * missing + OTHER + b"\nendstream\nendobj\n")


CASES: dict[str, Callable[[], bytes]] = {
    "no root": lambda: updated(SIGNED, HIDDEN, listed={6}, root=b""),
    "a size that no reader believes": lambda: updated(SIGNED, HIDDEN, listed={6}, size=2**31 - 1),
    "a number that no reader believes": lambda: updated(
        SIGNED, HIDDEN, listed={6}, size=MOST + 1, more=lambda at: b"%d 1\n%010d 00000 n \n" % (MOST, at[6])
    ),
    "unlisted": lambda: updated(SIGNED, HIDDEN, listed={6}),
    "an offset beyond what is signed": _beyond,
    "a length beyond what is signed": _longer,
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_listed_or_not_there_yet_is_not_covered(case: str, tmp_path: Path) -> None:
    judged = verdict(judge(CASES[case](), tmp_path, WORLD.trust))
    assert judged == ("INDETERMINATE", "FORMAT_FAILURE")


def test_ordinary_updates_still_pass(tmp_path: Path) -> None:
    second = signed(WORLD.issuer.issue("Maire"), SIGNED, field="S2", box=(250, 50, 400, 100))
    assert verdict(judge(second, tmp_path, WORLD.trust))[0] == "TOTAL_PASSED"
    authority, later = WORLD.issuer.authority(tmp_path), NOW + timedelta(minutes=2)
    assert (
        verdict(judge(document_stamp(second, authority), tmp_path, WORLD.trust, at=later))[0]
        == "TOTAL_PASSED"
    )
    titled = updated(SIGNED, {6: b"<</Title(x)>>"}, listed={6})
    assert verdict(judge(titled, tmp_path, WORLD.trust))[0] == "TOTAL_PASSED"


def office(*, moves: bool) -> bytes:
    """A second table of objects, as office suites write (ISO 32000-2 §7.5.8.4); it may show another page."""
    data = document()
    former = int(re.findall(rb"startxref\s+(\d+)", data)[-1])
    other = len(data)
    data += b"4 0 obj\n%s\nendobj\n" % stream(OTHER) if moves else b""
    at = len(data)
    rows = {4: other if moves else data.index(b"4 0 obj"), 7: at}
    places = b"".join(b"\1" + where.to_bytes(4, "big") + b"\0\0" for where in rows.values())
    index = b" ".join(b"%d 1" % number for number in rows)
    said = b"/Root 1 0 R/Info 6 0 R/ID[<00112233445566778899aabbccddeeff><00112233445566778899aabbccddeeff>]"
    head = b"<</Type/XRef/W[1 4 2]/Index[%s]/Size 8%s/Length %d>>" % (index, said, len(places))
    data += b"7 0 obj\n%s\nstream\n%s\nendstream\nendobj\n" % (head, places)
    start = len(data)
    data += b"xref\n0 0\ntrailer\n<</Size 8%s/Prev %d/XRefStm %d>>\n" % (said, former, at)
    return data + b"startxref\n%d\n%%%%EOF\n" % start


@pytest.mark.parametrize("moves", [False, True])
def test_two_tables_of_objects_pass_when_they_say_the_same(moves: bool, tmp_path: Path) -> None:
    first = signed(WORLD.signer, office(moves=moves))
    both = signed(WORLD.issuer.issue("Maire"), first, field="S2")
    for data in (first, both):
        assert verdict(judge(data, tmp_path, WORLD.trust))[0] == (
            "INDETERMINATE" if moves else "TOTAL_PASSED"
        )
    hidden = updated(first, HIDDEN, listed={6})
    assert verdict(judge(hidden, tmp_path, WORLD.trust))[0] == "INDETERMINATE"
