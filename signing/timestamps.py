"""RFC 3161 timestamps.

A client with ordered authorities, full verification of tokens.
"""

import asyncio
import concurrent.futures
import hashlib
import logging
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathError, ValidationError

from signing.algorithms import key_weakness
from signing.asking import TOKEN_LIMIT, Resting, started
from signing.authority import HASHES, POLICY, Authority, Response
from signing.errors import ClockDisagrees, TimestampRefused

log = logging.getLogger(__name__)
# What a hostile token, or the certificate of one, makes the parsers raise.
_INVALID = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
SKEW = timedelta(seconds=60)
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Token:
    """What a verified token says."""

    gen_time: datetime
    serial: int
    policy: str
    authority: str


@dataclass(frozen=True)
class Stamp:
    """A request, the response as received (DER), what it says, and who was asked.

    `disagreed`: the outside authorities that gave another time before this one was heard.
    """

    request: bytes
    response: bytes
    token: Token
    authority: str
    disagreed: tuple[str, ...] = ()


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


def verify_token(
    data: bytes,
    *,
    digest: bytes,
    ca_pem: bytes,
    nonce: int | None = None,
    at: datetime | None = None,
    until: datetime | None = None,
) -> Token:
    """Verify a TimeStampResp or a bare token over this SHA-256 digest; `at` checks |genTime − at| < 60 s.

    `until`: when it was renewed; its chain must still have been valid then (RFC 4998 §5.3).

    Checks status, imprint, nonce, signature, signed attributes, ESSCertIDv2, critical timeStamping EKU and
    chain.
    Raises TimestampRefused.
    """
    try:
        return _verified(data, digest, ca_pem, nonce, at, until)
    except _INVALID as bad:
        raise TimestampRefused(f"Jeton d'horodatage invalide : {bad or type(bad).__name__}.") from bad


def _signed_data(data: bytes) -> cms.SignedData:
    if len(data) > TOKEN_LIMIT:
        raise TimestampRefused("Jeton trop long.")
    response = Response.load(data)
    try:
        status = response["status"]["status"].native
    except (ValueError, TypeError):
        return cms.ContentInfo.load(data, strict=True)["content"]
    if status not in ("granted", "granted_with_mods"):
        raise TimestampRefused(f"L'autorité a refusé : {status}.")
    return response["time_stamp_token"]["content"]


def _verified(
    data: bytes,
    digest: bytes,
    ca_pem: bytes,
    nonce: int | None,
    at: datetime | None,
    until: datetime | None,
) -> Token:
    signed = _signed_data(data)
    content = signed["encap_content_info"]["content"].contents
    info = tsp.TSTInfo.load(content, strict=True)
    accuracy = _accuracy(info)
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
    algorithm = HASHES[signer["digest_algorithm"]["algorithm"].native]
    if attributes["message_digest"][0].native != _hash(algorithm, content):
        raise TimestampRefused("Le contenu du jeton a été modifié.")
    certificate = _signing_certificate(signed, attributes, ca_pem)
    sid = signer["sid"].chosen.native
    if isinstance(sid, dict) and sid["serial_number"] != certificate.serial_number:
        raise TimestampRefused("Le jeton désigne un autre certificat que le sien.")
    moment = info["gen_time"].native
    carried = [choice.chosen for choice in signed["certificates"]]
    _check_chain(certificate, carried, ca_pem, moment)
    if until is not None:
        _check_chain(certificate, carried, ca_pem, until)
    # RFC 5652 §5.4: what is signed is the DER SET OF, not the implicit tag of the field.
    _check_signature(certificate, signer, b"\x31" + signer["signed_attrs"].dump()[1:])
    if at is not None and abs(moment - at) >= SKEW:
        raise ClockDisagrees("L'heure du jeton s'écarte de plus de 60 s de l'horloge.")
    if at is not None and abs(moment - at) + accuracy >= SKEW:
        raise TimestampRefused("L'heure du jeton n'est pas exacte à 60 s près.")
    return Token(
        moment, info["serial_number"].native, info["policy"].native, certificate.subject.rfc4514_string()
    )


def _accuracy(info: tsp.TSTInfo) -> timedelta:
    """How far the true time may be from the token's; none said is read as none.

    Raises TimestampRefused for what RFC 3161 §2.4.2 does not let be ignored.
    """
    if info["version"].native != "v1":
        raise TimestampRefused("Le jeton est d'une version inconnue.")
    if info["serial_number"].native < 0:
        raise TimestampRefused("Le numéro de série du jeton n'en est pas un.")
    if any(each["critical"].native for each in info["extensions"] or ()):
        raise TimestampRefused("Le jeton porte une extension critique inconnue.")
    said = info["accuracy"].native or {}
    return abs(
        timedelta(
            seconds=said.get("seconds") or 0,
            milliseconds=said.get("millis") or 0,
            microseconds=said.get("micros") or 0,
        )
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


def _check_chain(
    certificate: x509.Certificate, carried: list[asn1_x509.Certificate], ca_pem: bytes, moment: datetime
) -> None:
    """RFC 3161 §2.3: the critical usage timeStamping alone; RFC 5280 §6: a path to one of these anchors."""
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TimestampRefused("Ce certificat n'est pas réservé à l'horodatage.")
    anchors = [
        asn1_x509.Certificate.load(each.public_bytes(Encoding.DER))
        for each in x509.load_pem_x509_certificates(ca_pem)
    ]
    context = ValidationContext(
        trust_roots=anchors, moment=moment, allow_fetching=False, revocation_mode="soft-fail"
    )
    leaf = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    if weakness := key_weakness(leaf.public_key):
        raise TimestampRefused(f"Le certificat de cette autorité d'horodatage est trop faible ({weakness}).")
    validator = CertificateValidator(leaf, intermediate_certs=carried, validation_context=context)
    validation = validator.async_validate_usage(  # type: ignore[no-untyped-call]
        {"digital_signature"}, {"time_stamping"}
    )
    # In a thread of its own: the caller may be inside an event loop.
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        try:
            pool.submit(asyncio.run, validation).result()
        except (PathError, ValidationError) as refused:
            raise TimestampRefused(
                "Cette autorité d'horodatage n'est pas de celles qui sont reconnues, ou son certificat "
                "n'était pas valide à l'heure du jeton."
            ) from refused


def _check_signature(certificate: x509.Certificate, signer: cms.SignerInfo, data: bytes) -> None:
    key = certificate.public_key()
    algorithm = HASHES[signer["digest_algorithm"]["algorithm"].native]
    signature = signer["signature"].native
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), algorithm)
    else:
        raise TimestampRefused("Algorithme de signature inconnu.")


