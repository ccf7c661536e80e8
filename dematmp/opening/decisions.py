"""Between two phases: the committee decides on each opened envelope, then the next kind may be opened.

R2144-1 to R2144-7 (candidatures), R2161-4 (offers examined before candidatures in open procedures).
"""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.accounts.rules import clean_text
from dematmp.audit.keys import wrap
from dematmp.audit.services import append, utc_text
from dematmp.opening.errors import AlreadyReleased, DecisionRefused
from dematmp.opening.models import ENVELOPE_DECISIONS, OpenedEnvelope, OpeningSession
from dematmp.opening.services import LEFT_SEALED, unlisted
from signing.keys import new_seed, public_key


@transaction.atomic
def end_phase(session: OpeningSession, *, now: datetime) -> None:
    """Every envelope of this phase is dealt with: its ephemeral key is wiped. Does nothing twice."""
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    if locked.phase_opened_at is not None or locked.phase != session.phase:
        return
    locked.phase_opened_at, locked.wrapped_seed, locked.problem = now, None, ""
    locked.save(update_fields=["phase_opened_at", "wrapped_seed", "problem"])
    append(
        "phase-opened",
        {"session": str(locked.uuid), "kinds": locked.kinds},
        consultation=locked.consultation.uuid,
        now=now,
    )


def to_decide(session: OpeningSession) -> list[OpenedEnvelope]:
    """The envelopes of this phase on which the committee decides: those that were not left sealed."""
    rows = session.envelopes.filter(envelope__kind__in=session.kinds).exclude(state="unopened")
    return list(rows.select_related("envelope__attempt__bidder").order_by("pk"))


@transaction.atomic
def decide(
    session: OpeningSession, decisions: Mapping[str, tuple[str, str]], *, by: User, now: datetime
) -> int:
    """Record decisions, envelope uuid → (admitted or rejected, reason); how many changed.

    Each may be changed until the next phase begins, or the session went on for a bid that it had left out:
    what others offer is known since. Raises DecisionRefused.
    """
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    if locked.state != "deciding":
        raise DecisionRefused("La séance n'attend pas de décision.")
    rows = {str(row.envelope.uuid): row for row in to_decide(locked)}
    resumed = locked.former_minutes.order_by("-reopened_at").values_list("reopened_at", flat=True).first()
    changed = 0
    for envelope, (decision, reason) in decisions.items():
        row, reason = rows.get(envelope), clean_text(reason, lines=True)[:1000]
        if row is None or decision not in ENVELOPE_DECISIONS:
            raise DecisionRefused("Cette décision ne porte pas sur un pli ouvert de cette séance.")
        bidder = row.envelope.attempt.bidder
        if decision == "rejected" and not reason:
            raise DecisionRefused(
                f"{bidder}, lot {row.envelope.lot} : un rejet a un motif.",
                "L'entreprise le recevra (R2181-1) ; écrivez-le en une phrase.",
            )
        if (row.decision, row.decision_reason) == (decision, reason):
            continue
        if resumed is not None and row.decided_at is not None and row.decided_at <= resumed:
            raise DecisionRefused(
                f"{bidder}, lot {row.envelope.lot} : décidé avant la reprise de la séance, une fois les "
                "offres connues : cette décision ne change plus.",
                "Décidez seulement des plis ouverts depuis.",
            )
        OpenedEnvelope.objects.filter(pk=row.pk).update(
            decision=decision, decision_reason=reason, decided_by=by, decided_at=now
        )
        append(
            "envelope-decision",
            {
                "session": str(locked.uuid),
                "envelope": envelope,
                "decision": decision,
                "reason": reason,
                "by": str(by.uuid),
            },
            consultation=locked.consultation.uuid,
            now=now,
        )
        changed += 1
    return changed


