"""Forgeries that once passed: each is refused, and what it was made from still passes."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms, ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.fields import SigFieldSpec
from pyhanko.stamp import TextStampStyle

from signing.authentic import of_responses
from signing.authority import Authority
from signing.errors import TimestampRefused
from signing.lists_update import from_folder, update
from signing.preserving import Kept, statement
from signing.report import INDETERMINATE, PASSED
from signing.timestamps import make_request
from signing.validation import validate_isolated
from tests.signing import detached
from tests.signing.authority import NOW, Identity, Issuer, World, new_key
from tests.signing.cms_cases import cades, make_cms, signer_info
from tests.signing.judged import judge
from tests.signing.list_cases import LOTL_URL, Lists, Service
from tests.signing.pdf_cases import asn1, signed, simple_signer
from tests.signing.test_asic import FILES, _extended_xades
from tests.signing.test_asic import WORLD as ASIC_WORLD
from tests.signing.test_revoked import subs

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OFFER, OTHER = b"12 000 euros", b"1 euro"
WORLD = World()
NO_SIGNER = "NO_SIGNING_CERTIFICATE_FOUND"


def test_an_element_beside_the_signatures_of_a_wrapper_is_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = '<ds:Object xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="o">MTIwMDAgZXVyb3M=</ds:Object>'
    real = detached._reference

    def reference(uri: str, data: bytes, *, kind: str = "", transform: bool = False) -> str:
        if uri == "o":
            return real("#o", detached._canonical(content), transform=True)
        return real(uri, data, kind=kind, transform=transform)

    monkeypatch.setattr(detached, "_reference", reference)
    made = detached.detached_xades(WORLD.signer, {"o": b""}).decode()
    made = made.replace("</ds:Signature>", content + "</ds:Signature>")
    assert judge(made.encode(), tmp_path, WORLD.trust, name="offre.xml").indication == PASSED
    for inside in ("<offre><prix>1 euro</prix></offre>", "1 euro", "<?xml-stylesheet href='a'?>"):
        opened = '<a:XAdESSignatures xmlns:a="http://uri.etsi.org/02918/v1.2.1#">'
        evil = f"{opened}{inside}{made}</a:XAdESSignatures>"
        assert judge(evil.encode(), tmp_path, WORLD.trust, name="offre.xml").indication != PASSED, inside


def test_an_attached_content_is_not_the_file_of_its_name_beside_it(tmp_path: Path) -> None:
    made = cades(WORLD.signer, OFFER, attached=True)
    for beside, passes in (
        ({"acte.txt": OFFER, "memoire.pdf": b"m"}, True),
        ({"acte.txt": OTHER}, False),
        ({"acte.txt": OTHER, "memoire.pdf": b"m"}, False),
    ):
        report = judge(made, tmp_path, WORLD.trust, name="acte.txt.p7s", detached=beside)
        assert (report.indication == PASSED) is passes


def test_a_filter_on_a_file_of_its_own_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"<offre><prix>12000</prix></offre>"
    real = detached._reference
    spaced = "http://www.w3.org/2000/09/xmldsig#"
    filtered = (
        '<ds:Transforms><ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
        f'<ds:XPath xmlns:ds="{spaced}">not(ancestor-or-self::ds:Signature)</ds:XPath></ds:Transform>'
        '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms><ds:DigestMethod'
    )

    def reference(uri: str, data: bytes, *, kind: str = "", transform: bool = False) -> str:
        said = real(uri, data, kind=kind, transform=transform)
        return said if kind else said.replace("<ds:DigestMethod", filtered, 1)

    monkeypatch.setattr(detached, "_reference", reference)
    made = detached.detached_xades(WORLD.signer, {"offre.xml": body})
    hidden = f'<d:Signature xmlns:d="{spaced}"><prix>1</prix></d:Signature></offre>'.encode()
    for content in (body, body.replace(b"</offre>", hidden)):
        report = judge(made, tmp_path, WORLD.trust, name="s.xml", detached={"offre.xml": content})
        assert report.indication != PASSED


_MANIFEST = (
    b'<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    b'<m:file-entry m:full-path="/" m:media-type="application/vnd.etsi.asic-e+zip"/>%s</m:manifest>'
)
_ENTRY = b'<m:file-entry m:full-path="%s" m:media-type="%s"%s/>'


@pytest.mark.parametrize(
    ("name", "data", "passes"),
    [
        ("META-INF/manifest.xml", _MANIFEST % b"", True),
        (
            "META-INF/manifest.xml",
            _MANIFEST % (_ENTRY % (b"acte.txt", b"text/plain;charset=utf-8", b"")),
            True,
        ),
        ("META-INF/manifest.xml", _MANIFEST % (_ENTRY % (b"prix.txt", b"text/plain", b"")), False),
        ("META-INF/manifest.xml", _MANIFEST % (_ENTRY % (b"acte.txt", b"prix : 1 euro", b"")), False),
        ("META-INF/manifest.xml", _MANIFEST % (_ENTRY % (b"acte.txt", b"", b' prix="1 euro"')), False),
        ("META-INF/manifest.xml", _MANIFEST % (_ENTRY % (b"/", b"", b" xmlns:p='urn:prix:1-euro'")), False),
        ("META-INF/manifest.xml", _MANIFEST % (_ENTRY % (b"acte.txt", b"", b' version="1.euro"')), False),
        ("META-INF/manifest.xml", _MANIFEST % b"1 euro", False),
        ("META-INF/manifest.xml", _MANIFEST % b"<!-- 1 euro -->", False),
        ("META-INF/manifest.xml", _MANIFEST % b"<?prix 1 euro?>", False),
        ("META-INF/manifest.xml", _MANIFEST % b"" + b"<!-- 1 euro -->", False),
        (
            "META-INF/manifest.xml",
            _MANIFEST % b'<m:file-entry full-path="1 euro" m:full-path="acte.txt"/>',
            False,
        ),
        ("META-INF/manifest.xml", _MANIFEST % (_ENTRY % (b"META-INF/", b"", b"")), True),
        ("META-INF/manifest.xml", b"<offre><prix>1</prix></offre>", False),
        ("META-INF/container.xml", b"<offre><prix>1</prix></offre>", False),
        ("META-INF/autres-signatures.xml", b"<offre><prix>1</prix></offre>", False),
        ("META-INF/x-ASiCManifest1.xml", b"<offre><prix>1</prix></offre>", False),
        ("annexe/", b"1 euro", False),
    ],
)
def test_nothing_unsigned_hides_in_a_container(tmp_path: Path, name: str, data: bytes, passes: bool) -> None:
    out = io.BytesIO(_extended_xades(method=zipfile.ZIP_STORED))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, data)
    report = judge(out.getvalue(), tmp_path, ASIC_WORLD.trust)
    assert (report.indication == PASSED) is passes
    assert FILES  # what the signature covers all the same


@pytest.mark.parametrize(("box", "passes"), [((20, 20, 220, 90), True), ((0, 0, 600, 850), False)])
def test_the_stamp_of_a_later_signature_is_not_a_page_over_the_page(
    tmp_path: Path, box: tuple[int, int, int, int], passes: bool
) -> None:
    first = signed(WORLD.signer)
    out = io.BytesIO()
    PdfSigner(
        PdfSignatureMetadata(field_name="Signature2"),
        signer=simple_signer(WORLD.issuer.issue("Mallory")),
        stamp_style=TextStampStyle(stamp_text="Nous nous engageons pour 1 euro", background_opacity=1),
        new_field_spec=SigFieldSpec("Signature2", box=box),
    ).sign_pdf(IncrementalPdfFileWriter(io.BytesIO(first)), output=out)
    report = judge(out.getvalue(), tmp_path, WORLD.trust)
    assert (report.signatures[0].indication == PASSED) is passes
    assert any("dessinée sur une page" in each for each in report.signatures[0].warnings)


def test_a_report_does_not_say_itself_when_it_judged(tmp_path: Path) -> None:
    world = World()
    short = world.issuer.issue("Éphémère", start=NOW - 400 * DAY, days=100)
    file = tmp_path / "offre.p7m"
    file.write_bytes(cades(short, OFFER, attached=True))
    root = asn1(world.root.identity.certificate).dump()
    evidence = {
        "kind": "anchor",
        "sha256": hashlib.sha256(root).hexdigest(),
        "data": base64.b64encode(root).decode(),
    }
    said = {
        "indication": PASSED,
        "signatures": [],
        "reason": "",
        "at": (NOW - 350 * DAY).isoformat(),
        "evidence": [evidence],
    }
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256(statement(sha256=sha256, report=said, previous=None)).digest()
    response = world.issuer.authority(tmp_path).respond(make_request(digest, 7), now=NOW)
    kept, ca = tmp_path / "rapport.json", tmp_path / "ca.pem"
    kept.write_text(
        json.dumps(
            {
                "v": "preserved-report/1",
                "file": {"sha256": sha256},
                "report": said,
                "tokens": [{"response": base64.b64encode(response).decode()}],
            }
        )
    )
    ca.write_bytes(world.root.identity.pem)
    command = [sys.executable, "-m", "signing", "check", str(file), "--trust", str(ca)]
    done = subprocess.run(
        [*command, "--report", str(kept), "--tsa-ca", str(ca)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, INDETERMINATE in done.stdout or "indéterminée" in done.stdout) == (1, True)
    assert "à l'heure du premier jeton" in done.stdout


def test_the_other_files_of_a_bid_are_not_what_a_signature_must_be_of(tmp_path: Path) -> None:
    ca, other = tmp_path / "ca.pem", tmp_path / "memoire.pdf"
    ca.write_bytes(WORLD.root.identity.pem)
    other.write_bytes(OTHER)
    for attached, said in ((True, (PASSED, "")), (False, (INDETERMINATE, "SIGNED_DATA_NOT_FOUND"))):
        file = tmp_path / "acte.p7m"
        file.write_bytes(cades(WORLD.signer, OFFER, attached=attached))
        report = validate_isolated(file, at=datetime.now(UTC), trust=[ca], beside=[other])
        assert (report.indication, subs(report)[0]) == said
        given = validate_isolated(file, at=datetime.now(UTC), trust=[ca], detached=[other])
        assert subs(given) == ["HASH_FAILURE"]


def test_a_token_renewed_after_its_authority_expired_proves_nothing_any_more(tmp_path: Path) -> None:
    world = World()
    report: dict[str, object] = {"indication": PASSED, "at": NOW.isoformat()}
    first = world.issuer.authority(tmp_path, "Un", start=NOW - DAY, days=30)
    second = world.issuer.authority(tmp_path, "Deux", start=NOW - DAY, days=3000)

    def token(authority: Authority, at: datetime, previous: bytes | None) -> bytes:
        said = statement(sha256="0" * 64, report=report, previous=previous)
        return authority.respond(make_request(hashlib.sha256(said).digest(), 7), now=at)

    made = token(first, NOW, None)
    for days, accepted in ((20, True), (60, False)):
        kept = Kept("0" * 64, report, (made, token(second, NOW + days * DAY, made)))
        if accepted:
            assert len(kept.verify(world.root.identity.pem)) == 2
            continue
        with pytest.raises(TimestampRefused):
            kept.verify(world.root.identity.pem)


@pytest.mark.parametrize(("age", "proves"), [(700, True), (760, False)])
def test_a_last_token_whose_authority_expired_since_proves_nothing_any_more(
    tmp_path: Path, age: int, proves: bool
) -> None:
    """Who has its key by now makes it say any hour."""
    world = World()
    report: dict[str, object] = {"indication": PASSED, "at": NOW.isoformat()}
    authority = world.issuer.authority(tmp_path, start=NOW - DAY, days=730)
    said = statement(sha256="0" * 64, report=report, previous=None)
    made = authority.respond(make_request(hashlib.sha256(said).digest(), 7), now=NOW)
    kept, ca_pem = Kept("0" * 64, report, (made,)), world.root.identity.pem
    assert kept.verify(ca_pem)
    if proves:
        assert kept.verify(ca_pem, now=NOW + age * DAY)
        return
    with pytest.raises(TimestampRefused, match="renouvelé à temps"):
        kept.verify(ca_pem, now=NOW + age * DAY)


def test_a_kept_report_does_not_say_itself_who_is_qualified(tmp_path: Path) -> None:
    """Its lists may be anybody's: what the reader trusts is an authority, not what the report says of it."""
    world = World()
    made = Lists.of([Service(world.issuer.identity.certificate)])
    store = tmp_path / "store"
    update(
        store,
        fetch=from_folder(made.write(tmp_path / "source")),
        now=NOW,
        lotl_url=LOTL_URL,
        signers=[asn1(made.lotl_signer.certificate)],
    )
    file, ca, path = tmp_path / "offre.p7m", tmp_path / "ca.pem", tmp_path / "rapport.json"
    file.write_bytes(cades(world.signer, OFFER, attached=True))
    ca.write_bytes(world.issuer.identity.pem)
    listed = validate_isolated(file, at=NOW, trust=[store])
    assert (listed.indication, listed.signatures[0].trusted_list != "") == (PASSED, True)
    kept = {
        "v": "preserved-report/1",
        "file": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "report": listed.as_dict(),
        "tokens": [],
    }
    path.write_text(json.dumps(kept))
    again = validate_isolated(file, at=NOW, trust=[store], kept=path)
    assert again.signatures[0].qualified == listed.signatures[0].qualified
    forged = validate_isolated(file, at=NOW, trust=[ca], kept=path)
    assert forged.indication == PASSED
    plain = validate_isolated(file, at=NOW, trust=[ca])
    assert forged.signatures[0].qualified == plain.signatures[0].qualified != listed.signatures[0].qualified


