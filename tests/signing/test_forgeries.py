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
from asn1crypto import algos, cms, core, ocsp
from asn1crypto.crl import CertificateList
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.fields import SigFieldSpec
from pyhanko.stamp import TextStampStyle

from signing.authentic import of_responses
from signing.authority import Authority
from signing.cades import as_response
from signing.errors import TimestampRefused
from signing.lists_update import from_folder, update
from signing.preserving import Kept, statement
from signing.report import INDETERMINATE, PASSED, Report
from signing.timestamps import make_request
from signing.trust import Trust
from signing.validation import validate_isolated
from tests.signing import detached
from tests.signing.authority import NOW, Identity, Issuer, World, new_key, serving
from tests.signing.cms_cases import cades, make_cms, signer_info
from tests.signing.judged import judge
from tests.signing.list_cases import LOTL_URL, Lists, Service
from tests.signing.pdf_cases import asn1, signed, simple_signer
from tests.signing.test_asic import FILES, _extended_xades
from tests.signing.test_asic import WORLD as ASIC_WORLD

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OFFER, OTHER = b"12 000 euros", b"1 euro"
WORLD = World()


def subs(report: Report) -> list[str]:
    return [each.sub_indication for each in report.signatures]


def stranger_of(issuer: Issuer) -> Issuer:
    """The name of an authority, the key of somebody else."""
    return Issuer(Identity(issuer.identity.certificate, new_key()))


def _forged(issuer: Issuer, certificate: object) -> ocsp.OCSPResponse:
    """« Good », dated tomorrow, in the authority's name, with a signature that is none."""
    builder = pyca_ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,  # type: ignore[arg-type]
        issuer=issuer.identity.certificate,
        algorithm=hashes.SHA1(),
        cert_status=pyca_ocsp.OCSPCertStatus.GOOD,
        this_update=NOW + DAY,
        next_update=NOW + 9 * DAY,
        revocation_time=None,
        revocation_reason=None,
    )
    named = builder.responder_id(pyca_ocsp.OCSPResponderEncoding.HASH, issuer.identity.certificate)
    der = named.sign(issuer.identity.key, hashes.SHA256()).public_bytes(Encoding.DER)
    basic = ocsp.OCSPResponse.load(der)["response_bytes"]["response"].parsed
    basic["signature"] = basic["signature"].native[:-6] + b"forged"
    made = ocsp.OCSPResponse(
        {
            "response_status": "successful",
            "response_bytes": {
                "response_type": "basic_ocsp_response",
                "response": core.ParsableOctetString(basic.dump(force=True)),
            },
        }
    )
    return ocsp.OCSPResponse.load(made.dump())


def _stapled(*answers: ocsp.OCSPResponse | CertificateList) -> list[cms.RevocationInfoChoice]:
    return [
        cms.RevocationInfoChoice("crl", each)
        if isinstance(each, CertificateList)
        else cms.RevocationInfoChoice(
            "other", {"other_rev_info_format": "ocsp_response", "other_rev_info": each}
        )
        for each in answers
    ]


@pytest.mark.parametrize("forgery", ["none", "response", "list"])
def test_a_forged_answer_of_tomorrow_does_not_hide_that_a_certificate_is_revoked(
    tmp_path: Path, forgery: str
) -> None:
    world = World()
    signer = world.issuer.issue(declares=True)
    old = [CertificateList.load(each.crl(issued=NOW - DAY)) for each in (world.issuer, world.root)]
    world.issuer.revoke(signer, NOW - 2 * HOUR)
    said = world.issuer.ocsp(signer.certificate.serial_number, signer.certificate, issued=NOW - HOUR)
    trust = Trust(anchors=[asn1(world.root.identity.certificate)], ocsps=[ocsp.OCSPResponse.load(said)])
    stranger = stranger_of(world.issuer)
    stranger.revoked[signer.certificate.serial_number] = NOW
    more = {
        "none": [],
        "response": [_forged(world.issuer, signer.certificate)],
        "list": [CertificateList.load(stranger.crl(issued=NOW))],
    }[forgery]
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=_stapled(*old, *more))
    assert subs(judge(made, tmp_path, trust)) == ["REVOKED_NO_POE"]


