"""Whether a certificate was qualified, and its key in a qualified device, by the trusted lists at a time."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

import pyhanko.sign.ades.qualified_asn1  # noqa: F401  (tells asn1crypto of QcStatements before any is read)
from asn1crypto import x509
from lxml import etree
from pyhanko_certvalidator.path import ValidationPath

from signing import lists
from signing.chain import Chain
from signing.errors import TrustRefused
from signing.found import Problem
from signing.report import INDETERMINATE, Evidence, Report
from signing.signers import BROKEN
from signing.trust import Trust, add_revocation, is_stale
from signing.xml import parse, text_of

_COMPLIANCE = bytes.fromhex("060604008e460101")  # the OID id-etsi-qcs-QcCompliance
_EVIDENCE_LIMIT = 256 * 1024  # bytes of the part of a list kept inside a report


@dataclass(frozen=True)
class Qualification:
    """What the lists say of a chain; `qualified` is None where no list speaks of it."""

    certificate: str
    qualified: bool | None = None
    qscd: bool | None = None
    state: str = ""  # of the list, in French
    problem: Problem | None = None
    warnings: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


def qualify(chain: Chain, trust: Trust, at: datetime) -> Qualification:
    """At the proven time `at`, and at the certificate's own issuance, as Regulation (EU) 910/2014 asks."""
    if not chain.path or chain.validation_path is None:
        return Qualification("")
    anchor, leaf = chain.path[0], chain.path[-1]
    sha256 = trust.listed.get(hashlib.sha256(anchor.dump()).hexdigest())
    if sha256 is None or trust.is_given(anchor):
        said = " ; il se dit qualifié" if _claims(leaf) else ""
        return Qualification(f"autorité reconnue par les réglages, hors liste de confiance{said}")
    try:
        return _assessed(chain, chain.validation_path, trust, sha256, at)
    except (TrustRefused, etree.LxmlError, *BROKEN) as failed:
        why = str(failed) if isinstance(failed, TrustRefused) else type(failed).__name__
        unread = _unknown(f"La liste de confiance n'a pas pu être lue : {why}")
        return Qualification("indéterminé", problem=unread)


def _assessed(chain: Chain, path: ValidationPath, trust: Trust, sha256: str, at: datetime) -> Qualification:
    from signing import assessment

    text = _text(chain, trust, sha256)
    state, warnings = _state(trust, text, sha256, at)
    kept = text.encode()
    short = base64.b64encode(kept).decode() if len(kept) <= _EVIDENCE_LIMIT else ""
    piece = Evidence("list", hashlib.sha256(kept).hexdigest(), short)
    found = assessment.assess(text, path, chain.path[-1], at)
    problem = None
    if not found.granted:
        problem = _unknown(
            "L'autorité n'était pas, ou plus, reconnue par la liste de confiance à cette date."
        )
    return Qualification(found.category, found.qualified, found.qscd, state, problem, warnings, (piece,))


def was_granted(chain: Chain, trust: Trust, at: datetime) -> bool:
    """Whether the anchor of a chain was recognised at that time, by the settings or by its list."""
    anchor = chain.path[0]
    sha256 = trust.listed.get(hashlib.sha256(anchor.dump()).hexdigest())
    if trust.is_given(anchor) or sha256 is None:
        return trust.is_given(anchor)
    from signing import assessment

    try:
        return assessment.was_granted(_text(chain, trust, sha256), anchor, at)
    except (TrustRefused, etree.LxmlError, *BROKEN):
        return False


def _unknown(reason: str) -> Problem:
    return Problem(INDETERMINATE, "NO_CERTIFICATE_CHAIN_FOUND", reason)


def _claims(certificate: x509.Certificate) -> bool:
    """Whether it says of itself that it is qualified (EN 319 412-5 §4.2.1), which proves nothing."""
    for extension in certificate["tbs_certificate"]["extensions"]:
        if extension["extn_id"].dotted == "1.3.6.1.5.5.7.1.3":
            return _COMPLIANCE in extension["extn_value"].contents
    return False


def _part(data: bytes, certificates: set[bytes]) -> str:
    """The list without the providers that hold none of these certificates: the rest is not needed."""
    root = parse(data)
    for provider in list(root.iter(f"{lists.TSL}TrustServiceProvider")):
        held = {base64.b64decode(text_of(row)) for row in provider.iter(f"{lists.TSL}X509Certificate")}
        parent = provider.getparent()
        if not held & certificates and parent is not None:
            parent.remove(provider)
    return etree.tostring(root, encoding="unicode")


def _state(trust: Trust, text: str, sha256: str, at: datetime) -> tuple[str, tuple[str, ...]]:
    row = lists.describe(parse(text.encode()))
    rows = lists.read_state(trust.store) if trust.store else []
    warnings = []
    for each in (*rows[:1], row):
        if is_stale(each, at):
            warnings.append(
                f"La liste de confiance {each.territory} n'est plus à jour depuis le "
                f"{each.next_update[:10]} : mettez les listes à jour et recommencez."
            )
    kept = next((each for each in rows if each.sha256 == sha256), None)
    if kept is not None and kept.error:
        warnings.append(f"La dernière liste {row.territory} n'a pas été prise en compte : {kept.error}")
    stale = " (périmée)" if is_stale(row, at) else ""
    return f"{row.territory} n° {row.sequence} du {row.issued[:10]}{stale}", tuple(warnings)


def _text(chain: Chain, trust: Trust, sha256: str) -> str:
    """The part of a list that speaks of this chain: kept with a report, or cut from the store's list."""
    if sha256 in trust.parts:
        return trust.parts[sha256]
    if trust.store is None:
        raise TrustRefused("les listes de confiance manquent.")
    return _part(lists.read_list(trust.store, sha256), {each.dump() for each in chain.path})


def trust_of(report: Report) -> Trust:
    """The trust that a report rested on, rebuilt from what is kept in it: it is computed again offline.

    Raises TrustRefused for a report whose evidence is too long to be in it, or was altered.
    """
    trust = Trust()
    answers = []
    for piece in report.evidence:
        data = base64.b64decode(piece.data)
        if hashlib.sha256(data).hexdigest() != piece.sha256:
            raise TrustRefused("Une pièce de ce rapport manque ou a été modifiée.")
        if piece.kind == "list":
            trust.parts[piece.sha256] = data.decode()
            for der, kind in lists.services(parse(data)):
                trust.listed[hashlib.sha256(der).hexdigest()] = piece.sha256
                into = trust.authorities if kind == lists.CA_QC else trust.stampers
                into.append(x509.Certificate.load(der))
        elif piece.kind in ("crl", "ocsp"):
            answers.append(data)
    for piece in report.evidence:
        if piece.kind == "anchor" and piece.sha256 not in trust.listed:
            trust.anchors.append(x509.Certificate.load(base64.b64decode(piece.data)))
    add_revocation(trust, answers)
    return trust
