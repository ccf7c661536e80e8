"""XAdES of companies; only what a reference designates is signed, and nothing is fetched."""

import base64
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree
from signxml import SignatureMethod, methods

from signing.xml import DS, XADES
from tests.conftest import absent
from tests.signing.authority import NOW, World
from tests.signing.detached import detached_xades
from tests.signing.judged import judge, verdict
from tests.signing.xml_cases import OFFER, add_stamp, wrapped, xades

WORLD = World()
PASSED, FAILED, UNSURE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
DAY = timedelta(days=1)
_WITH_ID = b'<offre Id="o"><prix>12000</prix></offre>'


def _enveloped(**options: object) -> bytes:
    return xades(WORLD.signer, **options)  # type: ignore[arg-type]


def _enveloping() -> bytes:
    return xades(WORLD.signer, method=methods.enveloping)


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


def _digest_altered() -> bytes:
    root = etree.fromstring(_enveloped())
    value = root.find(f".//{DS}DigestValue")
    value.text = ("B" if value.text[0] == "A" else "A") + value.text[1:]
    return etree.tostring(root)


def _by_id() -> bytes:
    return xades(WORLD.signer, _WITH_ID, reference="#o")


def _part() -> bytes:
    """A signature over a part of the document only."""
    return xades(WORLD.signer, b'<dossier><offre Id="o">1</offre><autre>2</autre></dossier>', reference="#o")


def _object_added() -> bytes:
    root = etree.fromstring(_enveloping())
    etree.SubElement(root, f"{DS}Object").text = "1 euro"
    return etree.tostring(root)


def _unsigned_properties() -> bytes:
    """The signed properties replaced by others, which nothing signs."""
    root = etree.fromstring(_enveloped())
    info = root.find(f".//{DS}SignedInfo")
    for reference in info.findall(f"{DS}Reference"):
        if reference.get("Type"):
            reference.set("Type", "")
    return etree.tostring(root)


def _repeated_id() -> bytes:
    root = etree.fromstring(_by_id())
    etree.SubElement(root.find(f"{DS}Signature"), f"{DS}Object", Id="o").text = "1"
    return etree.tostring(root)


def _doctype(data: bytes, subset: bytes) -> bytes:
    return b"<!DOCTYPE offre [" + subset + b"]>" + data


def _laughs() -> bytes:
    rows = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10 if n else b"lol") for n in range(12))
    return _doctype(_replaced(_enveloped(), b"12000", b"&a11;"), rows)


def _external() -> bytes:
    return _replaced(_by_id(), b'URI="#o"', b'URI="http://127.0.0.1:9/o.xml"')


def _xslt() -> bytes:
    enveloped = b"http://www.w3.org/2000/09/xmldsig#enveloped-signature"
    return _replaced(_enveloped(), enveloped, b"http://www.w3.org/TR/1999/REC-xslt-19991116")


def _hmac() -> bytes:
    return _replaced(_enveloped(), b"xmldsig-more#ecdsa-sha256", b"xmldsig-more#hmac-sha256")


def _md5() -> bytes:
    return _replaced(_enveloped(), b"http://www.w3.org/2001/04/xmlenc#sha256",
                     b"http://www.w3.org/2001/04/xmldsig-more#md5")  # fmt: skip


def _sha1() -> bytes:
    signer = WORLD.issuer.issue(kind="rsa")
    return xades(signer, digest="sha1", algorithm=SignatureMethod.RSA_SHA1)


def _archived() -> bytes:
    root = etree.fromstring(_enveloped())
    properties = root.find(f".//{XADES}QualifyingProperties")
    rows = etree.SubElement(
        etree.SubElement(properties, f"{XADES}UnsignedProperties"), f"{XADES}UnsignedSignatureProperties"
    )
    etree.SubElement(rows, f"{XADES}ArchiveTimeStamp")
    return etree.tostring(root)


