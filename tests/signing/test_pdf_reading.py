"""Names are bytes, what is nowhere is null: lawful updates pass, others change nothing under a name."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.misc import PdfError

from signing import pdf_reading
from signing.pdf_reading import Reader
from signing.pdf_updates import Changes
from tests.signing.authority import NOW, World
from tests.signing.judged import judge, verdict
from tests.signing.pdf_cases import document_stamp, signed
from tests.signing.test_pdf_revisions import document, stream, updated

WORLD = World()
PASSED, PARTIAL = ("TOTAL_PASSED", ""), ("INDETERMINATE", "FORMAT_FAILURE")
LATER = NOW + timedelta(minutes=2)
EURO = b"BT /F#C3#A9 24 Tf 72 700 Td (1 euro) Tj ET"


def _page(data: bytes) -> bytes:
    """The latest object that is the page, as it is written."""
    return bytes(re.findall(rb"(?<!\d)3 0 obj\s(.*?)\sendobj", data, re.DOTALL)[-1])


def _named(name: bytes, content: bytes = EURO) -> bytes:
    return document(content=stream(content)).replace(b"/F1 5", b"/" + name + b" 5")


@pytest.mark.parametrize(
    "first",
    [
        document().replace(b"/Helvetica", b"/H\xe9lvetic"),
        document().replace(b"/Helvetica", "/Hélveti".encode()),
        document(annots=b"/Thumb 99 0 R"),
        document().replace(b"/Pages 2 0 R>>", b"/Pages 2 0 R /Outlines 42 0 R>>", 1),
    ],
    ids=["Latin-1", "UTF-8", "nowhere", "nowhere, in the catalogue"],
)
def test_what_was_lawful_before_a_stamp_is_lawful_after(first: bytes, tmp_path: Path) -> None:
    first = _retabled(first)
    both = signed(WORLD.issuer.issue("Maire"), signed(WORLD.signer, first), field="S2")
    stamped = document_stamp(both, WORLD.issuer.authority(tmp_path))
    report = judge(stamped, tmp_path, WORLD.trust, at=LATER)
    assert verdict(report) == PASSED
    assert [each.coverage for each in report.signatures] == ["whole", "whole"]


def _retabled(data: bytes) -> bytes:
    """With a table that tells where its objects are, after their bytes changed."""
    rows = [b"%010d 00000 n \n" % found.start() for found in re.finditer(rb"(?m)^\d 0 obj", data)]
    start = data.index(b"xref\n0 7\n")
    table = b"xref\n0 7\n0000000000 65535 f \n" + b"".join(rows)
    trailer = data[data.index(b"trailer") : data.index(b"startxref")]
    return data[:start] + table + trailer + b"startxref\n%d\n%%%%EOF\n" % start


def test_a_font_is_not_found_under_another_name(tmp_path: Path) -> None:
    """« é » is one letter in two encodings: two names, of which one draws the hidden price."""
    first = signed(WORLD.signer, _retabled(_named(b"F#E9")))
    shown = updated(first, {3: _page(first).replace(b"/F#E9", b"/F#C3#A9")}, listed={3})
    assert verdict(judge(first, tmp_path, WORLD.trust)) == PASSED
    assert shown != first
    assert verdict(judge(shown, tmp_path, WORLD.trust)) == PARTIAL


def test_what_is_signed_again_keeps_its_names_and_its_palettes(tmp_path: Path) -> None:
    """Each signature writes the page again: the content must find its font there."""
    palette = b"/Foo[/Indexed/DeviceGray 1<FEFF00410042>]"
    data = signed(WORLD.signer, _retabled(_named(b"F#E9#0A").replace(b"/Resources", palette + b"/Resources")))
    assert b"/F#E9#0A" in _page(data)
    read = Reader(io.BytesIO(data)).root["/Pages"]["/Kids"][0]["/Foo"][3]
    assert read.original_bytes == bytes.fromhex("FEFF00410042")


def test_a_palette_written_otherwise_is_another_one(tmp_path: Path) -> None:
    palette = b"/Foo[/Indexed/DeviceGray 1<FEFF00410042>]"
    first = signed(WORLD.signer, document(annots=palette))
    other = b"/Foo [ /Indexed /DeviceGray 1 (AB) ]"
    plain = signed(WORLD.issuer.issue("Maire"), first, field="S2")
    changed = re.sub(rb"/Foo \[[^]]*\]", lambda found: other.ljust(len(found[0])), plain[len(first) :])
    assert verdict(judge(plain, tmp_path, WORLD.trust)) == PASSED
    assert not _foreseen(first + changed)
    assert _foreseen(plain)


def _foreseen(data: bytes) -> bool:
    reader = Reader(io.BytesIO(data))
    first = min(each.signed_revision for each in reader.embedded_regular_signatures)
    return Changes(reader, first).are_foreseen(set())


def test_what_was_nowhere_does_not_come_later(tmp_path: Path) -> None:
    first = signed(
        WORLD.signer, _retabled(document().replace(b"/Contents 4 0 R", b"/Contents[4 0 R 99 0 R]"))
    )
    shown = updated(first, {99: stream(EURO)}, listed={99}, size=100)
    assert verdict(judge(first, tmp_path, WORLD.trust)) == PASSED
    assert verdict(judge(shown, tmp_path, WORLD.trust)) == PARTIAL
    stamped = document_stamp(shown, WORLD.issuer.authority(tmp_path))
    assert verdict(judge(stamped, tmp_path, WORLD.trust, at=LATER)) == PARTIAL


@pytest.mark.parametrize("name", [b"A#", b"A#G1", b"A#4"])
def test_an_escape_that_is_none_is_refused(name: bytes) -> None:
    data = _retabled(_named(name))
    with pytest.raises(generic.PdfReadError):
        Reader(io.BytesIO(data)).root["/Pages"]["/Kids"][0].get_object()


@pytest.mark.parametrize(
    "written",
    [b"<41 42\n43>", b"<414>", b"<41%1 euro\n42>", b"<>", b"<4g>", b"<4142", b"<" + b"41" * 20_000 + b">"],
)
def test_hexadecimal_is_read_at_once_as_digit_by_digit(written: bytes) -> None:
    def read(how: Callable[[IO[bytes]], object]) -> tuple[object, int]:
        stream = io.BytesIO(b"[" + written + b" /F1]")
        stream.seek(1)
        try:
            return how(stream), stream.tell()
        except PdfError as refused:
            return type(refused), 0

    assert read(generic.read_hex_string_from_stream) == read(pdf_reading._read_hex)
