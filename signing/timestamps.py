"""RFC 3161 timestamps.

An embedded authority, a client with ordered authorities, full verification of tokens.
"""

import concurrent.futures
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from filelock import FileLock

from signing.errors import TimestampRefused

REQUEST_LIMIT = 64 * 1024  # bytes
# Our policy: "time of this platform's clock, accuracy one second, not qualified", under the UUID arc (ITU-T
# X.667).
POLICY = "2.25.311484236197342896154721935827364518"
SKEW = timedelta(seconds=60)
EMBEDDED = "embedded"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


class _Response(core.Sequence):  # type: ignore[misc]
    """TimeStampResp of RFC 3161 §2.4.2, whose token is optional (asn1crypto's own class requires it)."""

    _fields = [("status", tsp.PKIStatusInfo), ("time_stamp_token", cms.ContentInfo, {"optional": True})]


@dataclass(frozen=True)
class Token:
    """What a verified token says."""

    gen_time: datetime
    serial: int
    policy: str
    authority: str


@dataclass(frozen=True)
class Stamp:
    """A request, the response as received (DER), what it says, and who was asked."""

    request: bytes
    response: bytes
    token: Token
    authority: str


def make_request(digest: bytes, nonce: int | None = None) -> bytes:
    """DER TimeStampReq over a SHA-256 digest, asking for the certificates."""
    request = tsp.TimeStampReq(
        {
            "version": "v1",
            "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": digest},
            "cert_req": True,
        }
    )
    if nonce is not None:
        request["nonce"] = core.Integer(nonce)
    return bytes(request.dump())


