"""One SignerInfo of a CMS: who signed, whether the bytes hold (RFC 5652 §5, ETSI EN 319 122-1)."""

import hashlib
import struct
from collections.abc import Callable
from datetime import UTC, datetime

from asn1crypto import cms, core, tsp, x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType
from pyhanko_certvalidator.errors import AlgorithmNotSupported, DSAParametersUnavailable, PSSParameterMismatch
from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator, SignatureValidationContext

from signing.algorithms import key_as_used, short_salt, signature_weakness
from signing.found import Found, Problem, altered, forged, malformed
from signing.once import same_name
from signing.report import INDETERMINATE

# What hostile ASN.1 makes asn1crypto, pyHanko and cryptography raise.
BROKEN = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    struct.error,
    RecursionError,
    AssertionError,
    NotImplementedError,
    NameError,  # a variable that asn1crypto never set, for a key of a kind that it does not know
    UnsupportedAlgorithm,
    DuplicateExtension,
    InvalidVersion,
    UnsupportedGeneralNameType,
)
_MAX_CERTIFICATES, _MAX_NAMESAKES = 100, 5
_UNSUPPORTED = (AlgorithmNotSupported, DSAParametersUnavailable, PSSParameterMismatch)
_VALIDATOR = DefaultSignatureValidator()
Attributes = dict[str, cms.SetOf]


def certificates_of(signed: cms.SignedData) -> list[x509.Certificate]:
    """The X.509 certificates carried, at most a hundred."""
    if isinstance(signed["certificates"], core.Void):
        return []
    choices = list(signed["certificates"])[:_MAX_CERTIFICATES]
    return [each.chosen for each in choices if each.name == "certificate"]


def attributes_of(values: cms.CMSAttributes) -> Attributes:
    """By type. Raises ValueError for a repeated one, which RFC 5652 §5.3 forbids."""
    found: Attributes = {}
    for attribute in values:
        name = attribute["type"].native
        if name in found:
            raise ValueError(f"attribute {name} repeated")
        found[name] = attribute["values"]
    return found


def signed_attributes(info: cms.SignerInfo) -> Attributes | None:
    """None when nothing but the content is signed.

    Read from a copy: asn1crypto writes some algorithms again once they were read, and the bytes as received
    are what is signed.
    """
    data = _signed_bytes(info)
    return None if data is None else attributes_of(cms.CMSAttributes.load(data, strict=True))


def _signed_bytes(info: cms.SignerInfo) -> bytes | None:
    """RFC 5652 §5.4: what is signed is the SET OF, not the implicit tag of the field."""
    if isinstance(info["signed_attrs"], core.Void):
        return None
    return b"\x31" + bytes(info["signed_attrs"].dump())[1:]


def _in_order(signed: bytes) -> bytes:
    return bytes(cms.CMSAttributes(list(cms.CMSAttributes.load(signed))).dump())


def signer_certificates(
    info: cms.SignerInfo, carried: list[x509.Certificate], attributes: Attributes | None
) -> list[x509.Certificate]:
    """Those that `sid` and the signed ESSCertID designate, of which some may be of another key.

    Raises ValueError.
    """
    named = [each for each in carried if _is_named(info["sid"], each)]
    for identifier in _ess(attributes):  # both, where both are there (EN 319 122-1 §5.2.2)
        named = [each for each in named if _is_ess(identifier, each)]
    return named[:_MAX_NAMESAKES]


def _is_named(sid: cms.SignerIdentifier, certificate: x509.Certificate) -> bool:
    if sid.name == "issuer_and_serial_number":
        chosen = sid.chosen
        return bool(
            chosen["serial_number"].native == certificate.serial_number
            and same_name(chosen["issuer"], certificate.issuer)
        )
    return bool(sid.chosen.native == certificate.key_identifier)


def _ess(attributes: Attributes | None) -> "list[core.Sequence]":
    found = []
    for name in ("signing_certificate_v2", "signing_certificate"):
        if attributes and name in attributes:
            (value,) = attributes[name]
            found.append(value["certs"][0])
    return found


