"""Whether a certificate was worth trusting at a proven time: path, revocation, algorithms (RFC 5280)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from asn1crypto import crl, ocsp, x509
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.errors import (
    DisallowedAlgorithmError,
    ExpiredError,
    InsufficientRevinfoError,
    InvalidCertificateError,
    NotYetValidError,
    PathBuildingError,
    PathValidationError,
    RevokedError,
    ValidationError,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    CertRevTrustPolicy,
    RevocationCheckingPolicy,
    RevocationCheckingRule,
)

from signing.algorithms import CHAIN_POLICY, key_weakness
from signing.anchors import Anchor
from signing.authentic import of_lists, of_responses, other_listers
from signing.climbing import climb
from signing.crls import standing
from signing.delegates import Heard, declares, heard, is_disowned
from signing.found import Problem
from signing.freshness import freshest, told_at
from signing.listers import believed
from signing.once import ONCE
from signing.report import FAILED, INDETERMINATE
from signing.signers import BROKEN
from signing.told import Told, last_told

_SIGNING = {"digital_signature", "non_repudiation"}
# Extended usages with which one may sign a document, where the extension is there at all.
_DOCUMENT_USAGES = {
    "any_extended_key_usage",
    "email_protection",
    "client_auth",
    "1.3.6.1.5.5.7.3.36",  # RFC 9336 documentSigning
    "1.3.6.1.4.1.311.10.3.12",  # Microsoft document signing
    "microsoft_document_signing",
    "1.2.840.113583.1.1.5",  # Adobe authentic documents
    "adobe_authentic_documents_trust",
}
_RULE = RevocationCheckingRule
_EACH = RevocationCheckingPolicy(_RULE.CRL_OR_OCSP_REQUIRED, _RULE.CRL_OR_OCSP_REQUIRED)
_SIGNER = RevocationCheckingPolicy(_RULE.CRL_OR_OCSP_REQUIRED, _RULE.CHECK_IF_DECLARED_SOFT)
_NONE = RevocationCheckingPolicy(_RULE.NO_CHECK, _RULE.NO_CHECK)
_UNCHECKED = "Ce certificat n'annonce aucun moyen de savoir s'il a été révoqué."


@dataclass
class Chain:
    """A path and what was used, or the problem. `wanted`: certificates to ask about."""

    problem: Problem | None = None
    path: list[x509.Certificate] = field(default_factory=list)  # anchor first
    validation_path: ValidationPath | None = None
    revocation: str = ""
    wanted: list[tuple[x509.Certificate, x509.Certificate]] = field(default_factory=list)
    used: list[crl.CertificateList | ocsp.OCSPResponse] = field(default_factory=list)


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether its usages allow signing documents (RFC 5280 §4.2.1.3, §4.2.1.12)."""
    usage = certificate.key_usage_value
    if usage is not None and not _SIGNING & set(usage.native):
        return False
    return _allows(certificate, _DOCUMENT_USAGES)


def _allows(certificate: x509.Certificate, usages: set[str]) -> bool:
    extended = certificate.extended_key_usage_value
    return extended is None or bool(usages & set(extended.native))


def may_be_above(path: Sequence[x509.Certificate], *, stamping: bool = False) -> bool:
    """Whether the authorities below an anchor are for documents, or timestamps, where they say for what."""
    usages = {"any_extended_key_usage", "time_stamping"} if stamping else _DOCUMENT_USAGES
    return all(_allows(each, usages) for each in path[1:-1])


def may_stamp(certificate: x509.Certificate) -> bool:
    """RFC 3161 §2.3: the critical extended usage timeStamping, alone; a key that signs, of no authority."""
    usage = certificate.key_usage_value
    if certificate.ca or (usage is not None and not _SIGNING & set(usage.native)):
        return False
    for extension in certificate["tbs_certificate"]["extensions"]:
        if extension["extn_id"].native == "extended_key_usage":
            return bool(extension["critical"].native) and extension["extn_value"].parsed.native == [
                "time_stamping"
            ]
    return False