class Authority:
    """The embedded authority: P-256, ESSCertIDv2, accuracy one second, monotone across processes."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes, ca_pem: bytes, state: Path) -> None:
        self._certificate = asn1_x509.Certificate.load(
            x509.load_pem_x509_certificate(certificate_pem).public_bytes(Encoding.DER)
        )
        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TimestampRefused("La clé de l'autorité n'est pas une clé P-256.")
        self._key, self._state = key, state

    def _next(self, now: datetime) -> datetime:
        """A time never before nor equal to the last one given by any process sharing the state file."""
        with FileLock(f"{self._state}.lock"):
            try:
                last = datetime.fromisoformat(json.loads(self._state.read_text())["last"])
            except FileNotFoundError:
                last = datetime.min.replace(tzinfo=UTC)
            moment = max(now.astimezone(UTC), last + timedelta(microseconds=1))
            draft = self._state.with_name(f".{self._state.name}.{os.getpid()}")
            draft.write_text(json.dumps({"last": moment.isoformat()}))
            draft.replace(self._state)
        return moment

    def respond(self, request_der: bytes, *, now: datetime) -> bytes:
        """DER TimeStampResp: granted, or a rejection that says why. Never raises on a bad request."""
        try:
            request = _parse_request(request_der)
        except TimestampRefused as refused:
            return _rejection(str(refused), "bad_data_format")
        imprint = request["message_imprint"]
        algorithm = imprint["hash_algorithm"]["algorithm"].native
        if algorithm not in _HASHES:
            return _rejection("Unsupported hash algorithm", "bad_alg")
        if len(imprint["hashed_message"].native) != _HASHES[algorithm].digest_size:
            return _rejection("The imprint has a wrong length", "bad_data_format")
        if request["req_policy"].native not in (None, POLICY):
            return _rejection("Unknown policy", "unaccepted_policy")
        return bytes(
            tsp.TimeStampResp(
                {"status": {"status": "granted"}, "time_stamp_token": self._token(request, self._next(now))}
            ).dump()
        )

    def _token(self, request: tsp.TimeStampReq, moment: datetime) -> cms.ContentInfo:
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": POLICY,
                "message_imprint": request["message_imprint"],
                "serial_number": secrets.randbits(127) | 1,
                "gen_time": moment,
                "accuracy": {"seconds": 1},
                "ordering": False,
            }
        )
        if request["nonce"].native is not None:
            info["nonce"] = request["nonce"]
        content = info.dump()
        certificate_digest = hashlib.sha256(self._certificate.dump()).digest()
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute(
                    {
                        "type": "signing_time",
                        "values": [cms.Time({"utc_time": moment.replace(microsecond=0)})],
                    }
                ),
                cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(content).digest()]}),
                cms.CMSAttribute(
                    {
                        "type": "signing_certificate_v2",
                        "values": [
                            tsp.SigningCertificateV2(
                                {
                                    "certs": [
                                        {
                                            "hash_algorithm": {"algorithm": "sha256"},
                                            "cert_hash": certificate_digest,
                                            "issuer_serial": {
                                                "issuer": [
                                                    asn1_x509.GeneralName(
                                                        "directory_name", self._certificate.issuer
                                                    )
                                                ],
                                                "serial_number": self._certificate.serial_number,
                                            },
                                        }
                                    ]
                                }
                            )
                        ],
                    }
                ),
            ]
        )
        signature = self._key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256()))
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    "issuer_and_serial_number",
                    {"issuer": self._certificate.issuer, "serial_number": self._certificate.serial_number},
                ),
                "digest_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signature": signature,
            }
        )
        signed = cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha256"})],
                "encap_content_info": {
                    "content_type": "tst_info",
                    "content": core.ParsableOctetString(content),
                },
                "signer_infos": [signer],
            }
        )
        if request["cert_req"].native:
            signed["certificates"] = [self._certificate]
        return cms.ContentInfo({"content_type": "signed_data", "content": signed})


def _parse_request(data: bytes) -> tsp.TimeStampReq:
    if len(data) > REQUEST_LIMIT:
        raise TimestampRefused("Request too long")
    try:
        request = tsp.TimeStampReq.load(data, strict=True)
        if request["version"].native != "v1":
            raise TimestampRefused("Unknown version")
        _ = request.native
    except (ValueError, TypeError, KeyError) as bad:
        raise TimestampRefused("Not a TimeStampReq") from bad
    return request


def _rejection(why: str, failure: str) -> bytes:
    status = {"status": "rejection", "status_string": [why], "fail_info": {failure}}
    return bytes(_Response({"status": status}).dump())


def verify_token(
    data: bytes, *, digest: bytes, ca_pem: bytes, nonce: int | None = None, at: datetime | None = None
) -> Token:
    """Verify a TimeStampResp or a bare token over this SHA-256 digest; `at` checks |genTime − at| < 60 s.

    Checks status, imprint, nonce, signature, signed attributes, ESSCertIDv2, critical timeStamping EKU and
    chain.
    Raises TimestampRefused.
    """
    try:
        return _verified(data, digest, ca_pem, nonce, at)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, InvalidSignature) as bad:
        raise TimestampRefused(f"Jeton d'horodatage invalide : {bad or type(bad).__name__}.") from bad


def _signed_data(data: bytes) -> cms.SignedData:
    if len(data) > 1024 * 1024:
        raise TimestampRefused("Jeton trop long.")
    response = _Response.load(data)
    try:
        status = response["status"]["status"].native
    except (ValueError, TypeError):
        return cms.ContentInfo.load(data, strict=True)["content"]
    if status not in ("granted", "granted_with_mods"):
        raise TimestampRefused(f"L'autorité a refusé : {status}.")
    return response["time_stamp_token"]["content"]


def _verified(data: bytes, digest: bytes, ca_pem: bytes, nonce: int | None, at: datetime | None) -> Token:
    signed = _signed_data(data)
    content = signed["encap_content_info"]["content"].contents
    info = tsp.TSTInfo.load(content, strict=True)
    imprint = info["message_imprint"]
    if (
        imprint["hash_algorithm"]["algorithm"].native != "sha256"
        or imprint["hashed_message"].native != digest
    ):
        raise TimestampRefused("Le jeton porte sur une autre empreinte.")
    if nonce is not None and info["nonce"].native != nonce:
        raise TimestampRefused("Le jeton répond à une autre demande.")
    if len(signed["signer_infos"]) != 1:
        raise TimestampRefused("Le jeton doit avoir un seul signataire.")
    signer = signed["signer_infos"][0]
    attributes = {attribute["type"].native: attribute["values"] for attribute in signer["signed_attrs"]}
    if attributes["content_type"][0].native != "tst_info":
        raise TimestampRefused("Le contenu signé n'est pas un horodatage.")
    algorithm = _HASHES[signer["digest_algorithm"]["algorithm"].native]
    if attributes["message_digest"][0].native != _hash(algorithm, content):
        raise TimestampRefused("Le contenu du jeton a été modifié.")
    certificate = _signing_certificate(signed, attributes, ca_pem)
    sid = signer["sid"].chosen.native
    if isinstance(sid, dict) and sid["serial_number"] != certificate.serial_number:
        raise TimestampRefused("Le jeton désigne un autre certificat que le sien.")
    moment = info["gen_time"].native
    _check_chain(certificate, ca_pem, moment)
    # RFC 5652 §5.4: what is signed is the DER SET OF, not the implicit tag of the field.
    _check_signature(certificate, signer, b"\x31" + signer["signed_attrs"].dump()[1:])
    if at is not None and abs(moment - at) >= SKEW:
        raise TimestampRefused("L'heure du jeton s'écarte de plus de 60 s de l'horloge.")
    return Token(
        moment, info["serial_number"].native, info["policy"].native, certificate.subject.rfc4514_string()
    )


def _hash(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    context = hashes.Hash(algorithm)
    context.update(data)
    return context.finalize()


def _signing_certificate(
    signed: cms.SignedData, attributes: dict[str, core.SetOf], ca_pem: bytes
) -> x509.Certificate:
    """The certificate that ESSCertID(v2) designates, among those carried."""
    if "signing_certificate_v2" in attributes:
        identifier = attributes["signing_certificate_v2"][0]["certs"][0]
        name = identifier["hash_algorithm"]["algorithm"].native
    else:
        identifier, name = attributes["signing_certificate"][0]["certs"][0], "sha1"
    for choice in signed["certificates"]:
        der = choice.chosen.dump()
        if hashlib.new(name, der, usedforsecurity=False).digest() == identifier["cert_hash"].native:
            return x509.load_der_x509_certificate(der)
    raise TimestampRefused("Le certificat de l'autorité n'est pas celui que le jeton désigne.")


def _check_chain(certificate: x509.Certificate, ca_pem: bytes, moment: datetime) -> None:
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TimestampRefused("Ce certificat n'est pas réservé à l'horodatage.")
    for issuer in x509.load_pem_x509_certificates(ca_pem):
        if issuer.subject == certificate.issuer:
            certificate.verify_directly_issued_by(issuer)
            break
    else:
        raise TimestampRefused("Cette autorité d'horodatage n'est pas de celles qui sont reconnues.")
    for each in (certificate, issuer):
        if not each.not_valid_before_utc <= moment <= each.not_valid_after_utc:
            raise TimestampRefused("Le certificat n'était pas valide à l'heure du jeton.")


def _check_signature(certificate: x509.Certificate, signer: cms.SignerInfo, data: bytes) -> None:
    key = certificate.public_key()
    algorithm = _HASHES[signer["digest_algorithm"]["algorithm"].native]
    signature = signer["signature"].native
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), algorithm)
    else:
        raise TimestampRefused("Algorithme de signature inconnu.")


def _ask(authority: "Authority | str", request: bytes, now: datetime, timeout: float) -> bytes:
    if isinstance(authority, Authority):
        return authority.respond(request, now=now)
    answer = httpx.post(
        authority, content=request, headers={"Content-Type": "application/timestamp-query"}, timeout=timeout
    )
    answer.raise_for_status()
    return answer.content


def request_token(
    digest: bytes,
    authorities: Sequence["Authority | str"],
    *,
    ca_pem: bytes,
    now: datetime,
    timeout: float = 3.0,
    hedge: float = 1.0,
) -> Stamp:
    """The first verified token.

    Authorities in order, `timeout` seconds each, the next one asked after `hedge` seconds.

    Raises TimestampRefused when nobody gave a valid one.
    """
    nonce = secrets.randbits(63) | 1
    request = make_request(digest, nonce)
    reasons: list[str] = []
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(authorities)))
    waiting: dict[concurrent.futures.Future[bytes], Authority | str] = {}
    queue = list(authorities)
    try:
        while queue or waiting:
            if queue:
                authority = queue.pop(0)
                waiting[pool.submit(_ask, authority, request, now, timeout)] = authority
            done, _ = concurrent.futures.wait(
                waiting, timeout=hedge if queue else None, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                authority = waiting.pop(future)
                name = EMBEDDED if isinstance(authority, Authority) else authority
                try:
                    response = future.result()
                    token = verify_token(response, digest=digest, ca_pem=ca_pem, nonce=nonce, at=now)
                except (TimestampRefused, httpx.HTTPError) as refused:
                    reasons.append(f"{name} : {refused}")
                    continue
                return Stamp(request, response, token, name)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    raise TimestampRefused("Aucune autorité d'horodatage n'a répondu. " + " ; ".join(reasons))
