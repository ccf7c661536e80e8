"""XML that xmlsec1 signs and verifies, whole or attacked: its word on the bytes, ours on what they mean."""

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from signing.xml import XmlRefused
from signing.xmldsig import decoded
from tests.conftest import absent
from tests.signing.authority import NOW, Identity, World
from tests.signing.judged import judge

WORLD = World()
SIGNER = WORLD.issuer.issue(kind="rsa")
PASSED, FAILED, UNSURE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
DS, XADES = "http://www.w3.org/2000/09/xmldsig#", "http://uri.etsi.org/01903/v1.3.2#"
C14N, EXC = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2001/10/xml-exc-c14n#"
C14N_11 = "http://www.w3.org/2006/12/xml-c14n11"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
IDS = ("SignedProperties", "Object", "Manifest", "SignatureProperty", "offre", "contenu")
INSTRUCTION = '<?xml-stylesheet href="a.xsl"?>'


def transform(algorithm: str, inner: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{inner}</ds:Transform>'


ENVELOPED, BASE64 = transform(f"{DS}enveloped-signature"), transform(f"{DS}base64")
_XPATH = '<ds:XPath xmlns:dsig="{}">not(ancestor-or-self::dsig:Signature)</ds:XPath>'
_SUBTRACT = '<f:XPath xmlns:f="{0}" Filter="subtract">{1}ds:Signature</f:XPath>'
_XPATH_1 = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"


def reference(uri: str, transforms: str = "", kind: str = "") -> str:
    said = f' Type="{kind}"' if kind else ""
    held = f"<ds:Transforms>{transforms}</ds:Transforms>" if transforms else ""
    method = f'<ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue></ds:DigestValue>'
    return f'<ds:Reference{said} URI="{uri}">{held}{method}</ds:Reference>'


def properties(certificate: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(certificate).digest()).decode()
    return (
        '<xades:SignedProperties Id="props"><xades:SignedSignatureProperties>'
        f"<xades:SigningTime>{NOW:%Y-%m-%dT%H:%M:%SZ}</xades:SigningTime>"
        f'<xades:SigningCertificateV2><xades:Cert><xades:CertDigest><ds:DigestMethod Algorithm="{SHA256}"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></xades:CertDigest></xades:Cert>"
        "</xades:SigningCertificateV2></xades:SignedSignatureProperties></xades:SignedProperties>"
    )


def signature(references: str, objects: str = "", *, canonical: str = EXC, first: str = "") -> str:
    """A template: xmlsec1 fills its values. `first`: other properties, before the signed ones."""
    der = SIGNER.certificate.public_bytes(Encoding.DER)
    chain = [der, *(each.public_bytes(Encoding.DER) for each in SIGNER.above)]
    held = "".join(
        f"<ds:X509Certificate>{base64.b64encode(each).decode()}</ds:X509Certificate>" for each in chain
    )
    props = reference("#props", transform(canonical), "http://uri.etsi.org/01903#SignedProperties")
    return (
        f'<ds:Signature xmlns:ds="{DS}" Id="sig"><ds:SignedInfo>'
        f'<ds:CanonicalizationMethod Algorithm="{canonical}"/>'
        '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>'
        f"{references}{props}</ds:SignedInfo><ds:SignatureValue></ds:SignatureValue>"
        f"<ds:KeyInfo><ds:X509Data>{held}</ds:X509Data></ds:KeyInfo><ds:Object>"
        f'<xades:QualifyingProperties xmlns:xades="{XADES}" Target="#sig">{first}{properties(der)}'
        f"</xades:QualifyingProperties></ds:Object>{objects}</ds:Signature>"
    )


def offer(inner: str, attributes: str = "") -> str:
    return f"<offre{attributes}><prix>12000</prix>{inner}</offre>"


def whole(*transforms: str, canonical: str = EXC) -> str:
    return signature(reference("", ENVELOPED + "".join(transforms)), canonical=canonical)


def _xpath(space: str, inner: str) -> str:
    return offer(signature(reference("", transform(space, inner) + transform(EXC))))


_LISTED = reference("offre.bin")
_MANIFEST = f'<ds:Object><ds:Manifest Id="liste">{_LISTED}</ds:Manifest></ds:Object>'
_ENCLOSED = '<ds:Object Id="joint">MTIw\nMDA=</ds:Object>'
_BARE = '<contenu xmlns="" Id="c">1</contenu>'
_CONTENT = '<contenu Id="c">1</contenu>'
_PROPERTY = (
    '<ds:Object><ds:SignatureProperties><ds:SignatureProperty Id="dit" Target="#sig"><a xmlns="urn:a">b</a>'
    "</ds:SignatureProperty></ds:SignatureProperties></ds:Object>"
)
# name → (template, files beside): true for xmlsec1, and for us.
TRUE: dict[str, tuple[str, dict[str, bytes]]] = {
    "inherited language": (offer(whole(canonical=C14N), ' xml:lang="fr"'), {}),
    "inherited base and spaces": (
        offer(whole(canonical=C14N), ' xml:base="http://x/" xml:space="preserve"'), {}
    ),
    "inherited by C14N 1.1": (offer(whole(canonical=C14N_11), ' xml:lang="fr" xml:id="r"'), {}),
    "a signed instruction": (INSTRUCTION + "\n" + offer(whole(canonical=C14N)), {}),
    "a signed instruction, exclusive": (INSTRUCTION + offer(whole(transform(EXC))) + "<?fin ?>", {}),
    "comments": (offer("<!-- c -->" + whole(transform(C14N + "#WithComments"))), {}),
    "XPath by another prefix": (_xpath(_XPATH_1, _XPATH.format(DS)), {}),
    "XPath Filter 2": (_xpath(_FILTER2, _SUBTRACT.format(_FILTER2, "/descendant::")), {}),
    "XPath Filter 2, shorter": (_xpath(_FILTER2, _SUBTRACT.format(_FILTER2, "//")), {}),
    "an identifier repeated where nothing looks": (
        offer('<lot id="a"/><lot id="a"/>' + whole(transform(EXC))), {}
    ),
    "a signed property": (offer(signature(reference("", ENVELOPED) + reference("#dit"), _PROPERTY)), {}),
    "a manifest": (
        signature(reference("#liste", "", f"{DS}Manifest"), _MANIFEST), {"offre.bin": b"le contenu"}
    ),
    "a manifest that does not say so": (
        signature(reference("#liste"), _MANIFEST), {"offre.bin": b"le contenu"}
    ),
    "base64 inside": (signature(reference("#joint", BASE64), _ENCLOSED), {}),
    "base64 inside, the file given too": (
        signature(reference("#joint", BASE64), _ENCLOSED), {"offre.txt": b"12000"}
    ),
    "base64 beside": (signature(reference("offre.b64", BASE64)), {"offre.b64": b"MTIw\nMDA=\n"}),
    "XML beside": (signature(reference("offre.xml", transform(C14N))), {"offre.xml": b"<a  b='1'>c</a>"}),
    "XML beside with its instruction": (
        signature(reference("offre.xml", transform(EXC))),
        {"offre.xml": INSTRUCTION.encode() + b"\n<a>c</a>"},
    ),
    "an identifier and its element": (
        offer(signature(reference("#r", ENVELOPED + transform(EXC))), ' Id="r"'), {}
    ),
    "an object and its content": (
        signature(reference("#c", transform(EXC)), f"<ds:Object>{_CONTENT}</ds:Object>"), {}
    ),
    "an object, and the same file beside": (
        signature(reference("#c", transform(EXC)), f"<ds:Object>{_CONTENT}</ds:Object>"),
        {"offre.xml": b'<contenu Id="c">1</contenu>'},
    ),
    "the whole document by a pointer": (
        offer("<!-- c -->" + signature(reference("#xpointer(/)", ENVELOPED + transform(EXC)))), {}
    ),
    "the whole document by a pointer, comments too": (
        "<!-- a -->" + offer(
            "<!-- b -->" + signature(reference("#xpointer(/)", ENVELOPED + transform(C14N + "#WithComments")))
        ), {}
    ),
    "an identifier by a pointer": (
        offer(signature(reference("#xpointer(id('r'))", ENVELOPED + transform(EXC))), ' Id="r"'), {}
    ),
    "an encoding of central Europe": (
        '<?xml version="1.0" encoding="ISO-8859-2"?>' + offer(whole(transform(EXC))), {}
    ),
    "an encoding of Windows": (
        '<?xml version="1.0" encoding="windows-1250"?>' + offer(whole(transform(EXC))), {}
    ),
    "a text after the signature": (offer(whole(transform(EXC)) + "suite"), {}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def xmlsec1() -> None:
    if shutil.which("xmlsec1") is None:
        absent("xmlsec1 : il manque xmlsec1 (paquet Debian : xmlsec1)")


def _run(folder: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    named = [part for each in IDS for part in ("--id-attr:Id", each)]
    command = ["xmlsec1", arguments[0], *named, *arguments[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False)


def _signed(template: str, files: dict[str, bytes], folder: Path, identity: Identity = SIGNER) -> bytes:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    _, key = identity.write(folder, "signer")
    (folder / "template.xml").write_text(template)
    done = _run(folder, "--sign", "--privkey-pem", key, "--output", "signed.xml", "template.xml")
    assert done.returncode == 0, done.stderr.decode()
    return (folder / "signed.xml").read_bytes()


def _verified(data: bytes, folder: Path) -> bool:
    certificate, _ = SIGNER.write(folder, "signer")
    (folder / "judged.xml").write_bytes(data)
    return _run(folder, "--verify", "--pubkey-cert-pem", certificate, "judged.xml").returncode == 0


@pytest.mark.parametrize("case", TRUE)
def test_what_xmlsec1_signs_passes(case: str, tmp_path: Path) -> None:
    template, files = TRUE[case]
    data = _signed(template, files, tmp_path)
    assert _verified(data, tmp_path)
    report = judge(data, tmp_path, WORLD.trust, detached=files)
    assert report.indication == PASSED, report.signatures
    assert all(each.coverage == "whole" for each in report.signatures)


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def replace(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return replace


def _same(data: bytes) -> bytes:
    return data


def _manifest_elsewhere(data: bytes) -> bytes:
    """In the key's information, which the transform leaves out: it says that an unsigned object is signed."""
    evil = b'<ds:Object Id="evil">1 euro</ds:Object>'
    canonical = evil.replace(b"<ds:Object ", f'<ds:Object xmlns:ds="{DS}" '.encode())
    digest = base64.b64encode(hashlib.sha256(canonical).digest()).decode()
    listed = reference("#evil", transform(EXC)).replace("<ds:DigestValue>", f"<ds:DigestValue>{digest}")
    held = f'<x xmlns="urn:x"><ds:Manifest>{listed}</ds:Manifest></x></ds:KeyInfo>'.encode()
    return data.replace(b"</ds:KeyInfo>", held).replace(b"</ds:Signature>", evil + b"</ds:Signature>")


def _utf_7(data: bytes) -> bytes:
    """« <!-- » and « --> » for who reads this encoding, elements of the offer for who does not."""
    body = data.partition(b"?>")[2].lstrip()
    hidden = b"<offre>+ADwAIQAtAC0-<prix>1</prix>+AC0ALQA+-"
    return b'<?xml version="1.0" encoding="UTF-7"?>' + body.replace(b"+", b"+-").replace(b"<offre>", hidden)


def _hidden(data: bytes) -> bytes:
    moved = data.replace(f"<ds:Object>{_CONTENT}</ds:Object>".encode(), b"<ds:Object/>")
    return moved.replace(b"</ds:KeyInfo>", f'<x xmlns="urn:x">{_BARE}</x></ds:KeyInfo>'.encode())


_FAKE = (
    b"<xades:SignedProperties><xades:SignedSignatureProperties><xades:SigningTime>2218-01-01T00:00:00Z"
    b"</xades:SigningTime></xades:SignedSignatureProperties></xades:SignedProperties>"
)


def _moved(data: bytes) -> bytes:
    """The signed properties go to an object of their own; false ones take their place."""
    start, end = data.index(b"<xades:SignedProperties"), data.index(b"</xades:QualifyingProperties>")
    genuine = data[start:end].replace(
        b"<xades:SignedProperties", f'<xades:SignedProperties xmlns:xades="{XADES}"'.encode()
    )
    there = data[:start] + _FAKE + data[end:]
    return there.replace(b"</ds:Signature>", b"<ds:Object>" + genuine + b"</ds:Object></ds:Signature>")


def _second_set(data: bytes) -> bytes:
    held = f'<ds:Object><xades:QualifyingProperties xmlns:xades="{XADES}">'.encode() + _FAKE
    return data.replace(b"<ds:Object>", held + b"</xades:QualifyingProperties></ds:Object><ds:Object>", 1)


# name → (true case, what is done to it, files given instead, our verdict)
ATTACKS: dict[str, tuple[str, Callable[[bytes], bytes], dict[str, bytes], str]] = {
    "properties moved away": ("comments", _moved, {}, UNSURE),
    "false properties first": (
        "comments", _replaced(b'Target="#sig">', b'Target="#sig">' + _FAKE), {}, UNSURE
    ),
    "a second set of properties": ("comments", _second_set, {}, UNSURE),
    "a text among the properties": (
        "comments", _replaced(b'Target="#sig">', b'Target="#sig">1 euro'), {}, UNSURE
    ),
    "an instruction beside": (
        "XML beside", _same, {"offre.xml": INSTRUCTION.encode() + b"<a b='1'>c</a>"}, FAILED
    ),
    "an instruction in front": (
        "comments", lambda data: INSTRUCTION.encode() + data.partition(b"?>")[2], {}, FAILED
    ),
    "an instruction taken away": ("a signed instruction", _replaced(INSTRUCTION.encode(), b""), {}, FAILED),
    "junk in base64": ("base64 inside", _replaced(b"MDA=", b"!!MDA="), {}, UNSURE),
    "a second base64": ("base64 inside", _replaced(b"MDA=", b"MDA=MDA="), {}, UNSURE),
    "another file of the manifest": ("a manifest", _same, {"offre.bin": b"un autre"}, FAILED),
    "the manifest without its file": ("a manifest that does not say so", _same, {}, UNSURE),
    "another file given": ("base64 inside", _same, {"offre.txt": b"1"}, UNSURE),
    "a reading attribute": ("inherited language", _replaced(b'xml:lang="fr"', b'xml:lang="en"'), {}, FAILED),
    "a manifest that nothing signs": ("an identifier and its element", _manifest_elsewhere, {}, UNSURE),
    "two comments in a price": ("comments", _replaced(b"12000", b"1<!--a--><!--b-->2000"), {}, UNSURE),
    "a comment before a price": ("comments", _replaced(b"12000", b"<!--a-->12000"), {}, UNSURE),
    "a comment that one encoding hides": ("comments", _utf_7, {}, UNSURE),
    "a comment under a pointer that keeps them": (
        "the whole document by a pointer, comments too",
        _replaced(b"<!-- b -->", b"<!-- 1 euro -->"),
        {},
        FAILED,
    ),
    "another price under a pointer": (
        "an identifier by a pointer", _replaced(b"12000", b"1"), {}, FAILED
    ),
    "the content where nobody looks": ("an object and its content", _hidden, {}, UNSURE),
    "an attribute around a content": (
        "an object and its content", _replaced(b'<ds:Object><c', b'<ds:Object MimeType="a"><c'), {}, UNSURE
    ),
    "a style sheet in the file given": (
        "an object and its content", _same, {"offre.xml": f"{INSTRUCTION}{_CONTENT}".encode()}, UNSURE
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_attackers_make_of_it_does_not(attack: str, tmp_path: Path) -> None:
    case, spoil, files, expected = ATTACKS[attack]
    template, true = TRUE[case]
    data = spoil(_signed(template, true, tmp_path))
    for name in true:
        (tmp_path / name).unlink()
    report = judge(data, tmp_path, WORLD.trust, detached=files)
    assert report.indication == expected, report.signatures


def test_a_comment_in_the_middle_of_a_text_beside_is_not_called_whole(tmp_path: Path) -> None:
    """Canonicalisation leaves comments out: one reader sees 12000, another one 1."""
    template = signature(reference("offre.xml", transform(C14N)))
    data = _signed(template, {"offre.xml": b"<prix>12000</prix>"}, tmp_path)
    report = judge(data, tmp_path, WORLD.trust, detached={"offre.xml": b"<prix>1<!-- -->2000</prix>"})
    assert (report.indication, report.signatures[0].coverage) == (UNSURE, "partial")


@pytest.mark.parametrize("lax", [b"QUJD!!!!REVG", b"QUJD====REVG", b"QUJD-_-_REVG", b"QUI=RVZJTEVWSUw="])
def test_base64_that_readers_decode_differently_is_refused(lax: bytes) -> None:
    with pytest.raises(XmlRefused):
        decoded(lax)
    assert decoded(b" QUJD\r\n REVG ") == b"ABCDEF"


@pytest.mark.parametrize(
    "template",
    [
        signature(reference("", transform(_XPATH_1, _XPATH.format(DS)) + BASE64)).join(
            ("<offre>MTIwMDA=", "</offre>")
        ),
        f'<dossier><contenu Id="c">1</contenu>{signature(reference("#c"))}</dossier>',
        signature(
            reference("#a") + reference("#b"),
            '<ds:Object><prix><x Id="a">12000</x></prix><penalite><x Id="b">5</x></penalite></ds:Object>',
        ),
        signature("").replace("</ds:Signature>", "<ds:Object/></ds:Signature>"),
    ],
    ids=["the text of the document alone", "a part beside its signature", "parts under names", "nothing"],
)
def test_what_is_signed_in_part_is_not_called_whole(template: str, tmp_path: Path) -> None:
    """True to the last byte, and a reader would see what nobody signed: names, attributes, what is around."""
    data = _signed(template, {}, tmp_path)
    assert _verified(data, tmp_path)
    report = judge(data, tmp_path, WORLD.trust)
    assert report.indication == UNSURE, report.signatures


def test_a_part_of_another_file_is_not_judged_as_the_whole_of_it(tmp_path: Path) -> None:
    data = _signed(signature(reference("offre.xml")), {"offre.xml": b"<a/>"}, tmp_path)
    found = judge(
        data.replace(b"offre.xml", b"offre.xml#x"), tmp_path, WORLD.trust, detached={"offre.xml": b"<a/>"}
    )
    assert "pas pris en charge" in found.signatures[0].reason


def test_a_file_signed_under_another_name_is_said(tmp_path: Path) -> None:
    data = _signed(signature(reference("prix-lot1.txt")), {"prix-lot1.txt": b"1"}, tmp_path)
    report = judge(data, tmp_path, WORLD.trust, detached={"prix-lot2.txt": b"1", "prix-lot1.txt": b"2"})
    assert report.indication == PASSED
    assert any("s'appelait « prix-lot1.txt »" in each for each in report.signatures[0].warnings)
