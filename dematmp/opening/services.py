"""The opening session.

Refused before the deadline, refused below the quorum, then released in the journal first.
"""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.keys import wrap
from dematmp.audit.services import append, utc_text
from dematmp.audit.stamping import ask_others
from dematmp.bids.models import Envelope
from dematmp.bids.rules import COUNTS, LATE
from dematmp.bids.rules import reason as why_sealed
from dematmp.bids.services import envelope_states
from dematmp.bids.visits import reconcile_channel
from dematmp.consultations.models import Consultation
from dematmp.consultations.services import begin_opening
from dematmp.opening.errors import (
    AlreadyReleased,
    BeforeDeadline,
    DepositsPending,
    LateBidsUndecided,
    OpeningError,
    QuorumMissing,
    ShareRefused,
)
from dematmp.opening.late_bids import undecided, undecided_text
from dematmp.opening.models import KeyHolder, OpenedEnvelope, OpeningSession, SessionShare
from dematmp.opening.rules import sealed_because
from signing.errors import ClockDisagrees, TimestampRefused
from signing.keys import OVERHEAD_BYTES, new_seed, public_key
from signing.sharing import SHARE_BYTES

RECORDED_SINCE = "enregistré après l'ouverture de ces enveloppes : la commission n'a pas pu en décider"
LEFT_SEALED = "lot laissé scellé par la commission"


def _refuse(consultation: Consultation, error: OpeningError, *, by: User, now: datetime) -> None:
    """An attempt to open too early is evidence: it is journalled, then refused."""
    with transaction.atomic():
        append(
            "opening-refused",
            {"code": error.code, "by": str(by.uuid), "at": utc_text(now)},
            consultation=consultation.uuid,
            now=now,
        )
    raise error


def _check_deadline(consultation: Consultation, *, by: User, now: datetime) -> None:
    deadline = consultation.deadline
    if consultation.published_at is None or deadline is None:
        raise OpeningError("Cette consultation n'est pas publiée.")
    if now <= deadline:
        _refuse(
            consultation,
            BeforeDeadline(
                "Les plis ne peuvent pas être ouverts avant la date limite.",
                deadline=utc_text(deadline),
                now=utc_text(now),
            ),
            by=by,
            now=now,
        )


def start_session(consultation: Consultation, *, by: User, now: datetime) -> OpeningSession:
    """Open the session, or give back the one that is open. Raises BeforeDeadline (and journals it)."""
    _check_deadline(consultation, by=by, now=now)
    with transaction.atomic():
        if not begin_opening(consultation, now=now):
            raise BeforeDeadline("La date limite vient d'être reportée.")
        known = OpeningSession.objects.filter(consultation=consultation).first()
        if known is not None:
            return known
        seed = new_seed()
        session = OpeningSession(
            consultation=consultation, started_by=by, started_at=now, public_key=public_key(seed)
        )
        session.wrapped_seed = wrap(seed, context=f"session {session.uuid}")
        session.save()
        append(
            "session-key",
            {"session": str(session.uuid), "public_key": bytes(session.public_key).hex(), "by": str(by.uuid)},
            consultation=consultation.uuid,
            now=now,
        )
    return session


def give_share(session: OpeningSession, *, by: User, shares: Mapping[str, bytes], now: datetime) -> None:
    """A member brings its shares, sealed to the session's key.

    Key's name → sealed share. Giving them again replaces them.
    """
    holder = KeyHolder.objects.filter(ceremony__consultation=session.consultation, user=by).first()
    if holder is None:
        raise ShareRefused("Vous n'êtes pas détenteur d'une part de cette consultation.")
    with transaction.atomic():
        locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
        if set(shares) != set(locked.key_names) or any(
            len(sealed) != SHARE_BYTES + OVERHEAD_BYTES for sealed in shares.values()
        ):
            raise ShareRefused(
                "Il faut une part par enveloppe à ouvrir, scellée à la clé de la séance.",
                "Rechargez la page de la séance, puis apportez de nouveau votre part.",
            )
        if locked.released_at is not None:
            raise AlreadyReleased("Le quorum est déjà réuni et l'ouverture a commencé.")
        for kind, sealed in shares.items():
            SessionShare.objects.update_or_create(
                session=locked, holder=holder, kind=kind, defaults={"sealed": sealed, "received_at": now}
            )
        append(
            "share-received",
            {"session": str(session.uuid), "holder": holder.index, "kinds": locked.key_names},
            consultation=session.consultation.uuid,
            now=now,
        )


def present(session: OpeningSession) -> list[int]:
    """Numbers of the holders whose shares for this phase are all there."""
    names = session.key_names
    counts: dict[int, int] = {}
    here = session.shares.filter(kind__in=names)
    for index in here.order_by("pk").values_list("holder__index", flat=True):
        counts[index] = counts.get(index, 0) + 1
    return sorted(index for index, count in counts.items() if count == len(names))


