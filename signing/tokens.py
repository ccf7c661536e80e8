"""Timestamp tokens inside signatures: each one, the newest first, pushes the proof of existence back.

A token counts only when its imprint is that of the bytes it is attached to, its own signature holds, and
its authority was trusted at the time already proven (ETSI EN 319 102-1 §5.4, §5.6.2.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asn1crypto import cms, crl, ocsp, tsp, x509

from signing.algorithms import hash_weakness
from signing.chain import Chain, check_chain, may_be_above, may_stamp
from signing.found import Stamped
from signing.qualification import was_granted
from signing.signers import BROKEN, certificates_of, digest_of, read_signer
from signing.trust import Trust

_SKEW = timedelta(minutes=5)


@dataclass
class Proof:
    """The best proof of existence: when, by whom, what was used, and why some tokens did not count."""

    at: datetime
    by: str
    warnings: list[str] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)  # what the counted tokens are of
    refused: list[Chain] = field(default_factory=list)
    false: str = ""  # a token made for something else, or altered: somebody put it there


class _Unusable(Exception):
    """Why a token does not count, in French, and the chain that lacked something."""

    def __init__(self, message: str, chain: Chain | None = None) -> None:
        super().__init__(message)
        self.chain = chain


class _False(_Unusable):
    """A token that was copied from elsewhere or altered."""


def prove(
    stamps: Sequence[Stamped],
    *,
    at: datetime,
    trust: Trust,
    others: Sequence[x509.Certificate],
    crls: Sequence[crl.CertificateList],
    ocsps: Sequence[ocsp.OCSPResponse],
) -> Proof:
    """The earliest time proven, from `at` (who has it said) back to the oldest token that counts."""
    proof = Proof(at, "heure de dépôt ou de contrôle donnée")
    read: list[tuple[datetime, Stamped, tsp.TSTInfo, cms.SignedData]] = []
    for stamp in stamps:
        try:
            signed = stamp.token["content"]
            info = tsp.TSTInfo.load(signed["encap_content_info"]["content"].contents, strict=True)
            read.append((info["gen_time"].native, stamp, info, signed))
        except BROKEN:
            proof.warnings.append("Un jeton d'horodatage est illisible : il n'est pas compté.")
    for moment, stamp, info, signed in sorted(read, key=lambda each: each[0], reverse=True):
        try:
            chain, name = _count(
                stamp, info, signed, at=proof.at, trust=trust, others=others, crls=crls, ocsps=ocsps
            )
        except _Unusable as why:
            proof.warnings.append(f"Un jeton d'horodatage n'est pas compté : {why}")
            if why.chain is not None:
                proof.refused.append(why.chain)
            if isinstance(why, _False):
                proof.false = f"Un jeton d'horodatage est faux : {why}"
            continue
        except BROKEN as broken:
            proof.warnings.append(f"Un jeton d'horodatage est illisible ({type(broken).__name__}).")
            continue
        proof.counted.add(stamp.of)
        proof.chains.append(chain)
        if moment < proof.at:
            proof.at, proof.by = moment, f"horodatage de {name}"
    return proof


def _count(
    stamp: Stamped,
    info: tsp.TSTInfo,
    signed: cms.SignedData,
    *,
    at: datetime,
    trust: Trust,
    others: Sequence[x509.Certificate],
    crls: Sequence[crl.CertificateList],
    ocsps: Sequence[ocsp.OCSPResponse],
) -> tuple[Chain, str]:
    if stamp.token["content_type"].native != "signed_data" or len(signed["signer_infos"]) != 1:
        raise _Unusable("ce n'est pas un jeton à un seul signataire.")
    if signed["encap_content_info"]["content_type"].native != "tst_info":
        raise _Unusable("son contenu n'est pas un horodatage.")
    algorithm = info["message_imprint"]["hash_algorithm"]["algorithm"].native
    if hash_weakness(algorithm):
        raise _Unusable(f"son {hash_weakness(algorithm)} est trop faible.")
    expected = stamp.digests.get(algorithm) if stamp.digests else digest_of(stamp.data)(algorithm)
    if info["message_imprint"]["hashed_message"].native != expected:
        raise _False("il a été fait pour autre chose (empreinte différente).")
    content = signed["encap_content_info"]["content"].contents
    found = read_signer(
        signed["signer_infos"][0],
        certificates_of(signed) or list(others),
        digest_of(content),
        format_name="RFC 3161",
        content_type="tst_info",
    )
    if found.certificate is None:
        raise _Unusable("le certificat de son autorité manque.")
    if found.problem is not None:
        raise _False(found.problem.reason)
    if found.weak or not found.baseline:
        raise _Unusable(f"il repose sur {found.weak}." if found.weak else "il ne signe pas son certificat.")
    if not may_stamp(found.certificate):
        raise _Unusable("son certificat n'est pas réservé à l'horodatage.")
    moment = info["gen_time"].native
    if moment > at + _SKEW:
        raise _Unusable("il est postérieur à l'heure prouvée par ailleurs.")
    # Judged at the time already proven, at which the token existed: that is the time slide.
    chain = check_chain(
        found.certificate,
        anchors=trust.stamping_anchors(),
        others=[*found.others, *others],
        crls=[*crls, *trust.crls],
        ocsps=[*ocsps, *trust.ocsps],
        at=max(at, moment),
    )
    if chain.problem is not None:
        raise _Unusable(chain.problem.reason, chain)
    if not may_be_above(chain.path, stamping=True):
        raise _Unusable("une autorité de son certificat n'est pas faite pour l'horodatage.")
    if not was_granted(chain, trust, moment):
        raise _Unusable("son autorité n'était pas reconnue par la liste de confiance à cette date.")
    if moment < found.certificate.not_valid_before:
        raise _Unusable("il est antérieur au certificat de son autorité.")
    return chain, found.certificate.subject.native.get(
        "common_name", found.certificate.subject.human_friendly
    )
