"""The buyer's decision on a bid that came after the deadline: admitted or rejected, for a reason.

R2143-2 and R2151-5 eliminate it. A buyer that cannot prove that its platform worked well may not oppose them
to a company that was diligent and whose own equipment worked (CE, 23 September 2021, n° 449250, RATP).
"""

import json
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.accounts.rules import clean_text
from dematmp.audit.models import Entry
from dematmp.audit.services import append, utc_text
from dematmp.bids.channel_evidence import committed_there
from dematmp.bids.channel_records import digests_of
from dematmp.bids.fingerprints import holds
from dematmp.bids.models import LATE_DECISIONS, Bid, LateDecision
from dematmp.bids.probe import measured, measured_since
from dematmp.bids.rules import Branch, decision_path
from dematmp.bids.services import bid_state
from dematmp.consultations.models import Consultation
from dematmp.mails.services import store as store_mail
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.models import OpeningSession

_OPENED = "Les plis ont été ouverts : ce dépôt ne peut plus être ni admis, ni écarté autrement."


def branches(bid: Bid, *, now: datetime) -> list[Branch]:
    """What the law lets the buyer do of this bid, with the article of each branch."""
    consultation, started = bid.consultation, bid.attempt.started_at
    said = measured_since(consultation, since=started, now=now) if bid.late else None
    at_the_end = measured(consultation, now=now) if bid.late else None
    copies = consultation.backup_copies.filter(received_at__lte=bid.deadline, destroyed_at=None)
    proven = _fingerprints(bid)
    return decision_path(
        started=started,
        received=bid.received_at,
        deadline=bid.deadline,
        copy_in_time=any(
            copy.siret == bid.bidder.siret if copy.siret else copy.company == bid.bidder.name
            for copy in copies.order_by("pk")
        ),
        incident=said is not None and any(end >= started for _, end in said.outages),
        unproven=said is not None and any(end >= started for _, end in said.suspect),
        prevented=at_the_end is not None and at_the_end.at_the_end,
        bytes_lost=_was_lost(bid),
        fingerprint_in_time=any(proven),
        fingerprint_of_others=bool(proven) and not any(proven),
        article=bid.late_article,
    )


def _fingerprints(bid: Bid) -> list[bool]:
    """Of each fingerprint received in time, here or by the backup channel: whether it is of these bytes."""
    digests = digests_of(json.loads(bytes(bid.record)))
    here, there = getattr(bid.attempt, "fingerprint", None), committed_there(bid.attempt)
    proven = []
    if here is not None and here.received_at <= bid.deadline:
        proven.append(holds(bid.attempt, digests))
    if there is not None and there.at <= bid.deadline:
        proven.append(all(digests.get(key) == value for key, value in there.digests.items()))
    return proven


def _was_lost(bid: Bid) -> bool:
    """Whether a finalisation of it was received in time, before the store lost bytes of it."""
    rows = Entry.objects.filter(kind="bytes-lost", subject=bid.attempt.uuid).order_by("pk")
    received = [json.loads(bytes(each.record)).get("finalised") for each in rows]
    return any(datetime.fromisoformat(each) <= bid.deadline for each in received if each)


def _was_prevented(bid: Bid) -> bool:
    """Whether the platform was down, or cannot prove that it was not, until this bid's deadline."""
    said = measured(bid.consultation, now=bid.received_at)
    return said is not None and said.at_the_end


def why_not(bid: Bid) -> str:
    """Why no decision may be taken of this bid any more, or ever; the empty string when one may."""
    if not bid.late:
        return "Ce dépôt est arrivé dans les délais."
    if bid.withdrawn_at is not None:
        return "Ce dépôt a été retiré."
    if bid.attempt.started_at > bid.deadline and not _was_prevented(bid):
        return f"Son envoi a commencé après la date limite : il est éliminé ({bid.late_article})."
    # Of the whole consultation: one finalised since the opening has no row there, and its company may know
    # the prices of the others. A release that opened nothing is taken back from this list.
    opening = OpeningSession.objects.filter(consultation=bid.consultation).first()
    return _OPENED if opening is not None and opening.releases else ""