def test_an_authority_s_responder_may_have_a_key_of_another_kind() -> None:
    """Or what it says of a revocation would be left out, and an older answer believed."""
    world = World()
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
    holder, signer = world.issuer.issue("Répondeur", extensions=(usage,), kind="rsa"), world.issuer.issue()
    stranger = Issuer.root().issue("Étranger", extensions=(usage,), kind="rsa")
    path = [asn1(world.root.identity.certificate), asn1(world.issuer.identity.certificate)]
    for responder, accepted in ((holder, 1), (stranger, 0)):
        made = (
            pyca_ocsp.OCSPResponseBuilder()
            .add_response(
                cert=signer.certificate,
                issuer=world.issuer.identity.certificate,
                algorithm=hashes.SHA1(),
                cert_status=pyca_ocsp.OCSPCertStatus.GOOD,
                this_update=NOW,
                next_update=NOW + DAY,
                revocation_time=None,
                revocation_reason=None,
            )
            .responder_id(pyca_ocsp.OCSPResponderEncoding.HASH, responder.certificate)
            .certificates([responder.certificate])
            .sign(responder.key, hashes.SHA256())
        )
        answer = ocsp.OCSPResponse.load(made.public_bytes(Encoding.DER))
        assert len(of_responses([answer], path)) == accepted