def release(
    session: OpeningSession, *, by: User, now: datetime, leave_undecided: bool = False
) -> OpeningSession:
    """Release the platform's half.

    Deadline passed here and for a timestamp authority, quorum there, journal first. `leave_undecided` says
    that a late bid of which the buyer did not decide may stay sealed for good.

    Raises BeforeDeadline, QuorumMissing, DepositsPending, LateBidsUndecided, ChannelUnreachable. Then the
    worker unseals; a lost task is found by the sweep.
    """
    consultation = session.consultation
    _check_deadline(consultation, by=by, now=now)
    if (missing := _quorum_missing(session)) is not None:
        _refuse(consultation, missing, by=by, now=now)
    reconcile_channel(consultation, now=now)
    if consultation.attempts.being_recorded().filter(finalised_at__lte=consultation.deadline).exists():
        raise DepositsPending(
            "Un dépôt reçu dans les délais est en cours d'enregistrement : il s'ouvrira avec les autres."
        )
    if not leave_undecided and (waiting := undecided(consultation)):
        raise LateBidsUndecided(undecided_text(len(waiting)), late=len(waiting))
    deadline = consultation.deadline
    try:
        stamped = ask_others(bytes(session.public_key), now=now)
    except ClockDisagrees:
        other = BeforeDeadline(
            "L'heure d'une autorité d'horodatage s'écarte de plus d'une minute de celle de la plateforme."
        )
        _refuse(consultation, other, by=by, now=now)
    except TimestampRefused:
        stamped = None  # nobody answered: the deadline passed by our own clock
    if stamped is not None and deadline is not None and stamped[0].token.gen_time <= deadline:
        _refuse(
            consultation,
            BeforeDeadline("L'autorité d'horodatage dit que la date limite n'est pas passée."),
            by=by,
            now=now,
        )
    with transaction.atomic():
        locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
        if locked.released_at is None:
            # The world was called meanwhile: what was true before is looked at again, under the lock.
            if (missing := _quorum_missing(locked)) is not None:
                raise missing
            indices = present(locked)
            locked.released_by, locked.released_at, locked.problem = by, now, ""
            locked.releases = [
                *locked.releases,
                {"kinds": locked.key_names, "at": utc_text(now), "by": str(by), "holders": indices},
            ]
            locked.save(update_fields=["released_by", "released_at", "problem", "releases"])
            list_envelopes(locked)
            append(
                "platform-release",
                {
                    "session": str(session.uuid),
                    "kinds": locked.key_names,
                    "holders": indices,
                    "deadline": utc_text(deadline) if deadline else None,
                    "authority_time": utc_text(stamped[0].token.gen_time) if stamped else None,
                    "by": str(by.uuid),
                },
                consultation=consultation.uuid,
                now=now,
            )
            from dematmp.opening.tasks import unseal_session

            transaction.on_commit(lambda: unseal_session.delay(locked.pk), robust=True)
    return locked


def _quorum_missing(session: OpeningSession) -> QuorumMissing | None:
    threshold, here = session.consultation.ceremony.threshold, len(present(session))
    if here >= threshold:
        return None
    return QuorumMissing(
        f"Quorum incomplet : {here} part(s) sur {threshold}.", present=here, threshold=threshold
    )


def kinds_so_far(session: OpeningSession) -> list[str]:
    """The kinds of this phase and of those before it."""
    phases = session.consultation.opening_phases[: session.phase + 1]
    return [kind for phase in phases for kind in phase]


def unlisted(session: OpeningSession) -> bool:
    """Whether an envelope of this phase counts and was not opened with the others: recorded since."""
    states = envelope_states(session.consultation)
    counting = [uuid for uuid, state in states.items() if state == COUNTS]
    these = Envelope.objects.filter(uuid__in=counting, kind__in=session.kinds, opened=None)
    return these.exclude(lot__in=session.left_sealed).exists()


def _left_sealed(session: OpeningSession, lot: str) -> str:
    """Why the committee leaves this lot sealed; empty when it opens it."""
    why = session.left_sealed.get(lot)
    return f"{LEFT_SEALED} : {why}"[:300] if why else ""


def list_envelopes(session: OpeningSession) -> None:
    """One row for each deposited envelope of this phase: to open, or unopened with its reason.

    After the first phase an envelope is opened only where the other one was admitted
    (`rules.sealed_because`). Called again until the minutes are written: what was received meanwhile is
    listed too.
    """
    states = envelope_states(session.consultation)
    judged = {
        (str(row.envelope.attempt.bidder.uuid), row.envelope.lot): row.decision
        for row in session.envelopes.exclude(decision="").select_related("envelope__attempt__bidder")
    }
    for row in session.envelopes.filter(state="waiting").select_related("envelope"):
        why = why_sealed(states[str(row.envelope.uuid)], row.envelope.kind)
        reason = why or _left_sealed(session, row.envelope.lot)
        if reason:
            session.envelopes.filter(pk=row.pk).update(state="unopened", reason=reason)
    listed = Envelope.objects.filter(uuid__in=states, opened=None)
    listed = listed.select_related("attempt__bidder", "attempt__bid__late_decision")
    for envelope in listed.filter(kind__in=kinds_so_far(session)).order_by("pk"):
        state = states[str(envelope.uuid)]
        reason = why_sealed(state, envelope.kind)
        decided = getattr(envelope.attempt.bid, "late_decision", None)
        if state == LATE and decided is not None:
            reason = f"{reason} ; dépôt écarté par l'acheteur : {decided.reason}"[:300]
        if state == COUNTS and envelope.lot in session.left_sealed:
            reason = _left_sealed(session, envelope.lot)
        elif state == COUNTS and envelope.kind not in session.kinds:
            reason = RECORDED_SINCE
        elif state == COUNTS and session.phase:
            reason = sealed_because(judged, bidder=str(envelope.attempt.bidder.uuid), lot=envelope.lot)
        OpenedEnvelope.objects.get_or_create(
            envelope=envelope,
            defaults={
                "session": session,
                "state": "unopened" if reason else "waiting",
                "reason": reason,
            },
        )
