"""XML signatures made to be judged, by signxml; and what attackers do to them."""

import base64
from typing import Any

from asn1crypto import cms
from lxml import etree
from signxml import SignatureMethod, methods
from signxml.xades import XAdESSigner, XAdESVerifier

from signing.authority import Authority
from signing.xml import DS, XADES
from tests.signing.authority import NOW, Identity
from tests.signing.cms_cases import stamp

OFFER = b"<offre><prix>12000</prix><delai>30</delai></offre>"
_KINDS = {"rsa": SignatureMethod.RSA_SHA256, "ec": SignatureMethod.ECDSA_SHA256}


class _Old(XAdESSigner):
    """One that still signs with SHA-1."""

    def check_deprecated_methods(self) -> None:
        pass


def xades(
    identity: Identity,
    content: Any = OFFER,
    *,
    method: Any = methods.enveloped,
    digest: str = "sha256",
    algorithm: SignatureMethod | None = None,
    reference: str | None = None,
    authority: Authority | None = None,
    token_of: bytes | None = None,
    stamped: Any = NOW,
) -> bytes:
    kind = "rsa" if type(identity.key).__name__.startswith("RSA") else "ec"
    signer = _Old(
        method=method,
        digest_algorithm=digest,
        signature_algorithm=algorithm or _KINDS[kind],
    )
    data = (
        etree.fromstring(content)
        if isinstance(content, bytes) and method is not methods.detached
        else content
    )
    root = signer.sign(
        data,
        key=identity.key,
        cert=[identity.certificate, *identity.above],
        reference_uri=reference,
    )
    if authority is not None:
        add_stamp(root, authority, token_of, stamped)
    return etree.tostring(root)


def add_stamp(root: Any, authority: Authority, token_of: bytes | None, moment: Any) -> None:
    """A timestamp over the signature's value, or over other bytes."""
    signature = root if root.tag == f"{DS}Signature" else root.find(f".//{DS}Signature")
    value = etree.tostring(signature.find(f"{DS}SignatureValue"), method="c14n")
    token: cms.ContentInfo = stamp(authority, value if token_of is None else token_of, moment)
    properties = signature.find(f"{DS}Object/{XADES}QualifyingProperties")
    unsigned = etree.SubElement(properties, f"{XADES}UnsignedProperties")
    rows = etree.SubElement(unsigned, f"{XADES}UnsignedSignatureProperties")
    row = etree.SubElement(rows, f"{XADES}SignatureTimeStamp")
    etree.SubElement(row, f"{XADES}EncapsulatedTimeStamp").text = base64.b64encode(token.dump()).decode()


def wrapped(signed: bytes) -> bytes:
    """Signature wrapping: the signed element is moved aside, another one stands in its place."""
    root = etree.fromstring(signed)
    signature = root.find(f"{DS}Signature")
    evil = etree.fromstring(b"<offre><prix>1</prix></offre>")
    root.remove(signature)
    holder = etree.SubElement(evil, "ancien")
    holder.append(root)
    evil.append(signature)
    return etree.tostring(evil)


__all__ = ["OFFER", "XAdESVerifier", "add_stamp", "wrapped", "xades"]
