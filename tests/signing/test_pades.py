"""PAdES at every level, co-signed PDFs, and the published attacks on signed PDFs: none passes as whole."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import crl as asn1_crl
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko_certvalidator import ValidationContext

from signing.trust import Trust
from tests.conftest import absent
from tests.signing import pdf_cases
from tests.signing.authority import NOW, Issuer, World
from tests.signing.judged import judge, verdict
from tests.signing.pdf_cases import asn1, signed, updated

WORLD = World()
PASSED, FAILED, UNSURE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
DAY = timedelta(days=1)
BOX = (50, 50, 200, 100)


def _base() -> bytes:
    return signed(WORLD.signer)


def _rsa(digest: str = "sha256") -> bytes:
    return signed(WORLD.issuer.issue(kind="rsa"), digest=digest)


def _second(*, trusted: bool, box: tuple[int, int, int, int] | None = BOX) -> bytes:
    issuer = WORLD.issuer if trusted else World().issuer
    return signed(issuer.issue("Maire de Test"), _base(), field="Signature2", box=box)


def _drawn_over() -> bytes:
    return updated(_base(), pdf_cases.draw_over)


def _drawn_then_signed() -> bytes:
    return signed(WORLD.issuer.issue("Maire de Test"), _drawn_over(), field="Signature2")


def _covering(prepare: Callable[[Any], None], box: tuple[int, int, int, int] | None) -> bytes:
    """Signed, then signed over by somebody as trusted, whose stamp hides what was seen."""
    first = signed(WORLD.signer, updated(pdf_cases.PLAIN, prepare))
    return signed(WORLD.issuer.issue("Maire de Test"), first, field="Signature2", box=box)


def _half_told() -> bytes:
    data, number = pdf_cases.with_number(_base())
    return updated(data, pdf_cases.field_of(Rect=pdf_cases.half_told(number)))


def _end_marked() -> bytes:
    """Bytes after the end, closed by the same table of objects and an end mark of their own."""
    data = _base()
    start = data.rindex(b"startxref")
    return data + b"PK\x03\x04 offre.txt\n" + data[start:]


def _of_another_kind() -> bytes:
    """A false signature that no validator knows, then one that covers it."""
    first = _base().replace(b"/ETSI.CAdES.detached", b"/ETSI.XYZ99.detached")
    assert first != _base()
    return signed(WORLD.issuer.issue("Maire de Test"), first, field="Signature2")


def _certified() -> bytes:
    """Certified against any change, then signed by another all the same."""
    first = signed(WORLD.signer, certify=MDPPerm.NO_CHANGES)
    return updated(first, pdf_cases.add_text_field)


def _expired() -> bytes:
    return signed(WORLD.issuer.issue("Éphémère", start=NOW - 20 * DAY, days=10))


CASES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "B-B": (_base, PASSED, ""),
    "visible": (lambda: signed(WORLD.signer, box=BOX), PASSED, ""),
    "RSA": (_rsa, PASSED, ""),
    "Ed25519": (lambda: signed(WORLD.issuer.issue(kind="ed25519"), digest="sha512"), PASSED, ""),
    "signed as Acrobat does": (
        lambda: signed(WORLD.signer, subfilter=SigSeedSubFilter.ADOBE_PKCS7_DETACHED), PASSED, ""),
    "certified": (lambda: signed(WORLD.signer, certify=MDPPerm.NO_CHANGES), PASSED, ""),
    "co-signed by somebody trusted": (lambda: _second(trusted=True), PASSED, ""),
    "co-signed invisibly": (lambda: _second(trusted=True, box=None), PASSED, ""),
    "covered by a stranger's signature": (lambda: _second(trusted=False), UNSURE, "FORMAT_FAILURE"),
    "covered in a place laid out before": (
        lambda: _covering(pdf_cases.lay_out_a_page, None), UNSURE, "FORMAT_FAILURE"),
    "covered, of what is shown": (
        lambda: _covering(pdf_cases.show_a_corner, (50, 560, 330, 820)), UNSURE, "FORMAT_FAILURE"),
    "covered, of a small page": (
        lambda: _covering(pdf_cases.small_page, (0, 0, 290, 250)), UNSURE, "FORMAT_FAILURE"),
    "a script in a field that shows nothing": (
        lambda: updated(_base(), pdf_cases.field_of(AA=pdf_cases.script)), UNSURE, "FORMAT_FAILURE"),
    "a line for a field": (
        lambda: updated(_base(), pdf_cases.field_of(Subtype=pdf_cases.name("/Line"))),
        UNSURE, "FORMAT_FAILURE"),
    "a field whose rectangle is told elsewhere": (_half_told, UNSURE, "FORMAT_FAILURE"),
    "an empty field": (lambda: updated(_base(), pdf_cases.field_of()), UNSURE, "FORMAT_FAILURE"),
    "a form signed": (lambda: signed(WORLD.signer, updated(pdf_cases.PLAIN, pdf_cases.form)), PASSED, ""),
    "its defaults changed": (
        lambda: updated(signed(WORLD.signer, updated(pdf_cases.PLAIN, pdf_cases.form)), pdf_cases.whiten),
        UNSURE, "FORMAT_FAILURE"),
    "another file before another end mark": (_end_marked, UNSURE, "FORMAT_FAILURE"),
    "another of an unknown kind": (_of_another_kind, UNSURE, "FORMAT_FAILURE"),
    "expired": (_expired, UNSURE, "OUT_OF_BOUNDS_NO_POE"),
    "unknown authority": (lambda: signed(World().signer), UNSURE, "NO_CERTIFICATE_CHAIN_FOUND"),
    "SHA-1": (lambda: _rsa("sha1"), UNSURE, "CRYPTO_CONSTRAINTS_FAILURE_NO_POE"),
    "a byte changed": (lambda: _base().replace(b"/MediaBox", b"/MediaBux"), FAILED, "HASH_FAILURE"),
    "content replaced": (lambda: updated(_base(), pdf_cases.replace_content), UNSURE, "FORMAT_FAILURE"),
    "pages removed": (lambda: updated(_base(), pdf_cases.remove_pages), UNSURE, "FORMAT_FAILURE"),
    "pages swapped": (lambda: updated(_base(), pdf_cases.swap_page_tree), UNSURE, "FORMAT_FAILURE"),
    "annotated": (lambda: updated(_base(), pdf_cases.annotate), UNSURE, "FORMAT_FAILURE"),
    "field changed": (lambda: updated(_base(), pdf_cases.change_field), UNSURE, "FORMAT_FAILURE"),
    "field added": (lambda: updated(_base(), pdf_cases.add_text_field), UNSURE, "FORMAT_FAILURE"),
    "script added": (lambda: updated(_base(), pdf_cases.run_script), UNSURE, "FORMAT_FAILURE"),
    "font replaced": (lambda: updated(_base(), pdf_cases.widen_font), UNSURE, "FORMAT_FAILURE"),
    "drawn over by a field that nobody signs": (_drawn_over, UNSURE, "FORMAT_FAILURE"),
    "drawn over, then signed by somebody trusted": (_drawn_then_signed, UNSURE, "FORMAT_FAILURE"),
    "certified, then changed": (_certified, UNSURE, "FORMAT_FAILURE"),
    "changed, then signed by another": (
        lambda: signed(WORLD.signer, updated(_base(), pdf_cases.annotate), field="Signature2"),
        UNSURE, "FORMAT_FAILURE"),
    "wrapped": (lambda: pdf_cases.wrapped(_base()), UNSURE, "FORMAT_FAILURE"),
    "bytes in the padding": (lambda: pdf_cases.hidden_in_padding(_base()), UNSURE, "FORMAT_FAILURE"),
    "contents emptied": (lambda: pdf_cases.without_contents(_base()), UNSURE, "FORMAT_FAILURE"),
    "gap widened": (lambda: pdf_cases.gap_widened(_base()), FAILED, "HASH_FAILURE"),
    "bytes after the end": (lambda: _base() + b"\n% suite\n", UNSURE, "FORMAT_FAILURE"),
    "bytes before the start": (lambda: b"MZ\n" + _base(), UNSURE, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_verdict(case: str, tmp_path: Path) -> None:
    make, indication, sub = CASES[case]
    report = judge(make(), tmp_path, WORLD.trust)
    assert verdict(report) == (indication, sub), report


def _context(world: World, *issuers: Issuer) -> ValidationContext:
    crls = [asn1_crl.CertificateList.load(each.crl(issued=NOW - DAY)) for each in issuers]
    return ValidationContext(
        trust_roots=[asn1(world.root.identity.certificate)], crls=crls, revocation_mode="soft-fail"
    )


@pytest.mark.parametrize(("level", "lta"), [("B-T", False), ("B-LT", False), ("B-LTA", True)])
def test_each_level_is_recognised(level: str, lta: bool, tmp_path: Path) -> None:
    world = World()
    signer = world.issuer.issue(declares=True) if level != "B-T" else world.signer
    context = _context(world, world.issuer, world.root) if level != "B-T" else None
    data = signed(signer, authority=world.issuer.authority(tmp_path), context=context, lta=lta)
    report = judge(data, tmp_path, world.trust, at=NOW + timedelta(minutes=1))
    assert verdict(report) == (PASSED, ""), report
    assert report.signatures[0].level == level
    assert report.signatures[0].existence_by.startswith("horodatage")


def _trust(world: World, issued: datetime) -> Trust:
    """The world's authority, and the lists of revoked certificates of that time."""
    crls = [asn1_crl.CertificateList.load(each.crl(issued=issued)) for each in (world.issuer, world.root)]
    return Trust(anchors=[asn1(world.root.identity.certificate)], crls=crls)