def _stray_property() -> bytes:
    """Something to read among the properties that nothing signs, where none is foreseen."""
    root = etree.fromstring(_enveloped())
    properties = root.find(f".//{XADES}QualifyingProperties")
    etree.SubElement(etree.SubElement(properties, f"{XADES}UnsignedProperties"), "prix").text = "1"
    return etree.tostring(root)


def _expired(**options: object) -> bytes:
    return xades(WORLD.issuer.issue("Éphémère", start=NOW - 20 * DAY, days=10), **options)  # type: ignore[arg-type]


CASES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "enveloped": (_enveloped, PASSED, ""),
    "enveloped, RSA": (lambda: xades(WORLD.issuer.issue(kind="rsa")), PASSED, ""),
    "enveloped by identifier": (_by_id, PASSED, ""),
    "enveloping": (_enveloping, PASSED, ""),
    "altered": (lambda: _replaced(_enveloped(), b"12000", b"1"), FAILED, "HASH_FAILURE"),
    "altered enveloping": (lambda: _replaced(_enveloping(), b"12000", b"1"), FAILED, "HASH_FAILURE"),
    "signed time altered": (
        lambda: _replaced(_enveloped(), b"<xades:SigningTime>20", b"<xades:SigningTime>19"),
        FAILED,
        "HASH_FAILURE",
    ),
    "digest altered": (_digest_altered, FAILED, "SIG_CRYPTO_FAILURE"),
    "wrapped": (lambda: wrapped(_by_id()), UNSURE, "FORMAT_FAILURE"),
    "a part only": (_part, UNSURE, "FORMAT_FAILURE"),
    "an object added": (_object_added, UNSURE, "FORMAT_FAILURE"),
    "properties that nothing signs": (_unsigned_properties, FAILED, "SIG_CRYPTO_FAILURE"),
    "an identifier repeated": (_repeated_id, UNSURE, "FORMAT_FAILURE"),
    "a style sheet outside the root": (
        lambda: b'<?xml-stylesheet href="evil.xsl"?>' + _enveloped(),
        FAILED,
        "HASH_FAILURE",
    ),
    "a DTD": (lambda: _doctype(_enveloped(), b""), UNSURE, "FORMAT_FAILURE"),
    "a billion laughs": (_laughs, UNSURE, "FORMAT_FAILURE"),
    "an external reference": (_external, UNSURE, "SIGNED_DATA_NOT_FOUND"),
    "a style sheet as a transform": (_xslt, FAILED, "SIG_CRYPTO_FAILURE"),
    "a secret that anybody knows": (_hmac, UNSURE, "FORMAT_FAILURE"),
    "MD5": (_md5, FAILED, "SIG_CRYPTO_FAILURE"),
    "SHA-1": (_sha1, UNSURE, "CRYPTO_CONSTRAINTS_FAILURE_NO_POE"),
    "unknown authority": (lambda: xades(World().signer), UNSURE, "NO_CERTIFICATE_CHAIN_FOUND"),
    "expired": (_expired, UNSURE, "OUT_OF_BOUNDS_NO_POE"),
    "a comment in the middle of a price": (
        lambda: _replaced(_enveloped(), b"12000", b"12<!-- -->000"), UNSURE, "FORMAT_FAILURE"
    ),
    "a property that is none": (_stray_property, UNSURE, "FORMAT_FAILURE"),
    "archived": (_archived, UNSURE, "GENERIC"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_verdict(case: str, tmp_path: Path) -> None:
    make, indication, sub = CASES[case]
    report = judge(make(), tmp_path, WORLD.trust)
    assert verdict(report) == (indication, sub), report.signatures


def _countersigned(*, stray: bool) -> bytes:
    """Somebody else signs the value of the first signature, from among its own properties."""
    root = etree.fromstring(_enveloped())
    first = root.find(f"{DS}Signature")
    first.find(f"{DS}SignatureValue").set("Id", "valeur")
    both = etree.fromstring(
        xades(WORLD.issuer.issue("Maire de Test"), etree.tostring(root), reference="#valeur")
    )
    first, second = both.findall(f"{DS}Signature")
    unsigned = etree.SubElement(
        first.find(f"{DS}Object/{XADES}QualifyingProperties"), f"{XADES}UnsignedProperties"
    )
    rows = etree.SubElement(unsigned, f"{XADES}UnsignedSignatureProperties")
    etree.SubElement(rows, f"{XADES}CounterSignature").append(second)
    if stray:
        etree.SubElement(second, f"{DS}Object").text = "1 euro"
    return etree.tostring(both)


@pytest.mark.parametrize("stray", [False, True])
def test_a_counter_signature_covers_a_signature_and_hides_nothing(stray: bool, tmp_path: Path) -> None:
    report = judge(_countersigned(stray=stray), tmp_path, WORLD.trust)
    first, second = report.signatures
    assert (first.indication, second.role) == (PASSED, "counter-signature")
    assert second.covers == ("la signature précédente",)
    assert second.indication == (UNSURE if stray else PASSED), second


def test_an_xml_without_signature_has_no_indication(tmp_path: Path) -> None:
    assert judge(OFFER, tmp_path, WORLD.trust).indication == ""


def _detached() -> bytes:
    """A signature by its own over offre.xml, as signing tools write beside a file."""

    return detached_xades(WORLD.signer, {"offre.bin": b"le contenu"})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"offre.bin": b"le contenu"}, (PASSED, "")),
        ({"autre-nom.bin": b"le contenu", "b": b"2"}, (PASSED, "")),
        ({"offre.bin": b"un autre"}, (FAILED, "HASH_FAILURE")),
        ({"a": b"1", "b": b"2"}, (UNSURE, "SIGNED_DATA_NOT_FOUND")),
    ],
)
def test_a_detached_signature_finds_its_content(
    files: dict[str, bytes], expected: tuple[str, str], tmp_path: Path
) -> None:
    report = judge(_detached(), tmp_path, WORLD.trust, detached=files)
    assert verdict(report) == expected, report.signatures