def check_chain(
    certificate: x509.Certificate,
    *,
    anchors: Sequence[x509.Certificate],
    others: Sequence[x509.Certificate],
    crls: Sequence[crl.CertificateList],
    ocsps: Sequence[ocsp.OCSPResponse],
    at: datetime,
) -> Chain:
    """A path from one of `anchors`, valid at `at`, each certificate of it known not to be revoked then."""
    # What a CRL says after a certificate's end proves nothing of it: it may have been taken off.
    end = certificate.not_valid_after
    there = {certificate.dump(), *(each.dump() for each in anchors)}
    between = {der: each for each in others if (der := each.dump()) not in there and _is_read(each)}

    def attempt(
        policy: RevocationCheckingPolicy,
        lists: Sequence[crl.CertificateList] = (),
        answers: Sequence[ocsp.OCSPResponse] = (),
        of: x509.Certificate = certificate,
    ) -> Chain:
        context = ValidationContext(
            trust_roots=[Anchor(each) for each in anchors],
            other_certs=list(between.values()),
            moment=at,
            best_signature_time=at,
            allow_fetching=False,
            crls=list(lists),
            ocsps=list(answers),
            revinfo_policy=CertRevTrustPolicy(policy, retroactive_revinfo=True),
            algorithm_usage_policy=CHAIN_POLICY,
            signature_validator=ONCE,
        )
        return _attempt(of, context)

    bare = attempt(_NONE)
    above, keys = bare.path[:-1], list[x509.Certificate]()  # `keys`: others that sign their lists
    published = bool(crls or ocsps)
    if bare.problem is None:
        # Only what an authority of this path signed may date, replace or contradict another answer.
        found = other_listers(crls, bare.path, list(between.values()))
        paths = [attempt(_NONE, of=each).path for each in found]
        listers = [each for each in paths if each and each[0].dump() == above[0].dump()]
        published = bool(of_lists(crls, [*above, *(each[-1] for each in listers)]))
        keys, crls = believed(listers, bare.path, crls, ocsps, at=at)
        ocsps = of_responses(ocsps, above)
        published = published or bool(ocsps)
    known = _known(bare, crls, ocsps, at, keys=keys, published=published)
    if (refused := _revoked_by(known, at)) is not None:
        return refused
    lists, answers = freshest(crls, ocsps)
    lists = [each for each in lists if each["tbs_cert_list"]["this_update"].native <= end]
    answers = [each for each in answers if not is_disowned(each, above, crls, ocsps, at=at)]
    if not lists and not answers:
        return _without_revocation(bare, lists, at, known=known)
    used = [*lists, *answers]
    chain = attempt(_EACH, lists, answers)
    if chain.problem is None and _are_told(chain.path[1:], lists, answers):
        return _dated(_settled(chain, used), lists, answers, at)
    if chain.problem is None or chain.problem.sub == "TRY_LATER":
        # The signer's own status first: what is not known of an authority must not hide a revocation.
        chain = attempt(_SIGNER, lists, answers)
        if chain.problem is None and not _are_told(chain.path[1:][-1:], lists, answers):
            return _without_revocation(bare, lists, at, known=known)
        if chain.problem is None:
            # The path may be another one.
            known = _known(chain, crls, ocsps, at, keys=keys, published=published)
            chain = _settled(_without_revocation(chain, lists, at, above_only=True, known=known), used)
            return _dated(chain, lists, answers, at)
    if chain.problem is not None and chain.problem.sub == "TRY_LATER":
        return _dated(_without_revocation(bare, lists, at, known=known), lists, answers, at)
    return chain


def _is_read(certificate: x509.Certificate) -> bool:
    """Whether it can be told what it says: one that is damaged, carried along, leads nowhere."""
    try:
        _ = certificate.subject.hashable, certificate.issuer.hashable, certificate.serial_number
        _ = certificate.public_key.algorithm, certificate.key_usage_value  # with it, every extension
    except BROKEN:
        return False
    return True


@dataclass(frozen=True)
class _Known:
    """What was said last of each certificate of a path, the anchor's first, and whether it is enough.

    `published`: somebody of this path tells of revocations, hence should tell of the last certificate too.
    """

    told: list[Told | None]
    heard: list[Heard]
    published: bool