def test_a_certificate_revoked_after_the_timestamp_still_passes(tmp_path: Path) -> None:
    world = World()
    signer = world.issuer.issue(declares=True)
    data = signed(signer, authority=world.issuer.authority(tmp_path))
    world.issuer.revoke(signer, NOW + 2 * DAY)
    late = NOW + 5 * DAY
    trust = _trust(world, late)
    assert verdict(judge(data, tmp_path, trust, at=late)) == (PASSED, "")
    bare = signed(signer)
    assert verdict(judge(bare, tmp_path, trust, at=late)) == (UNSURE, "REVOKED_NO_POE")


def test_a_document_timestamp_proves_its_own_document_alone(tmp_path: Path) -> None:
    """Copied from another PDF of before the revocation, it proves nothing of this one."""
    world = World()
    signer, authority = world.issuer.issue(), world.issuer.authority(tmp_path)
    own = pdf_cases.document_stamp(signed(signer), authority)
    other = pdf_cases.document_stamp(
        signed(signer, updated(pdf_cases.PLAIN, pdf_cases.small_page)), authority
    )
    world.issuer.revoke(signer, NOW + 2 * DAY)
    late = NOW + 5 * DAY
    trust = _trust(world, late)
    assert verdict(judge(own, tmp_path, trust, at=late)) == (PASSED, "")
    copied = pdf_cases.with_stamp_of(own, other)
    assert verdict(judge(copied, tmp_path, trust, at=late)) == (UNSURE, "SIG_CONSTRAINTS_FAILURE")