def _is_ess(identifier: core.Sequence, certificate: x509.Certificate) -> bool:
    """RFC 5035 §4: the digest of the certificate, and its issuer and serial number where they are given."""
    second = isinstance(identifier, tsp.ESSCertIDv2)
    name = identifier["hash_algorithm"]["algorithm"].native if second else "sha1"
    if digest_of(certificate.dump())(name) != identifier["cert_hash"].native:
        return False
    where = identifier["issuer_serial"]
    if isinstance(where, core.Void):
        return True
    issuers = [each.chosen for each in where["issuer"] if each.name == "directory_name"]
    if where["serial_number"].native != certificate.serial_number:
        return False
    return any(same_name(each, certificate.issuer) for each in issuers)


def has_ess(attributes: Attributes | None) -> bool:
    return bool(_ess(attributes))


def check_signer(
    info: cms.SignerInfo,
    certificate: x509.Certificate,
    digest: Callable[[str], bytes],
    *,
    content_type: str | None,
) -> Problem | None:
    """None when the signature holds over the content of this digest.

    `content_type` is what the signed attribute must say, None for a counter-signature, which has none
    (RFC 5652 §11.4). Raises ValueError and the rest of BROKEN for what is not CMS.
    """
    name = info["digest_algorithm"]["algorithm"].native
    attributes = signed_attributes(info)
    actual = digest(name)
    signed = _signed_bytes(info)
    data, prehashed = (actual, True) if signed is None else (signed, False)
    if attributes is not None:
        problem = _check_attributes(info, attributes, content_type)
        if problem is not None:
            return problem
    algorithm = info["signature_algorithm"]
    key = key_as_used(certificate.public_key, algorithm)
    if key.algorithm == "rsassa_pss" and algorithm["algorithm"].native != "rsassa_pss":
        return malformed("La clé du signataire est réservée à RSA-PSS, et la signature en annonce un autre.")
    context = SignatureValidationContext(contextual_md_algorithm=name, prehashed=prehashed)
    # Some send attributes in another order than the one that is signed, DER's (RFC 5652 §5.4).
    for each in (data,) if signed is None else (signed, _in_order(signed)):
        try:
            _VALIDATOR.validate_signature(info["signature"].native, each, key, algorithm, context=context)
            break
        except _UNSUPPORTED:
            return malformed(
                "L'algorithme de cette signature n'est pas pris en charge : elle n'a pas été vérifiée."
            )
        except InvalidSignature:
            continue
    else:
        return forged() if attributes is not None else altered()
    if attributes is None:
        # Such a signature may be another's signed attributes taken for a document (RFC 8933, draft on
        # the signedAttrs confusion): it proves less than it seems.
        return Problem(
            INDETERMINATE,
            "SIG_CONSTRAINTS_FAILURE",
            "Cette signature ne porte aucun attribut signé : ni date, ni certificat.",
        )
    (expected,) = attributes["message_digest"]
    return None if expected.native == actual else altered()


# What is signed or means nothing (RFC 5652 §11, RFC 5035 §3): one value, never among the unsigned attributes.
SIGNED_ALONE = {
    "1.2.840.113549.1.9.3": "content_type",
    "1.2.840.113549.1.9.4": "message_digest",
    "1.2.840.113549.1.9.5": "signing_time",
    "1.2.840.113549.1.9.16.2.12": "signing_certificate",
    "1.2.840.113549.1.9.16.2.47": "signing_certificate_v2",
}
# Doubt first, then what the right key may say of another content, then another key; then what is not read.
_FALSE = {"": 0, "HASH_FAILURE": 1, "SIG_CRYPTO_FAILURE": 2}
# RFC 8419 §3: the one digest that each takes.
_EDWARDS = {"ed25519": "sha512", "ed448": "shake256"}