_resting = Resting()


def first_response(
    request: bytes,
    authorities: Sequence["Authority | str"],
    *,
    ca_pem: bytes,
    now: datetime,
    timeout: float = 3.0,
    policies: Collection[str] = (),
) -> bytes:
    """What the first authority says to a DER request whose token is verified, in order.

    Raises TimestampRefused.
    """
    asked = tsp.TimeStampReq.load(request)
    digest, nonce = asked["message_imprint"]["hashed_message"].native, asked["nonce"].native
    check = _Check(digest, ca_pem, nonce, now, frozenset(policies))
    return _first(request, authorities, check, timeout=timeout, hedge=1.0).response


def request_token(
    digest: bytes,
    authorities: Sequence["Authority | str"],
    *,
    ca_pem: bytes,
    now: datetime,
    timeout: float = 3.0,
    hedge: float = 1.0,
    policies: Collection[str] = (),
    everyone: bool = False,
) -> Stamp:
    """The first verified token, of one of these policies where some are given.

    Authorities in order, `timeout` seconds each whatever they do, the next one asked after `hedge` seconds.
    `everyone`: all are asked at once, and heard until then: `disagreed` says who gave another time.

    Raises TimestampRefused when nobody gave a valid one, ClockDisagrees when one of them gave another time.
    """
    nonce = secrets.randbits(63) | 1
    check = _Check(digest, ca_pem, nonce, now, frozenset(policies))
    request, hedge = make_request(digest, nonce), 0.0 if everyone else hedge
    return _first(request, authorities, check, timeout=timeout, hedge=hedge, everyone=everyone)


@dataclass(frozen=True)
class _Check:
    """What a token must be of."""

    digest: bytes
    ca_pem: bytes
    nonce: int | None
    now: datetime
    policies: frozenset[str]

    def verified(self, response: bytes, *, name: str) -> Token:
        token = verify_token(response, digest=self.digest, ca_pem=self.ca_pem, nonce=self.nonce, at=self.now)
        own = {POLICY} if name == EMBEDDED else set()  # it is not for others to say that it is ours
        if self.policies and token.policy not in self.policies | own:
            raise TimestampRefused(f"La politique d'horodatage {token.policy} n'est pas de celles attendues.")
        return token


def _first(
    request: bytes,
    authorities: Sequence["Authority | str"],
    check: _Check,
    *,
    timeout: float,
    hedge: float,
    everyone: bool = False,
) -> Stamp:
    given: Stamp | None = None
    reasons: list[str] = []
    disagreed: list[str] = []
    waiting: dict[concurrent.futures.Future[bytes], tuple[Authority | str, float]] = {}
    queue = _resting.last(authorities)
    while queue or waiting:
        if queue:
            authority = queue.pop(0)
            future = started(authority, request, check.now, timeout)
            waiting[future] = authority, time.monotonic() + timeout
        first_end = min(end for _, end in waiting.values()) - time.monotonic()
        done, _ = concurrent.futures.wait(
            waiting,
            timeout=max(0.0, min(hedge, first_end) if queue else first_end),
            return_when=concurrent.futures.FIRST_COMPLETED,
        )
        for future in [each for each in waiting if each in done]:
            authority, _ = waiting.pop(future)
            name = EMBEDDED if isinstance(authority, Authority) else authority
            try:
                response = future.result()
                token = check.verified(response, name=name)
            except Exception as refused:  # noqa: BLE001  (a mistyped address too: the next one is asked)
                why = str(refused) or type(refused).__name__
                reasons.append(f"{name} : {why}")
                # An authority of this very machine contradicts nothing.
                if isinstance(refused, ClockDisagrees) and name != EMBEDDED:
                    # It answers: it never rests, or whoever insists would no longer hear it.
                    disagreed.append(name)
                    log.error("horodatage : %s contredit l'horloge de la plateforme : %s", name, why)
                else:
                    _resting.heard(name, good=False)
                    log.warning("horodatage : %s : %s", name, why)
                continue
            _resting.heard(name, good=True)
            given = given or Stamp(request, response, token, name)
        if given is not None and not everyone:
            break
        for future in [each for each, (_, end) in waiting.items() if end <= time.monotonic()]:
            authority, _ = waiting.pop(future)
            reasons.append(f"{authority} : réponse trop lente")
            _resting.heard(str(authority), good=False)
    if given is not None:
        return replace(given, disagreed=tuple(disagreed))
    refusal = ClockDisagrees if disagreed else TimestampRefused
    raise refusal("Aucune autorité d'horodatage n'a donné de jeton valable. " + " ; ".join(reasons))