def _are_told(
    certificates: Sequence[x509.Certificate],
    lists: Sequence[crl.CertificateList],
    answers: Sequence[ocsp.OCSPResponse],
) -> bool:
    """Whether something speaks of each: for the path validator, so does a list of who has the same issuer."""
    return all(told_at(each, lists, answers) is not None for each in certificates)


def _known(
    bare: Chain,
    crls: Sequence[crl.CertificateList],
    ocsps: Sequence[ocsp.OCSPResponse],
    at: datetime,
    *,
    keys: Sequence[x509.Certificate],
    published: bool,
) -> _Known:
    pairs = list(zip(bare.path[1:], bare.path, strict=False))
    told = [last_told(*pair, crls, ocsps, keys=keys) for pair in pairs]
    answers = [heard(said, *pair, crls, ocsps, at=at) for said, pair in zip(told, pairs, strict=True)]
    return _Known(told, answers, published=published)


def _revoked_by(known: _Known, at: datetime) -> Chain | None:
    """The problem of a path one of whose certificates was revoked by then, by what was said of each."""
    for rank, said in enumerate(known.told):
        if said is not None and said.revoked is not None and said.revoked <= at:
            return _known_revoked(said.revoked, is_signer=rank == len(known.told) - 1)
    return None


def _known_revoked(when: datetime, *, is_signer: bool) -> Chain:
    sub = "REVOKED_NO_POE" if is_signer else "REVOKED_CA_NO_POE"
    return Chain(_revoked(sub, when), revocation=f"révoqué depuis le {when:%d/%m/%Y %H:%M}")


def _dated(
    chain: Chain, lists: Sequence[crl.CertificateList], ocsps: Sequence[ocsp.OCSPResponse], at: datetime
) -> Chain:
    """What was said before `at` is worth asking again: an answer of the day before hides a revocation."""
    if chain.problem is not None:
        return chain
    chain.wanted = [
        (below, above)
        for above, below in zip(chain.path, chain.path[1:], strict=False)
        if declares(below) and (told_at(below, lists, ocsps) or at) < at
    ]
    if chain.wanted:
        chain.revocation += " (dit avant la date prouvée)"
    return chain


def _settled(chain: Chain, used: Sequence[crl.CertificateList | ocsp.OCSPResponse]) -> Chain:
    if chain.problem is None and any(key_weakness(each.public_key) for each in chain.path[1:]):
        chain.problem = _weak_chain()
    if len(chain.path) > 1:
        chain.used = list(used)
        chain.revocation = chain.revocation or _described(used)
    return chain


def _without_revocation(
    chain: Chain,
    lists: Sequence[crl.CertificateList],
    at: datetime,
    *,
    known: _Known,
    above_only: bool = False,
) -> Chain:
    """Certificates that declare where their revocation is told must be known not to be revoked."""
    if chain.problem is not None:
        return chain
    if (refused := _revoked_by(known, at)) is not None:
        return refused
    pairs = [(below, above) for above, below in zip(chain.path, chain.path[1:], strict=False)]
    said = standing(*pairs[0], lists, at) if pairs and not (above_only and len(pairs) == 1) else None
    if said is not None and said.revoked is not None:
        return _known_revoked(said.revoked, is_signer=len(pairs) == 1)
    rows = list(zip(pairs, known.told, known.heard, strict=True))
    unknown, answers = list[tuple[x509.Certificate, x509.Certificate]](), list[Told]()
    for pair, told, answer in rows[:-1] if above_only else rows:
        is_expected = declares(pair[0]) or (pair is pairs[-1] and known.published)
        if told is not None and (told.revoked or answer.good):
            answers.append(told)  # revoked since: it was not at that time, and who said so needs not be fresh
        elif pair is pairs[0] and said is not None:
            chain.used = [said.used]
        elif is_expected or (told is not None and told.unknown):
            unknown += [pair, (answer.ask, pair[1])] if answer.ask else [pair]
    if said is not None or answers:
        chain.used = [*chain.used, *(each.by for each in answers)]
        chain.revocation = _described(chain.used)
    if unknown:
        chain.wanted = unknown
        chain.revocation = "non vérifiée"
        chain.problem = Problem(
            INDETERMINATE,
            "TRY_LATER",
            "Rien ne dit si le certificat était révoqué à cette date : ni réponse OCSP ni liste de "
            "révocation utilisable.",
        )
    elif pairs and not above_only and said is None and not answers:
        chain.revocation = _UNCHECKED
    if chain.problem is None and any(key_weakness(each.public_key) for each in chain.path[1:]):
        chain.problem = _weak_chain()
    return chain


