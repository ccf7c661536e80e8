"""What an engine found of one signature, before anybody is trusted."""

from dataclasses import dataclass, field

from asn1crypto import cms, crl, ocsp, x509

from signing.report import FAILED, INDETERMINATE

WHOLE, PARTIAL, UNCLEAR = "whole", "partial", "unclear"


class Unreadable(Exception):
    """A file that cannot be judged; the message says why, in French."""


@dataclass(frozen=True)
class Problem:
    """Why a signature cannot pass: an indication, ETSI's sub-indication, a French sentence."""

    indication: str
    sub: str
    reason: str


def altered(reason: str = "Le contenu signé a été modifié après la signature.") -> Problem:
    return Problem(FAILED, "HASH_FAILURE", reason)


def forged(reason: str = "La signature ne correspond pas au certificat du signataire.") -> Problem:
    return Problem(FAILED, "SIG_CRYPTO_FAILURE", reason)


def malformed(reason: str) -> Problem:
    return Problem(INDETERMINATE, "FORMAT_FAILURE", reason)


def no_content(reason: str) -> Problem:
    return Problem(INDETERMINATE, "SIGNED_DATA_NOT_FOUND", reason)


def stamped_elsewhere() -> Problem:
    return Problem(
        INDETERMINATE,
        "SIG_CONSTRAINTS_FAILURE",
        "L'horodatage du contenu que porte cette signature est celui d'un autre contenu.",
    )


@dataclass(frozen=True)
class Stamped:
    """A timestamp token and the bytes that its imprint must be the digest of, or that digest by name."""

    token: cms.ContentInfo
    data: bytes = b""
    digests: dict[str, bytes] = field(default_factory=dict)
    of: str = "signature"


@dataclass
class Found:
    """One signature as its engine read it; `problem` is the first reason why it cannot pass."""

    format: str
    certificate: x509.Certificate | None = None
    others: list[x509.Certificate] = field(default_factory=list)
    problem: Problem | None = None
    role: str = "signature"
    baseline: bool = False  # the signing certificate is itself signed, as the baseline profiles ask
    digest: str = ""
    weak: str = ""  # why the algorithms are too weak, in French
    signing_time: str = ""
    coverage: str = WHOLE
    covers: tuple[str, ...] = ()
    stamps: list[Stamped] = field(default_factory=list)
    crls: list[crl.CertificateList] = field(default_factory=list)
    ocsps: list[ocsp.OCSPResponse] = field(default_factory=list)
    archived: str = ""  # why archive timestamps leave it undecided, in French
    followed: bool = False  # others signed after this one, and must pass for this one to be whole
    warnings: list[str] = field(default_factory=list)