def test_a_timestamp_proves_that_the_signature_was_there_before_the_end(tmp_path: Path) -> None:
    signed = _expired(authority=WORLD.issuer.authority(tmp_path), stamped=NOW - 15 * DAY)
    report = judge(signed, tmp_path, WORLD.trust)
    assert verdict(report) == (PASSED, "")
    assert (report.signatures[0].format, report.signatures[0].level) == ("XAdES", "B-T")


@pytest.mark.parametrize("packaging", ["enveloping", "detached"])
@pytest.mark.parametrize(
    ("token_of", "expected"),
    [
        (None, (PASSED, "")),
        (b"autre", (UNSURE, "SIG_CONSTRAINTS_FAILURE")),
        (b"", (UNSURE, "OUT_OF_BOUNDS_NO_POE")),  # none at all
    ],
)
def test_a_timestamp_counts_whatever_the_packaging(
    packaging: str, token_of: bytes | None, expected: tuple[str, str], tmp_path: Path
) -> None:
    short = WORLD.issuer.issue("Éphémère", start=NOW - 20 * DAY, days=10)
    files = {"offre.bin": b"le contenu"} if packaging == "detached" else {}
    signed = detached_xades(short, files) if files else xades(short, method=methods.enveloping)
    root = etree.fromstring(signed)
    if token_of != b"":
        add_stamp(root, WORLD.issuer.authority(tmp_path), token_of, NOW - 15 * DAY)
    report = judge(etree.tostring(root), tmp_path, WORLD.trust, detached=files)
    assert verdict(report) == expected, report.signatures


