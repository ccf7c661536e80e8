"""CMS made to be judged: any attribute may be set, swapped or left out, as an attacker would."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from signing.authority import Authority
from signing.timestamps import make_request
from tests.signing.authority import NOW, Identity

HASHES = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha224": hashes.SHA224,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def _certificate(identity: Identity) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(identity.certificate.public_bytes(Encoding.DER))


def _raw(identity: Identity, data: bytes, digest: str, *, pss: bool) -> bytes:
    key, algorithm = identity.key, HASHES[digest]()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(algorithm))
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(
        data,
        padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if pss else padding.PKCS1v15(),
        algorithm,
    )


def _algorithm(identity: Identity, digest: str, *, pss: bool) -> algos.SignedDigestAlgorithm:
    if isinstance(identity.key, ed25519.Ed25519PrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": "ed25519"})
    if isinstance(identity.key, ec.EllipticCurvePrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": f"{digest}_ecdsa"})
    if not pss:
        return algos.SignedDigestAlgorithm({"algorithm": f"{digest}_rsa"})
    size = HASHES[digest]().digest_size
    parameters = {
        "hash_algorithm": {"algorithm": digest},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": digest}},
        "salt_length": size,
    }
    return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})


def stamp(authority: Authority, data: bytes, now: datetime = NOW) -> cms.ContentInfo:
    """A token over the SHA-256 of these bytes."""
    response = authority.respond(make_request(hashlib.sha256(data).digest(), 7), now=now)
    return tsp.TimeStampResp.load(response)["time_stamp_token"]


def signer_info(
    identity: Identity,
    content: bytes,
    *,
    digest: str = "sha256",
    pss: bool = False,
    content_type: str | None = "data",
    ess: Identity | bool | None = True,
    attributes: bool = True,
    message_digest: bytes | None = None,
    authority: Authority | None = None,
    token_of: bytes | None = None,
    stamped: datetime = NOW,
    extra: Sequence[dict[str, Any]] = (),
    unsigned: Sequence[dict[str, Any]] = (),
    times: Sequence[cms.Time] | None = None,
) -> cms.SignerInfo:
    """`ess`: whose certificate is named by the signed ESSCertIDv2 (True: the signer's own)."""
    certificate = _certificate(identity)
    rows: list[dict[str, Any]] = [
        {"type": "message_digest", "values": [message_digest or hashlib.new(digest, content).digest()]},
        {"type": "signing_time", "values": times or [cms.Time({"utc_time": NOW})]},
    ]
    if content_type:
        rows.append({"type": "content_type", "values": [content_type]})
    if ess:
        named = certificate if ess is True else _certificate(ess)
        value = tsp.SigningCertificateV2({"certs": [{"cert_hash": hashlib.sha256(named.dump()).digest()}]})
        rows.append({"type": "signing_certificate_v2", "values": [value]})
    signed = cms.CMSAttributes([cms.CMSAttribute(row) for row in [*rows, *extra]])
    what = signed.dump() if attributes else content
    signature = _raw(identity, what, digest, pss=pss)
    fields: dict[str, Any] = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            "issuer_and_serial_number",
            {"issuer": certificate.issuer, "serial_number": certificate.serial_number},
        ),
        "digest_algorithm": algos.DigestAlgorithm({"algorithm": digest}),
        "signature_algorithm": _algorithm(identity, digest, pss=pss),
        "signature": signature,
    }
    if attributes:
        fields["signed_attrs"] = signed
    later = [cms.CMSAttribute(row) for row in unsigned]
    if authority is not None:
        token = stamp(authority, signature if token_of is None else token_of, stamped)
        later.append(cms.CMSAttribute({"type": "signature_time_stamp_token", "values": [token]}))
    if later:
        fields["unsigned_attrs"] = cms.CMSAttributes(later)
    return cms.SignerInfo(fields)


def make_cms(
    infos: Sequence[cms.SignerInfo],
    identities: Sequence[Identity],
    *,
    content: bytes | None = None,
    content_type: str = "data",
    revocation: Sequence[Any] = (),
) -> bytes:
    """DER SignedData; `content` is attached when given."""
    encapsulated: dict[str, Any] = {"content_type": content_type}
    if content is not None:
        kind = core.OctetString if content_type == "data" else core.ParsableOctetString
        encapsulated["content"] = kind(content)
    carried = {
        each.public_bytes(Encoding.DER)
        for identity in identities
        for each in [identity.certificate, *identity.above]
    }
    fields: dict[str, Any] = {
        "version": "v1",
        "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha256"})],
        "encap_content_info": encapsulated,
        "certificates": [asn1_x509.Certificate.load(der) for der in sorted(carried)],
        "signer_infos": list(infos),
    }
    if revocation:
        fields["crls"] = list(revocation)
    signed = cms.SignedData(fields)
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())


def cades(identity: Identity, content: bytes, *, attached: bool = False, **options: Any) -> bytes:
    """One signer's CAdES-B, or T with an `authority`."""
    info = signer_info(identity, content, **options)
    return make_cms([info], [identity], content=content if attached else None)