def _revocation(world: World, signer: Identity, said: str) -> list[ocsp.OCSPResponse | CertificateList]:
    """What an authority really signed, and which a reader in a hurry does not hear."""
    authority, now = world.issuer.identity.certificate, NOW - DAY
    long_ago = NOW - 30 * DAY
    if said.startswith("signer"):
        world.issuer.revoke(signer, now if "response" in said else long_ago)
        if said == "signer, by a list gone stale":
            return [CertificateList.load(world.issuer.crl(issued=long_ago))]
        return [_response(world.issuer, signer.certificate)]
    world.root.revoked[authority.serial_number] = now if "response" in said else long_ago
    good = _response(world.issuer, signer.certificate)
    if said == "authority, by a list gone stale":
        return [CertificateList.load(world.root.crl(issued=long_ago)), good]
    return [_response(world.root, authority), good]


def _response(issuer: Issuer, certificate: x509.Certificate, issued: datetime = NOW) -> ocsp.OCSPResponse:
    return ocsp.OCSPResponse.load(issuer.ocsp(certificate.serial_number, certificate, issued=issued))


@pytest.mark.parametrize("declares", [False, True])
@pytest.mark.parametrize(
    ("said", "sub"),
    [
        ("signer, by a response", "REVOKED_NO_POE"),
        ("signer, by a list gone stale", "REVOKED_NO_POE"),
        ("authority, by a response", "REVOKED_CA_NO_POE"),
        ("authority, by a list gone stale", "REVOKED_CA_NO_POE"),
    ],
)
def test_a_revocation_that_was_signed_is_heard(tmp_path: Path, said: str, sub: str, declares: bool) -> None:
    world = World()
    signer = world.issuer.issue(declares=declares)
    carried = _stapled(*_revocation(world, signer, said))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == [sub]


@pytest.mark.parametrize("weak", [False, True])
def test_a_response_that_tells_a_later_revocation_is_one_and_a_weak_one_is_none(
    tmp_path: Path, weak: bool
) -> None:
    world = World()
    signer = world.issuer.issue(declares=True)
    world.issuer.revoke(signer, NOW + 2 * DAY)
    later = _response(world.issuer, signer.certificate, NOW + 3 * DAY)
    if weak:
        basic = later["response_bytes"]["response"].parsed
        basic["signature_algorithm"] = algos.SignedDigestAlgorithm({"algorithm": "sha1_ecdsa"})
        key = world.issuer.identity.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        basic["signature"] = key.sign(basic["tbs_response_data"].dump(), ec.ECDSA(hashes.SHA1()))
        later = as_response(ocsp.BasicOCSPResponse.load(basic.dump(force=True)))
    carried = _stapled(later, CertificateList.load(world.root.crl()))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == ["TRY_LATER" if weak else ""]


@pytest.mark.parametrize("stapled", ["nothing", "old-response", "old-list", "old-response-forged-list"])
def test_what_was_said_before_a_revocation_never_dispenses_from_asking(tmp_path: Path, stapled: str) -> None:
    answers: dict[str, object] = {}
    asked: list[str] = []
    with serving(answers) as base:
        issuer = Issuer.root().sub(base=base)
        signer = issuer.issue(declares=True)
        old_list = CertificateList.load(issuer.crl(issued=NOW - DAY))
        good = issuer.ocsp(signer.certificate.serial_number, signer.certificate, issued=NOW - DAY)
        old_response = ocsp.OCSPResponse.load(good)
        issuer.revoke(signer, NOW - 6 * HOUR)

        def respond(body: bytes) -> bytes:
            asked.append("ocsp")
            number = pyca_ocsp.load_der_ocsp_request(body).serial_number
            return issuer.ocsp(number, signer.certificate)

        answers |= {"/ocsp": respond, "/crl": lambda _: issuer.crl()}
        made = Lists.of([Service(issuer.identity.certificate, supply=f"{base}/ocsp")])
        store = tmp_path / "store"
        update(
            store,
            fetch=from_folder(made.write(tmp_path / "source")),
            now=NOW,
            lotl_url=LOTL_URL,
            signers=[asn1(made.lotl_signer.certificate)],
        )
        empty = CertificateList.load(stranger_of(issuer).crl(issued=NOW + DAY))
        given = {
            "nothing": [],
            "old-response": [old_response],
            "old-list": [old_list],
            "old-response-forged-list": [old_response, empty],
        }[stapled]
        file = tmp_path / "offre.p7m"
        file.write_bytes(
            make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=_stapled(*given))
        )
        report = validate_isolated(file, at=datetime.now(UTC), trust=[store], online=True)
    assert asked
    assert subs(report) == ["REVOKED_NO_POE"]


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


@pytest.mark.parametrize(
    ("name", "data", "passes"),
    [
        ("META-INF/manifest.xml", _MANIFEST % b"", True),
        ("META-INF/manifest.xml", _MANIFEST % b"1 euro", False),
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