@pytest.mark.parametrize(("carried", "expected"), [(True, (PASSED, "")), (False, (UNSURE, "TRY_LATER"))])
def test_the_revocation_data_that_it_carries_counts(
    carried: bool, expected: tuple[str, str], tmp_path: Path
) -> None:
    root = etree.fromstring(xades(WORLD.issuer.issue(declares=True)))
    properties = root.find(f".//{XADES}QualifyingProperties")
    rows = etree.SubElement(
        etree.SubElement(properties, f"{XADES}UnsignedProperties"), f"{XADES}UnsignedSignatureProperties"
    )
    values = etree.SubElement(etree.SubElement(rows, f"{XADES}RevocationValues"), f"{XADES}CRLValues")
    for issuer in (WORLD.issuer, WORLD.root) if carried else ():
        row = etree.SubElement(values, f"{XADES}EncapsulatedCRLValue")
        row.text = base64.b64encode(issuer.crl()).decode()
    assert verdict(judge(etree.tostring(root), tmp_path, WORLD.trust)) == expected


def test_a_timestamp_copied_from_elsewhere_is_refused(tmp_path: Path) -> None:
    signed = _enveloped(authority=WORLD.issuer.authority(tmp_path), token_of=b"autre")
    assert verdict(judge(signed, tmp_path, WORLD.trust)) == (UNSURE, "SIG_CONSTRAINTS_FAILURE")


@pytest.mark.parametrize("old", [b"", b"12000"])
def test_xmlsec1_agrees(old: bytes, tmp_path: Path) -> None:
    if shutil.which("xmlsec1") is None:
        absent("xmlsec1 : il manque xmlsec1 (paquet Debian : xmlsec1)")
    signed = xades(WORLD.issuer.issue(kind="rsa"), _WITH_ID, reference="#o")
    data = signed.replace(old, b"1") if old else signed
    (tmp_path / "ca.pem").write_bytes(WORLD.root.identity.pem)
    (tmp_path / "a.xml").write_bytes(data)
    command = ["xmlsec1", "--verify", "--trusted-pem", tmp_path / "ca.pem", "--id-attr:Id", "offre"]
    command += ["--id-attr:Id", "http://uri.etsi.org/01903/v1.3.2#:SignedProperties", tmp_path / "a.xml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (old == b""), done.stderr
    assert (verdict(judge(data, tmp_path, WORLD.trust))[0] == PASSED) is (old == b"")


_TEMPLATE = """<doc><prix>12000</prix><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo>
<CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>
<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><Reference URI=""><Transforms>
{transform}</Transforms><DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><DigestValue/>
</Reference></SignedInfo><SignatureValue/><KeyInfo><X509Data/></KeyInfo></Signature></doc>"""
_ENVELOPED = '<Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
_XPATH = (
    '<Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
    '<XPath xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{}</XPath></Transform>'
)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (_ENVELOPED, PASSED),
        (_ENVELOPED + '<Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>', PASSED),
        (_XPATH.format("not(ancestor-or-self::ds:Signature)"), PASSED),
        (_XPATH.format("not(ancestor-or-self::ds:Signature or ancestor-or-self::prix)"), UNSURE),
    ],
    ids=["enveloped", "exclusive", "without signatures", "without the price"],
)
def test_what_xmlsec1_signs_passes_unless_it_leaves_something_out(
    transform: str, expected: str, tmp_path: Path
) -> None:
    if shutil.which("xmlsec1") is None:
        absent("xmlsec1 : il manque xmlsec1 (paquet Debian : xmlsec1)")
    certificate, key = WORLD.issuer.issue(kind="rsa").write(tmp_path, "signer")
    (tmp_path / "above.pem").write_bytes(WORLD.issuer.identity.pem)
    (tmp_path / "a.xml").write_text(_TEMPLATE.format(transform=transform))
    keys = f"{key},{certificate},{tmp_path / 'above.pem'}"
    command = ["xmlsec1", "--sign", "--privkey-pem", keys, "--output", tmp_path / "b.xml", tmp_path / "a.xml"]
    subprocess.run(command, check=True, capture_output=True)
    assert verdict(judge((tmp_path / "b.xml").read_bytes(), tmp_path, WORLD.trust))[0] == expected