@pytest.mark.parametrize(("change", "accepted"), [(b"", True), (b"/MediaBox", False)])
def test_pdfsig_agrees(change: bytes, accepted: bool, tmp_path: Path) -> None:
    if shutil.which("pdfsig") is None:
        absent("pdfsig : il manque pdfsig (paquet Debian : poppler-utils)")
    data = _rsa()
    (tmp_path / "a.pdf").write_bytes(data.replace(change, b"/MediaBux") if change else data)
    done = subprocess.run(
        ["pdfsig", "-nocert", tmp_path / "a.pdf"], capture_output=True, text=True, check=False
    )
    assert ("Signature is Valid" in done.stdout) is accepted, done.stdout + done.stderr


def test_qpdf_finds_nothing_wrong_in_what_passes(tmp_path: Path) -> None:
    if shutil.which("qpdf") is None:
        absent("qpdf : il manque qpdf (paquet Debian : qpdf)")
    (tmp_path / "a.pdf").write_bytes(_second(trusted=True))
    done = subprocess.run(
        ["qpdf", "--check", tmp_path / "a.pdf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_document_that_anybody_opens_is_judged_though_its_owner_locked_it(tmp_path: Path) -> None:
    if shutil.which("qpdf") is None:
        absent("qpdf : il manque qpdf (paquet Debian : qpdf)")
    for passphrase, judged in (("", PASSED), ("secret", UNSURE)):
        (tmp_path / "a.pdf").write_bytes(pdf_cases.PLAIN)
        locked = ["--encrypt", passphrase, "owner", "256", "--"]
        subprocess.run(["qpdf", *locked, tmp_path / "a.pdf", tmp_path / "b.pdf"], check=True)
        data = signed(WORLD.signer, (tmp_path / "b.pdf").read_bytes(), passphrase=passphrase)
        assert verdict(judge(data, tmp_path, WORLD.trust))[0] == judged