def undecided(consultation: Consultation) -> list[Bid]:
    """Late bids that the buyer may still admit or reject, and did not yet."""
    rows = Bid.objects.filter(consultation=consultation, late=True, late_decision=None, withdrawn_at=None)
    rows = rows.select_related("consultation", "bidder", "attempt")
    return [bid for bid in rows.order_by("received_at", "pk") if not why_not(bid)]


def undecided_text(count: int) -> str:
    """« 1 dépôt hors délai attend une décision de l'acheteur. […] »; the empty string for none."""
    if not count:
        return ""
    if count == 1:
        return (
            "1 dépôt hors délai attend une décision de l'acheteur. "
            "Une fois les plis ouverts, il ne pourra plus être admis."
        )
    return (
        f"{count} dépôts hors délai attendent une décision de l'acheteur. "
        "Une fois les plis ouverts, ils ne pourront plus être admis."
    )


def decide_late(bid: Bid, decision: str, reason: str, *, by: User, now: datetime) -> LateDecision:
    """Record the decision, journalled and mailed to the company; another one replaces it until the opening.

    Raises DecisionRefused.
    """
    reason = clean_text(reason, lines=True)[:2000]
    if decision not in LATE_DECISIONS:
        raise DecisionRefused("La décision est « admis » ou « écarté ».", "Choisissez l'une des deux.")
    if not reason:
        raise DecisionRefused("La décision a un motif : l'entreprise le reçoit.", "Écrivez-le en une phrase.")
    with transaction.atomic():
        # An opening begins under the lock of its consultation, and lists envelopes under that of its session.
        Consultation.every.select_for_update(no_key=True).get(pk=bid.consultation_id)
        OpeningSession.objects.select_for_update(no_key=True).filter(consultation=bid.consultation).first()
        refused = why_not(bid)
        if refused:
            raise DecisionRefused(refused, "Il reste scellé, et le registre en garde la trace.")
        known = LateDecision.objects.filter(bid=bid).first()
        if known is not None and (known.decision, known.reason) == (decision, reason):
            return known
        said = {"decision": decision, "reason": reason, "by": by, "at": now}
        before = _counting(bid)
        made, _ = LateDecision.objects.update_or_create(bid=bid, defaults=said)
        append(
            "late-decision",
            {
                "deposit": str(bid.uuid),
                "decision": decision,
                "reason": reason,
                "branches": [each.code for each in branches(bid, now=now)],
                "by": str(by.uuid),
                "at": utc_text(now),
            },
            consultation=bid.consultation.uuid,
            subject=bid.uuid,
            now=now,
        )
        reference = bid.consultation.reference
        fate = _fate(bid, decision, before - _counting(bid))
        store_mail(
            to=bid.attempt.by.email,
            subject=f"Dépôt {bid.number}, reçu hors délai : {LATE_DECISIONS[decision]}",
            body=f"L'acheteur a décidé de votre dépôt {bid.number}, reçu après la date limite de la "
            f"consultation {reference} : il est {LATE_DECISIONS[decision]}.\n\nMotif : {reason}\n\n{fate} "
            "Votre dossier de preuve (heures, tailles, refus, mesures de disponibilité) se télécharge sur la "
            "page de ce dépôt.\n",
            now=now,
        )
    return made


def _counting(bid: Bid) -> set[str]:
    """The numbers of its company's deposits of which something is to be opened."""
    mine = bid.consultation.bids.filter(bidder=bid.bidder).select_related("consultation").order_by("pk")
    return {each.number for each in mine if bid_state(each) == "deposited"}


def _fate(bid: Bid, decision: str, replaced: set[str]) -> str:
    """What comes of a bid that was decided of, and of those that it replaces, in French."""
    if decision != "admitted":
        return f"Il reste scellé et n'est pas ouvert ({bid.late_article})."
    if bid.number not in _counting(bid):
        return "Un dépôt plus récent de votre entreprise compte à sa place : il n'est pas ouvert (R2151-6)."
    others = f" À sa place, {', '.join(sorted(replaced))} n'est plus ouvert (R2151-6)." if replaced else ""
    return f"Il sera ouvert avec les autres.{others}"
