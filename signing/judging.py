"""From what an engine found to a verdict: integrity, then time, then trust, then algorithms, then coverage.

The first thing that cannot be affirmed decides; TOTAL_PASSED is what is left when nothing is in doubt.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from asn1crypto.core import Asn1Value

from signing.algorithms import describe
from signing.chain import Chain, check_chain, may_be_above, may_sign, out_of_bounds
from signing.found import PARTIAL, WHOLE, Found, Problem
from signing.qualification import Qualification, qualify
from signing.report import INDETERMINATE, MEANINGS, PASSED, Evidence, SignatureReport
from signing.signers import BROKEN
from signing.tokens import Proof, prove
from signing.trust import Trust

_EVIDENCE_LIMIT = 2 * 1024**2  # bytes of one piece kept inside a report: a national authority's list


def judge(found: Found, *, at: datetime, trust: Trust) -> tuple[SignatureReport, list[Evidence], list[Chain]]:
    """The report on one signature, the evidence it rests on, and the chains that were tried."""
    try:
        return _judge(found, at, trust)
    except BROKEN as broken:
        problem = Problem(INDETERMINATE, "FORMAT_FAILURE", f"Signature illisible ({type(broken).__name__}).")
        return _report(found, problem, None, Chain(), ""), [], []


def _judge(found: Found, at: datetime, trust: Trust) -> tuple[SignatureReport, list[Evidence], list[Chain]]:
    if found.certificate is None:
        missing = Problem(
            INDETERMINATE, "NO_SIGNING_CERTIFICATE_FOUND", "Le certificat du signataire n'est pas joint."
        )
        return _report(found, found.problem or missing, None, Chain(), ""), [], []
    proof = prove(found.stamps, at=at, trust=trust, others=found.others, crls=found.crls, ocsps=found.ocsps)
    chain = check_chain(
        found.certificate,
        anchors=trust.signing_anchors(),
        others=found.others,
        crls=[*found.crls, *trust.crls],
        ocsps=[*found.ocsps, *trust.ocsps],
        at=proof.at,
    )
    qualification = qualify(chain, trust, proof.at)
    found.warnings += qualification.warnings
    if _is_after(found.signing_time, at):
        found.warnings.append("La date que le signataire annonce est postérieure à la preuve de ce fichier.")
    problem = found.problem or _doubt(found, chain, qualification, trust, proof)
    if not found.baseline and found.problem is None:
        found.warnings.append(
            "Ce format n'est pas un des trois de l'arrêté (PAdES, CAdES, XAdES) : le certificat n'y est pas "
            "lui-même signé."
        )
    report = _report(found, problem, proof, chain, describe(found.digest, found.certificate.public_key))
    report = replace(
        report,
        certificate=qualification.certificate,
        qualified=qualification.qualified,
        qscd=qualification.qscd,
        trusted_list=qualification.state,
    )
    return (
        report,
        [*_evidence([chain, *proof.chains]), *qualification.evidence],
        [chain, *proof.chains, *proof.refused],
    )


def _is_after(said: str, at: datetime) -> bool:
    """Whether an announced time is beyond the proof that the file existed, a day of clocks left aside."""
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return False
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware > at + timedelta(days=1)


def _doubt(
    found: Found, chain: Chain, qualification: Qualification, trust: Trust, proof: Proof
) -> Problem | None:
    if proof.false:
        return Problem(INDETERMINATE, "SIG_CONSTRAINTS_FAILURE", proof.false)
    if chain.problem is not None:
        return chain.problem
    if qualification.problem is not None:
        return qualification.problem
    # Somebody who trusts this very certificate has said so, whatever its usages.
    certificate = chain.path[-1]
    itself = len(chain.path) == 1 and trust.is_given(certificate)
    if len(chain.path) == 1 and (bounds := out_of_bounds(certificate, proof.at)) is not None:
        return bounds
    if not itself and (not may_sign(certificate) or certificate.ca or not may_be_above(chain.path)):
        return Problem(
            INDETERMINATE,
            "CHAIN_CONSTRAINTS_FAILURE",
            "Ce certificat n'est pas fait pour signer des documents.",
        )
    if found.weak:
        return Problem(
            INDETERMINATE,
            "CRYPTO_CONSTRAINTS_FAILURE_NO_POE",
            f"La signature repose sur un algorithme trop faible ({found.weak}) : un autre document pourrait "
            "porter la même.",
        )
    if found.coverage != WHOLE:
        return Problem(
            INDETERMINATE,
            "FORMAT_FAILURE",
            "La signature ne couvre qu'une partie du document."
            if found.coverage == PARTIAL
            else "Ce que la signature couvre ne peut pas être établi avec certitude.",
        )
    if found.archived:
        return Problem(INDETERMINATE, "GENERIC", found.archived)
    return None


def after_others(signature: SignatureReport, later: Sequence[SignatureReport]) -> SignatureReport:
    """A signature followed by others is whole only if nobody unknown could have drawn over the document."""
    said = "D'autres ont signé ce document ensuite."
    if signature.indication != PASSED:
        return signature
    if later and all(each.indication == PASSED for each in later):
        return replace(signature, warnings=(*signature.warnings, said))
    return replace(
        signature,
        indication=INDETERMINATE,
        sub_indication="FORMAT_FAILURE",
        coverage=PARTIAL,
        reason="Une signature ajoutée ensuite n'est pas reconnue : elle a pu recouvrir le document.",
        meaning=MEANINGS[INDETERMINATE],
    )


def _level(found: Found, proof: Proof | None) -> str:
    if not found.baseline:
        return ""
    counted = proof.counted if proof else set()
    if found.archived or "archive" in counted or ("document" in counted and (found.crls or found.ocsps)):
        return "B-LTA"
    if not counted:
        return "B-B"
    return "B-LT" if found.crls or found.ocsps else "B-T"


def _report(
    found: Found, problem: Problem | None, proof: Proof | None, chain: Chain, algorithms: str
) -> SignatureReport:
    indication = problem.indication if problem else PASSED
    certificate = found.certificate
    return SignatureReport(
        indication=indication,
        sub_indication=problem.sub if problem else "",
        signer=_read(lambda: certificate.subject.human_friendly) if certificate else "",
        issuer=_read(lambda: certificate.issuer.human_friendly) if certificate else "",
        serial=_read(lambda: f"{certificate.serial_number:x}") if certificate else "",
        format=found.format,
        signing_time=found.signing_time,
        coverage=found.coverage,
        reason=problem.reason
        if problem
        else "Signature intacte, document entier, certificat reconnu à la date prouvée.",
        level=_level(found, proof),
        role=found.role,
        existence=proof.at.isoformat() if proof else "",
        existence_by=proof.by if proof else "",
        covers=found.covers,
        revocation=chain.revocation,
        algorithms=algorithms,
        weak=bool(found.weak),
        meaning=MEANINGS[indication],
        warnings=(*found.warnings, *(proof.warnings if proof else ())),
    )


def _read(said: Callable[[], str]) -> str:
    """What a certificate says, which is parsed as it is read; empty where it is damaged."""
    try:
        return said()
    except BROKEN:
        return ""


def _evidence(chains: list[Chain]) -> Iterator[Evidence]:
    for chain in chains:
        for index, certificate in enumerate(chain.path):
            yield _kept("anchor" if index == 0 else "certificate", certificate)
        for each in chain.used:
            yield _kept("ocsp" if type(each).__name__ == "OCSPResponse" else "crl", each)


def _kept(kind: str, value: Asn1Value) -> Evidence:
    der = value.dump()
    short = base64.b64encode(der).decode() if len(der) <= _EVIDENCE_LIMIT else ""
    return Evidence(kind, hashlib.sha256(der).hexdigest(), short)
