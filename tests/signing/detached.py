"""A detached XAdES signature written by hand, for the cases that signxml's signer does not make."""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from tests.signing.authority import NOW, Identity

_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _reference(uri: str, data: bytes, *, kind: str = "", transform: bool = False) -> str:
    transforms = f'<ds:Transforms><ds:Transform Algorithm="{_C14N}"/></ds:Transforms>' if transform else ""
    typed = f' Type="{kind}"' if kind else ""
    return (
        f'<ds:Reference URI="{uri}"{typed}>{transforms}<ds:DigestMethod Algorithm="{_SHA256}"/>'
        f"<ds:DigestValue>{_b64(hashlib.sha256(data).digest())}</ds:DigestValue></ds:Reference>"
    )


def _canonical(text: str) -> bytes:
    return etree.tostring(etree.fromstring(text), method="c14n", exclusive=True)


def detached_xades(
    identity: Identity, files: Mapping[str, bytes], *, container: bool = False, stamps: str = ""
) -> bytes:
    """XML whose root is the signature (or ASiC's XAdESSignatures) over files by their names.

    `stamps`: timestamps of the content, among what is signed.
    """
    der = identity.certificate.public_bytes(Encoding.DER)
    ds, xades = "http://www.w3.org/2000/09/xmldsig#", "http://uri.etsi.org/01903/v1.3.2#"
    properties = (
        f'<xades:SignedProperties xmlns:ds="{ds}" xmlns:xades="{xades}" Id="p">'
        "<xades:SignedSignatureProperties>"
        f"<xades:SigningTime>{NOW.isoformat()}</xades:SigningTime><xades:SigningCertificateV2><xades:Cert>"
        f'<xades:CertDigest><ds:DigestMethod Algorithm="{_SHA256}"/>'
        f"<ds:DigestValue>{_b64(hashlib.sha256(der).digest())}</ds:DigestValue></xades:CertDigest></xades:Cert>"
        "</xades:SigningCertificateV2></xades:SignedSignatureProperties>"
        + (stamps and f"<xades:SignedDataObjectProperties>{stamps}</xades:SignedDataObjectProperties>")
        + "</xades:SignedProperties>"
    )
    rows = [_reference(quote(name), data) for name, data in files.items()]
    references = "".join(
        row.replace("<ds:Reference ", f'<ds:Reference Id="r{rank}" ', 1) for rank, row in enumerate(rows)
    )
    references += _reference(
        "#p", _canonical(properties), kind="http://uri.etsi.org/01903#SignedProperties", transform=True
    )
    info = (
        f'<ds:SignedInfo xmlns:ds="{ds}"><ds:CanonicalizationMethod Algorithm="{_C14N}"/>'
        '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>'
        f"{references}</ds:SignedInfo>"
    )
    assert isinstance(identity.key, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(identity.key.sign(_canonical(info), ec.ECDSA(hashes.SHA256())))
    certificates = "".join(
        f"<ds:X509Certificate>{_b64(each.public_bytes(Encoding.DER))}</ds:X509Certificate>"
        for each in (identity.certificate, *identity.above)
    )
    signature = (
        f'<ds:Signature xmlns:ds="{ds}" Id="s">{info}'
        f"<ds:SignatureValue>{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}</ds:SignatureValue>"
        f"<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo><ds:Object>"
        f'<xades:QualifyingProperties xmlns:xades="{xades}" Target="#s">{properties}'
        "</xades:QualifyingProperties></ds:Object></ds:Signature>"
    )
    if container:
        return (
            f'<asic:XAdESSignatures xmlns:asic="http://uri.etsi.org/02918/v1.2.1#">{signature}'
            "</asic:XAdESSignatures>"
        ).encode()
    return signature.encode()
