"""A bid received in time and known once the others are open: told to the committee, which goes on for it.

The backup channel received it, and was waived (lost, or away for too long) when the others were opened. No
article lets a buyer set aside what was received in time: R2151-5 eliminates what came late, and R2151-6 has
the last one received in time opened. Until the minutes are closed the session goes on, and opens it.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from dematmp.accounts.models import User
from dematmp.audit.keys import wrap
from dematmp.audit.models import Entry
from dematmp.audit.services import append, utc_text
from dematmp.bids.models import Bid, Envelope
from dematmp.bids.rules import COUNTS, SUPERSEDED, WITHDRAWN
from dematmp.bids.rules import reason as why_sealed
from dematmp.bids.services import envelope_states
from dematmp.consultations.exchanges import call, people_of
from dematmp.consultations.models import Consultation
from dematmp.mails.words import instant
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.former_minutes import FormerMinutes
from dematmp.opening.models import OpenedEnvelope, OpeningSession
from dematmp.opening.services import RECORDED_SINCE
from signing.keys import new_seed, public_key

CLOSED = (
    "Le procès-verbal est clos : la séance ne reprend plus. Aucun texte n'écarte une offre reçue dans les "
    "délais (R2151-5, R2151-6) : avant toute attribution, prenez un conseil juridique. La procédure peut "
    "être déclarée sans suite (R2185-1)."
)
# What it replaced, or what was withdrawn, may be known afterwards too: it then counts again.
_REPLACED = {why_sealed(state, "offre") for state in (SUPERSEDED, WITHDRAWN)}


def left_out(session: OpeningSession) -> list[Envelope]:
    """The envelopes that count, and that a finished opening did not open since it did not know of them."""
    if session.finished_at is None:
        return []
    states = envelope_states(session.consultation)
    counting = [uuid for uuid, state in states.items() if state == COUNTS]
    sealed = {*_REPLACED, RECORDED_SINCE}
    unknown = Q(opened=None) | Q(opened__state="unopened", opened__reason__in=sealed)
    these = Envelope.objects.filter(unknown, uuid__in=counting).exclude(lot__in=session.left_sealed)
    return list(these.select_related("attempt__bid", "attempt__bidder").order_by("attempt__bid__pk", "pk"))


def left_out_bids(session: OpeningSession) -> list[Bid]:
    return list({each.attempt.bid.pk: each.attempt.bid for each in left_out(session)}.values())


@transaction.atomic
def go_on(session: OpeningSession, *, by: User, now: datetime) -> None:
    """The session goes on with a new ephemeral key: a quorum brings its shares for what was left out.

    What is open stays open. The minutes written so far are kept beside those to come, which say all. Twice is
    harmless. Raises DecisionRefused once the minutes are closed, or when nothing was left out.
    """
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    if locked.finished_at is None:
        return
    if locked.closed_at is not None:
        raise DecisionRefused(CLOSED, "Écrivez à l'entreprise une fois conseillé.")
    if locked.minutes_pdf is None:
        raise DecisionRefused("Le procès-verbal n'est pas encore écrit.", "Revenez dans une minute.")
    waiting = left_out(locked)
    if not waiting:
        raise DecisionRefused("Tous les plis qui comptent ont été ouverts.", "Rechargez la page.")
    FormerMinutes.objects.create(
        session=locked,
        minutes=bytes(locked.minutes or b""),
        pdf=bytes(locked.minutes_pdf),
        finished_at=locked.finished_at,
        reopened_by=by,
        reopened_at=now,
    )
    kinds = {each.kind for each in waiting}
    phases = locked.consultation.opening_phases
    seed = new_seed()
    locked.phase = next(number for number, phase in enumerate(phases) if kinds & set(phase))
    locked.phase_opened_at = locked.finished_at = None
    locked.released_at = locked.released_by = locked.minutes = locked.minutes_pdf = None
    locked.rescan_asked_at, locked.rescan_by, locked.problem = None, "", ""
    locked.public_key, locked.wrapped_seed = (
        public_key(seed),
        wrap(seed, context=f"session {locked.uuid}"),
    )
    locked.save()
    locked.shares.filter(kind__in=locked.key_names).delete()  # sealed to the former key
    # Listed anew as they come: nothing was decided of them.
    unopened = locked.envelopes.filter(state="unopened", ek="", decision="")
    unopened.filter(envelope__attempt__in={each.attempt for each in waiting}).delete()
    append(
        "session-reopened",
        {
            "session": str(locked.uuid),
            "envelopes": [str(each.uuid) for each in waiting],
            "public_key": bytes(locked.public_key).hex(),
            "by": str(by.uuid),
        },
        consultation=locked.consultation.uuid,
        now=now,
    )


def tell_left_out(*, now: datetime) -> None:
    """To the committee and to the buyer, once for each bid: it was received in time, and nobody opened it.

    The channel told of it, or of the withdrawal of what replaced it, once the opening began.
    """
    told = set(Entry.objects.filter(kind="bid-left-out").values_list("subject", flat=True))
    done = OpeningSession.objects.filter(finished_at__isnull=False)
    known_since = Bid.objects.exclude(channel_key="").filter(
        Q(attempt__envelopes__opened=None)
        | Q(attempt__envelopes__opened__state="unopened", attempt__envelopes__opened__reason=RECORDED_SINCE),
        consultation=OuterRef("consultation"),
    )
    withdrawn_since = Entry.objects.filter(
        kind="withdrawal", consultation=OuterRef("consultation__uuid"), at__gte=OuterRef("started_at")
    )
    for session in done.filter(Exists(known_since) | Exists(withdrawn_since)).order_by("pk"):
        for bid in left_out_bids(session):
            if bid.uuid not in told:
                _tell(session, bid, now=now)


@transaction.atomic
def _tell(session: OpeningSession, bid: Bid, *, now: datetime) -> None:
    consultation = Consultation.every.select_for_update(no_key=True).get(pk=session.consultation.pk)
    if Entry.objects.filter(kind="bid-left-out", subject=bid.uuid).exists():
        return
    append(
        "bid-left-out",
        {"deposit": str(bid.uuid), "session": str(session.uuid), "received": utc_text(bid.received_at)},
        consultation=consultation.uuid,
        subject=bid.uuid,
        now=now,
    )
    next_step = (
        CLOSED
        if session.closed_at
        else "La commission reprend la séance depuis cette page, et l'ouvre : le procès-verbal est complété."
    )
    holders = consultation.ceremony.holders.select_related("user").order_by("index")
    members = [holder.user for holder in holders]
    agents = people_of(consultation.buyer, "agent").exclude(pk__in=[user.pk for user in members])
    these = [each for each in left_out(session) if each.attempt.bid == bid]
    counts_again = OpenedEnvelope.objects.filter(envelope__in=these, reason__in=_REPLACED).exists()
    what, when = f"l'offre {bid.number} de {bid.bidder}", instant(bid.received_at)
    why = (
        f"L{what[1:]}, reçue dans les délais le {when}, compte de nouveau : celle qui la remplaçait a été "
        "retirée à temps sur le canal de secours, ce que la plateforme n'a su qu'après l'ouverture des plis. "
        "Elle"
        if counts_again
        else f"Le canal de secours a reçu dans les délais, le {when}, {what}. Il ne répondait pas à "
        "l'ouverture des plis : elle"
    )
    text = f"{why} est restée scellée. {next_step}"
    title = "une offre reçue dans les délais n'a pas été ouverte"
    call(consultation, members, text, title=title, now=now, page="commission")
    call(consultation, agents, text, title=title, now=now)
