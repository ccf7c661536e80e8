"""A signature says what it covers; what changed after it is never « whole »; hostile files are bounded."""

import io
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from signing import pki
from signing.pdf import sign_pdf
from signing.validation import validate, validate_isolated
from tests.world import pdf

NOW = datetime.now(UTC)
AUTHORITY = pki.new_authority("Autorité d'essai", "Essai", now=NOW - timedelta(days=10))
SIGNER = pki.issue(AUTHORITY, "Julie Moreau", "Les Bâtisseurs", now=NOW - timedelta(days=10), days=3650)
TRUST = [AUTHORITY.certificate]


@pytest.fixture(scope="module")
def plain() -> bytes:
    return pdf()


@pytest.fixture(scope="module")
def signed(plain: bytes) -> bytes:
    return sign_pdf(plain, SIGNER, reason="Engagement")


def judged(
    data: bytes, folder: Path, *, at: datetime = NOW, trust: list[bytes] | None = None
) -> tuple[str, str]:
    """(indication, coverage) of the worst signature."""
    path = folder / "a.pdf"
    path.write_bytes(data)
    report = validate(path, at=at, trust=TRUST if trust is None else trust)
    return report.indication, report.signatures[0].coverage if report.signatures else ""


def test_a_signed_document_passes_and_is_whole(signed: bytes, tmp_path: Path) -> None:
    assert judged(signed, tmp_path) == ("TOTAL_PASSED", "whole")


def test_a_document_without_signature_has_no_indication(plain: bytes, tmp_path: Path) -> None:
    assert judged(plain, tmp_path) == ("", "")


def test_a_signature_of_an_unknown_authority_is_not_judged(signed: bytes, tmp_path: Path) -> None:
    other = pki.new_authority("Autre", "Autre", now=NOW)
    assert judged(signed, tmp_path, trust=[other.certificate])[0] == "INDETERMINATE"


def test_a_changed_byte_fails(signed: bytes, tmp_path: Path) -> None:
    where = signed.index(b"/MediaBox")
    assert judged(signed[:where] + b"/MediaBux" + signed[where + 9 :], tmp_path)[0] == "TOTAL_FAILED"


def _incremental(data: bytes, change: str) -> bytes:
    """A revision added after the signature: what shadow attacks do."""
    writer = IncrementalPdfFileWriter(io.BytesIO(data), strict=False)
    pages = writer.root["/Pages"]
    page = pages["/Kids"][0].get_object()
    if change == "content":
        page["/Contents"] = writer.add_object(generic.StreamObject(stream_data=b"BT ET"))
        writer.update_container(page)
    elif change == "page":
        pages["/Kids"] = generic.ArrayObject([])
        pages["/Count"] = generic.NumberObject(0)
        writer.update_container(pages)
    else:
        field = writer.root["/AcroForm"]["/Fields"].raw_get(0).get_object()
        field["/TU"] = generic.pdf_string("autre")
        writer.update_container(field)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("change", ["content", "page", "field"])
def test_what_is_added_after_the_signature_is_never_whole(signed: bytes, tmp_path: Path, change: str) -> None:
    indication, coverage = judged(_incremental(signed, change), tmp_path)
    assert indication != "TOTAL_PASSED"
    assert coverage != "whole"


def test_bytes_after_the_end_are_never_whole(signed: bytes, tmp_path: Path) -> None:
    indication, coverage = judged(signed + b"\n% suite\n", tmp_path)
    assert (indication, coverage == "whole") != ("TOTAL_PASSED", True)


def test_a_certificate_is_judged_at_the_time_of_the_deposit(plain: bytes, tmp_path: Path) -> None:
    short = pki.issue(AUTHORITY, "Éphémère", "Essai", now=NOW - timedelta(days=5), days=6)
    data = sign_pdf(plain, short, reason="x")
    assert judged(data, tmp_path)[0] == "TOTAL_PASSED"
    assert judged(data, tmp_path, at=NOW + timedelta(days=30))[0] == "INDETERMINATE"


def _bomb() -> bytes:
    stream = zlib.compress(bytes(400 * 1024 * 1024), 9)
    return (
        b"%PDF-1.7\n1 0 obj<</Type/ObjStm/N 1/First 4/Filter/FlateDecode/Length "
        + str(len(stream)).encode()
        + b">>stream\n"
        + stream
        + b"\nendstream endobj\nxref\n0 1\ntrailer<</Root 1 0 R/Size 2>>\nstartxref\n9\n%%EOF"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%PDF-1.7",
        b"%PDF-1.7\n" + b"[" * 200_000,
        b"%PDF-1.7\n1 0 obj<</Root 1 0 R>>endobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF",
        b"%PDF-1.7\nstartxref\n99999999999\n%%EOF",
        b"PK\x03\x04",
    ],
)
def test_a_hostile_file_gives_a_report_not_a_failure(data: bytes, tmp_path: Path) -> None:
    assert judged(data, tmp_path)[0] in {"", "INDETERMINATE"}


def test_a_bomb_is_bounded_in_its_own_process(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pdf"
    path.write_bytes(_bomb())
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    report = validate_isolated(path, at=NOW, trust=[tmp_path / "ca.pem"])
    assert report.indication in {"", "INDETERMINATE"}
