"""What stands in an XML signature without being signed: keys and proofs pass, nothing else to read does."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from signing.xml import DS, XADES
from tests.conftest import absent
from tests.signing.authority import NOW, World
from tests.signing.judged import judge
from tests.signing.test_xml_interop import EXC, SIGNER, offer, transform, whole
from tests.signing.test_xml_interop import WORLD as SIGNED_BY
from tests.signing.test_xml_interop import _signed as sign_by_xmlsec1
from tests.signing.xml_cases import xades

PASSED, UNSURE = "TOTAL_PASSED", "INDETERMINATE"
WORLD = World()
_SHOWN = '<h:div xmlns:h="http://www.w3.org/1999/xhtml" style="position:fixed;top:0">Prix : 1 euro</h:div>'
_RUN = '<h:script xmlns:h="http://www.w3.org/1999/xhtml">prix.textContent = "1"</h:script>'
_NAME = "CN=Julie Moreau, O=Essai, C=FR"


def _ds(name: str, inner: str) -> str:
    return f'<ds:{name} xmlns:ds="{DS[1:-1]}">{inner}</ds:{name}>'


def _xades(name: str, inner: str) -> str:
    return f'<x:{name} xmlns:x="{XADES[1:-1]}" xmlns:ds="{DS[1:-1]}">{inner}</x:{name}>'


def _serial(name: str, number: int) -> str:
    return _ds("X509IssuerSerial", _ds("X509IssuerName", name) + _ds("X509SerialNumber", str(number)))


def _key_value() -> str:
    key = SIGNER.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    numbers = key.public_numbers()
    modulus = base64.encodebytes(numbers.n.to_bytes(256, "big")).decode()
    return _ds("KeyValue", _ds("RSAKeyValue", _ds("Modulus", modulus) + _ds("Exponent", "AQAB")))


def _stranger() -> str:
    """A certificate that names what its maker wants, and whose name the key's information repeats."""
    made = World().issuer.issue("Prix 1 euro").certificate.public_bytes(Encoding.DER)
    return _ds("X509Certificate", base64.b64encode(made).decode()) + _ds("X509SubjectName", "CN=Prix 1 euro")


# where it is added, what, and the verdict
KEYS: dict[str, tuple[str, str, str]] = {
    "a page over the page": ("KeyInfo", _SHOWN, UNSURE),
    "a page over the page, deeper": ("X509Data", _SHOWN, UNSURE),
    "a script": ("KeyInfo", _RUN, UNSURE),
    "an element beside the key": ("Signature", _SHOWN, UNSURE),
    "an instruction": ("KeyInfo", "<?a 1 euro?>", UNSURE),
    "a text for a name": ("KeyInfo", _ds("KeyName", "Prix rectifié : 1 euro"), UNSURE),
    "a text for a number": ("X509Data", _serial(_NAME, 1), UNSURE),
    "words that are base64": ("X509Data", _ds("X509SKI", "Prix 1 euro RECT"), UNSURE),
    "the name of a stranger": ("X509Data", _stranger(), UNSURE),
    "the name of the signer": ("KeyInfo", _ds("KeyName", "Julie Moreau"), PASSED),
    "the digest of the key": ("KeyInfo", _ds("KeyName", "0a:1b" * 10), PASSED),
    "the names of the certificate": (
        "X509Data",
        _ds("X509SubjectName", _NAME)
        + _serial(r"CN=Autorit\C3\A9 d'essai,O=#0c054573736169,2.5.4.6=FR", SIGNER.certificate.serial_number),
        PASSED,
    ),
    "the key": ("KeyInfo", _key_value(), PASSED),
}  # fmt: skip


def _added(data: bytes, tag: str, added: str) -> bytes:
    root = etree.fromstring(data)
    place = next(root.iter(tag))
    for each in etree.fromstring(f"<x>{added}</x>").iterchildren():
        place.append(each)
    return etree.tostring(root)


@pytest.mark.parametrize("case", KEYS)
def test_what_stands_beside_the_key_is_foreseen_or_is_not_called_signed(case: str, tmp_path: Path) -> None:
    if shutil.which("xmlsec1") is None:
        absent("xmlsec1 : il manque xmlsec1 (paquet Debian : xmlsec1)")
    place, added, expected = KEYS[case]
    data = _added(sign_by_xmlsec1(offer(whole(transform(EXC))), {}, tmp_path), DS + place, added)
    report = judge(data, tmp_path, SIGNED_BY.trust)
    assert report.indication == expected, report.signatures


def _references(name: str) -> str:
    signer = asn1_x509.Certificate.load(WORLD.signer.certificate.public_bytes(Encoding.DER))
    digest = _xades(
        "CertDigest",
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        + _ds("DigestValue", base64.b64encode(signer.sha256).decode()),
    )
    number = _ds("X509SerialNumber", str(WORLD.issuer.identity.certificate.serial_number))
    issued = _xades("IssuerSerial", _ds("X509IssuerName", name) + number)
    held = _xades("CertRefs", _xades("Cert", digest + issued))
    answered = _xades("OCSPIdentifier", _xades("ResponderID", _xades("ByName", name)) + _produced())
    return _xades("CompleteCertificateRefs", held) + _xades(
        "CompleteRevocationRefs", _xades("OCSPRefs", _xades("OCSPRef", answered))
    )


def _produced() -> str:
    return _xades("ProducedAt", f"{NOW:%Y-%m-%dT%H:%M:%SZ}")


PROPERTIES: dict[str, tuple[Callable[[], str], str]] = {
    "a page over the page": (lambda: _SHOWN, UNSURE),
    "a script, deeper": (lambda: _xades("CertificateValues", _RUN), UNSURE),
    "a text": (lambda: _xades("CertificateValues", "Prix : 1 euro"), UNSURE),
    "a value that is no proof": (
        lambda: _xades("RevocationValues", _xades("OtherValues", _xades("OtherValue", "1 euro"))),
        UNSURE,
    ),
    "references to a sentence": (lambda: _references("Prix : 1 euro"), UNSURE),
    "references to an authority that is not carried": (lambda: _references("CN=Autre autorité,C=FR"), PASSED),
    "references to the chain": (lambda: _references("C=FR,O=Essai,CN=Racine d'essai"), PASSED),
    "nothing": (lambda: "", PASSED),
}


def test_in_what_a_browser_draws_a_reference_to_a_stranger_is_not_foreseen(tmp_path: Path) -> None:
    page = b'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Prix : 12000 euros</p></body></html>'
    for name, expected in (("CN=Prix 1 euro", UNSURE), ("C=FR,O=Essai,CN=Racine d'essai", PASSED)):
        data = _added(
            xades(WORLD.signer, page),
            f"{XADES}QualifyingProperties",
            _xades("UnsignedProperties", _xades("UnsignedSignatureProperties", _references(name))),
        )
        assert judge(data, tmp_path, WORLD.trust, name="a.xml").indication == expected


@pytest.mark.parametrize("case", PROPERTIES)
def test_unsigned_properties_hold_proofs_alone(case: str, tmp_path: Path) -> None:
    make, expected = PROPERTIES[case]
    data = _added(
        xades(WORLD.signer),
        f"{XADES}QualifyingProperties",
        _xades("UnsignedProperties", _xades("UnsignedSignatureProperties", make())),
    )
    report = judge(data, tmp_path, WORLD.trust)
    assert report.indication == expected, report.signatures