def _described(used: Sequence[crl.CertificateList | ocsp.OCSPResponse]) -> str:
    said = []
    for each in used[:6]:
        if isinstance(each, ocsp.OCSPResponse):
            produced = each.response_data["produced_at"].native
            said.append(f"réponse OCSP du {produced:%d/%m/%Y %H:%M}")
        else:
            issued = each["tbs_cert_list"]["this_update"].native
            said.append(f"liste de révocation du {issued:%d/%m/%Y %H:%M}")
    return "non révoqué d'après : " + " ; ".join(dict.fromkeys(said))


def _revoked(sub: str, when: datetime) -> Problem:
    return Problem(INDETERMINATE, sub, f"Certificat révoqué depuis le {when:%d/%m/%Y %H:%M} UTC.")


def out_of_bounds(certificate: x509.Certificate, at: datetime) -> Problem | None:
    """Why a certificate that is trusted as itself proves nothing at this time; a path is judged elsewhere."""
    if at < certificate.not_valid_before:
        return _not_yet()
    return _expired(certificate.not_valid_after) if at > certificate.not_valid_after else None


def _not_yet() -> Problem:
    return Problem(FAILED, "NOT_YET_VALID", "Le certificat n'existait pas encore à cette date.")


def _expired(when: datetime) -> Problem:
    return Problem(
        INDETERMINATE,
        "OUT_OF_BOUNDS_NO_POE",
        f"Certificat expiré le {when:%d/%m/%Y %H:%M} UTC, et rien ne prouve que la signature soit "
        "antérieure.",
    )


def _weak_chain() -> Problem:
    return Problem(
        INDETERMINATE,
        "CRYPTO_CONSTRAINTS_FAILURE_NO_POE",
        "Un certificat de la chaîne repose sur un algorithme trop faible.",
    )


def _broken(why: str) -> Problem:
    return Problem(
        INDETERMINATE,
        "CERTIFICATE_CHAIN_GENERAL_FAILURE",
        f"La chaîne de certificats n'est pas valide ({why}).",
    )


def _attempt(certificate: x509.Certificate, context: ValidationContext) -> Chain:
    try:
        found = climb(certificate, context)
    except RevokedError as revoked:
        when = revoked.revocation_dt
        sub = "REVOKED_NO_POE" if revoked.is_ee_cert else "REVOKED_CA_NO_POE"
        return Chain(_revoked(sub, when), revocation=f"révoqué depuis le {when:%d/%m/%Y %H:%M}")
    except NotYetValidError:
        if certificate.not_valid_before > context.moment:
            return Chain(_not_yet())
        return Chain(_broken("une autorité n'en existait pas encore à cette date"))
    except ExpiredError as expired:
        return Chain(_expired(expired.expired_dt))
    except InsufficientRevinfoError:
        return Chain(Problem(INDETERMINATE, "TRY_LATER", ""))
    except DisallowedAlgorithmError:
        return Chain(_weak_chain())
    except (PathBuildingError, InvalidCertificateError):
        return Chain(
            Problem(
                INDETERMINATE,
                "NO_CERTIFICATE_CHAIN_FOUND",
                "Le certificat n'a pas pu être rattaché à une autorité de confiance.",
            )
        )
    except (
        PathValidationError,
        ValidationError,
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
    ) as bad:
        return Chain(_broken(type(bad).__name__))
    return Chain(path=list(found.iter_certs(include_root=True)), validation_path=found)