@pytest.mark.parametrize("altered", [False, True])
def test_attributes_are_signed_in_their_order_however_they_are_sent(altered: bool, tmp_path: Path) -> None:
    """RFC 5652 §5.4: what is signed is their DER, and BER may be sent."""
    signed = cades(WORLD.signer, OFFER, attached=True)
    info = cms.ContentInfo.load(signed)["content"]["signer_infos"][0]
    sent = info["signed_attrs"].contents
    rows = [each.dump() for each in info["signed_attrs"]]
    assert rows == sorted(rows)
    turned = b"".join(reversed(rows))
    if altered:
        turned = turned[:-1] + bytes([turned[-1] ^ 1])
    report = judge(signed.replace(sent, turned), tmp_path, WORLD.trust)
    assert (report.indication == "TOTAL_PASSED") is not altered


def test_a_namesake_s_certificate_beside_makes_no_signature_false(tmp_path: Path) -> None:
    """Certificates are carried by a CMS without being signed: anybody adds one of the same number."""
    own, key = WORLD.signer.certificate, new_key()
    namesake = (
        x509.CertificateBuilder(own.issuer, own.subject, key.public_key(), own.serial_number)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .sign(key, hashes.SHA256())
    )
    both = [WORLD.signer, Identity(namesake, key)]
    for signer, expected in ((WORLD.signer, (PASSED, "")), (World().signer, (INDETERMINATE, NO_SIGNER))):
        made = make_cms([signer_info(signer, OFFER, ess=None)], both, content=OFFER)
        report = judge(made, tmp_path, WORLD.trust)
        assert (report.indication, subs(report)[0]) == expected
    bare = make_cms([signer_info(WORLD.signer, OFFER, ess=None, attributes=False)], both, content=OFFER)
    assert subs(judge(bare, tmp_path, WORLD.trust)) == ["SIG_CONSTRAINTS_FAILURE"]
    made = make_cms([signer_info(WORLD.signer, OFFER, ess=None)], both[1:], content=OFFER)
    assert subs(judge(made, tmp_path, WORLD.trust)) == ["SIG_CRYPTO_FAILURE"]