@transaction.atomic
def next_phase(session: OpeningSession, *, by: User, now: datetime) -> None:
    """Go on to the other kind of envelope, with a new ephemeral key: the committee brings its shares again.

    Raises DecisionRefused while one envelope is not decided.
    """
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    if locked.state != "deciding" or locked.is_last_phase:
        raise DecisionRefused("La séance n'est pas entre deux ouvertures.")
    waiting = sum(1 for row in to_decide(locked) if not row.decision)
    if waiting:
        raise DecisionRefused(f"Il reste {waiting} pli(s) sur lesquels la commission n'a pas décidé.")
    # Received in time and recorded since: this phase is opened again for it, before the next one.
    again = unlisted(locked)
    seed = new_seed()
    locked.phase, locked.phase_opened_at = locked.phase + (0 if again else 1), None
    locked.released_at = locked.released_by = None
    locked.public_key = public_key(seed)
    locked.wrapped_seed = wrap(seed, context=f"session {locked.uuid}")
    locked.save()
    # Those of a phase that is opened again were sealed to the former key: nothing opens them any more.
    locked.shares.filter(kind__in=locked.key_names).delete()
    append(
        "session-key",
        {
            "session": str(locked.uuid),
            "phase": locked.phase,
            "public_key": bytes(locked.public_key).hex(),
            "by": str(by.uuid),
        },
        consultation=locked.consultation.uuid,
        now=now,
    )


def _forget_shares(locked: OpeningSession) -> None:
    """Those brought for the phase to come: a quorum brings them again, knowing which lots it opens."""
    if locked.state == "waiting":
        locked.shares.filter(kind__in=locked.key_names).delete()


def begun_lots(session: OpeningSession) -> set[str]:
    """In a session that goes on (see `left_out`), the lots with open bids: none is singled out."""
    if not session.former_minutes.exists():
        return set()
    return set(session.envelopes.filter(state="opened").values_list("envelope__lot", flat=True))


@transaction.atomic
def leave_sealed(session: OpeningSession, *, lot: str, reason: str, by: User, now: datetime) -> None:
    """The committee leaves a lot sealed, for a reason that the minutes bear, before this phase is opened.

    Where each lot has its own keys nothing can open it any more; else the platform does not. Shares already
    brought are deleted: a quorum brings them again, knowing what it opens. Raises DecisionRefused,
    AlreadyReleased.
    """
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    reason = clean_text(reason, lines=True)[:200]
    lots = set(locked.consultation.lots.values_list("number", flat=True))
    if lot not in lots - set(locked.left_sealed):
        raise DecisionRefused("Ce lot n'est pas de ceux qui restent à ouvrir.")
    if lots == {*locked.left_sealed, lot}:
        raise DecisionRefused(
            "Il faut au moins un lot à ouvrir.", "Si rien ne doit être ouvert, n'apportez pas vos parts."
        )
    if not reason:
        raise DecisionRefused("Laisser un lot scellé a un motif.", "Écrivez-le en une phrase.")
    if locked.state == "released":
        raise AlreadyReleased("L'ouverture a commencé.")
    if locked.finished_at is not None:
        raise DecisionRefused("La séance est achevée.")
    if lot in begun_lots(locked):
        raise DecisionRefused("Des plis de ce lot sont ouverts : la séance a repris pour ouvrir les autres.")
    said = {"lot": lot, "reason": reason, "by": str(by), "at": utc_text(now)}
    _forget_shares(locked)
    locked.sealed_lots = [*locked.sealed_lots, said]
    locked.save(update_fields=["sealed_lots"])
    append(
        "lot-left-sealed",
        {"session": str(locked.uuid), "lot": lot, "reason": reason, "by": str(by.uuid)},
        consultation=locked.consultation.uuid,
        now=now,
    )


@transaction.atomic
def take_back(session: OpeningSession, *, lot: str, by: User, now: datetime) -> None:
    """The committee opens this lot after all, in a phase that is not opened yet: its shares are needed."""
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    if locked.state not in ("waiting", "deciding"):
        raise AlreadyReleased("L'ouverture a commencé.")
    if locked.envelopes.filter(envelope__lot=lot, reason__startswith=LEFT_SEALED).exists():
        raise DecisionRefused("Des plis de ce lot sont déjà écrits comme non ouverts.")
    kept = [row for row in locked.sealed_lots if row["lot"] != lot]
    if len(kept) == len(locked.sealed_lots):
        return
    _forget_shares(locked)
    locked.sealed_lots = kept
    locked.save(update_fields=["sealed_lots"])
    append(
        "lot-left-sealed",
        {"session": str(locked.uuid), "lot": lot, "taken_back": True, "by": str(by.uuid)},
        consultation=locked.consultation.uuid,
        now=now,
    )