def _check_attributes(
    info: cms.SignerInfo, attributes: Attributes, content_type: str | None
) -> Problem | None:
    unsigned = () if isinstance(info["unsigned_attrs"], core.Void) else info["unsigned_attrs"]
    if SIGNED_ALONE.keys() & {each["type"].dotted for each in unsigned}:
        return malformed("Un attribut qui doit être signé est parmi ceux qui ne le sont pas.")
    if any(len(attributes[name]) != 1 for name in SIGNED_ALONE.values() if name in attributes):
        return malformed("Un attribut signé a plusieurs valeurs.")
    if "counter_signature" in attributes:
        return malformed("Une contre-signature est parmi les attributs signés.")
    algorithm, digest = info["signature_algorithm"]["algorithm"].native, info["digest_algorithm"]["algorithm"]
    if digest.native != _EDWARDS.get(algorithm, digest.native):
        return malformed("L'empreinte n'est pas celle que cet algorithme de signature exige.")
    said = attributes.get("content_type")
    if (said[0].native if said is not None and len(said) == 1 else None) != content_type:
        return malformed("Le type de contenu signé n'est pas celui annoncé.")
    if "message_digest" not in attributes or len(attributes["message_digest"]) != 1:
        return malformed("L'empreinte signée manque ou est répétée.")
    protection = attributes.get("cms_algorithm_protection")
    if protection is not None:
        # RFC 6211: the algorithms may not be swapped after the signature.
        (value,) = protection
        same = (
            value["digest_algorithm"].native == info["digest_algorithm"].native
            and value["signature_algorithm"].native == info["signature_algorithm"].native
        )
        if not same:
            return malformed("Les algorithmes annoncés ne sont pas ceux qui ont été signés.")
    return None


def read_signer(
    info: cms.SignerInfo,
    carried: list[x509.Certificate],
    digest: Callable[[str], bytes],
    *,
    format_name: str,
    content_type: str | None,
) -> Found:
    """What this SignerInfo says and whether its bytes hold; never raises for a hostile one."""
    found = Found(format_name, others=list(carried))
    try:
        attributes = signed_attributes(info)
        named = signer_certificates(info, carried, attributes)
        found.certificate, found.problem = _own(info, named, digest, content_type=content_type)
        found.digest = str(info["digest_algorithm"]["algorithm"].native)
        if attributes and "signing_time" in attributes:
            found.signing_time = instant(attributes["signing_time"][0].native)
        if found.certificate is None:
            found.problem = Problem(
                INDETERMINATE,
                "NO_SIGNING_CERTIFICATE_FOUND",
                "Le certificat du signataire n'est pas joint, ou n'est pas celui que la signature désigne.",
            )
            return found
        found.baseline = has_ess(attributes)
        key = found.certificate.public_key
        found.weak = signature_weakness(info["signature_algorithm"], found.digest, key)
        if (salt := short_salt(info["signature_algorithm"])) is not None:
            found.warnings.append(
                f"Le sel de cette signature RSA-PSS n'est que de {salt} octets : il en faudrait autant que "
                "son empreinte."
            )
    except BROKEN as broken:
        found.problem = malformed(f"Signature illisible ({type(broken).__name__}).")
    return found


def _own(
    info: cms.SignerInfo,
    named: list[x509.Certificate],
    digest: Callable[[str], bytes],
    *,
    content_type: str | None,
) -> tuple[x509.Certificate | None, Problem | None]:
    """The certificate by which the signature holds best, and what is wrong with it."""
    tried: list[tuple[int, x509.Certificate, Problem | None]] = []
    for each in named:
        try:
            problem = check_signer(info, each, digest, content_type=content_type)
        except BROKEN as broken:
            tried.append((len(_FALSE), each, malformed(f"Signature illisible ({type(broken).__name__}).")))
            continue
        if problem is None:
            return each, None
        tried.append((_FALSE.get(problem.sub, 0), each, problem))
    if not tried:
        return None, None
    _, certificate, problem = min(tried, key=lambda row: row[0])
    return certificate, problem


def instant(value: object) -> str:
    """ISO 8601 UTC, or the empty string for what is not a time."""
    if not isinstance(value, datetime):
        return ""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat()


def digest_of(data: bytes) -> Callable[[str], bytes]:
    def digest(name: str) -> bytes:
        if name == "shake256":  # RFC 8702: 64 bytes
            return hashlib.shake_256(data).digest(64)
        return hashlib.new(name, data, usedforsecurity=False).digest()

    return digest
