"""Where an act is, for both partners alike: what happened, who has it now, since when, what is next."""

from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings

from dematmp.acts import rules, windows
from dematmp.acts.models import Act
from dematmp.mails.words import instant

BUYER, OPERATOR, PREFECTURE = "L'acheteur", "Le service de télétransmission", "La préfecture"
NOBODY = "Personne"


@dataclass(frozen=True)
class Event:
    """`at` is UTC; `by` is who did it."""

    at: datetime
    by: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Situation:
    """Who has the act now and since when; what is expected, and until when where a date is known."""

    holder: str
    since: datetime
    next: str
    until: date | None = None


def control_until(act: Act) -> date | None:
    """Two months after the receipt, as a mark: what a request or an observation changes is for a jurist."""
    received = act.transmission.received_on
    return rules.control_end(received) if received else None


def send_until(act: Act) -> date | None:
    """Fifteen days after the signature of a contract that the prefecture does not have, or has no more."""
    if act.nature != rules.CONTRACT or act.replaced_at is not None:
        return None
    sent = act.transmission
    is_void = sent.cancelled_at is not None or sent.status == rules.ERROR
    if (sent.received_on and not is_void) or (is_void and _sent_otherwise(act)):
        return None
    return rules.sending_end(act.decided_on)


def _sent_otherwise(act: Act) -> bool:
    """Whether another act carries the same contract."""
    others = Act.objects.filter(contract_of=act.contract_of_id, replaced_at=None).exclude(pk=act.pk)
    live = others.filter(transmission__cancelled_at=None).exclude(transmission__steps__status=rules.ERROR)
    return act.contract_of_id is not None and live.exists()


def events(act: Act) -> list[Event]:
    """Everything that happened to an act, the latest first."""
    sent = act.transmission
    begun = "Acte déposé par le logiciel de la collectivité" if act.authority_id else "Acte préparé"
    found = [Event(act.created_at, BUYER, begun)]
    if sent.confirmed_at is not None and sent.confirmed_by is not None:
        found.append(Event(sent.confirmed_at, BUYER, f"Départ confirmé par {sent.confirmed_by}"))
    for step in sent.steps.order_by("pk"):
        by = PREFECTURE if step.status == rules.ACKNOWLEDGED else OPERATOR
        found.append(Event(step.at, by, step.get_status_display(), step.detail))
    for letter in act.letters.order_by("pk"):
        found.append(Event(letter.found_at, PREFECTURE, letter.label, letter.text))
        if letter.reply_id is not None and letter.replied_at is not None:
            found.append(Event(letter.replied_at, BUYER, f"Réponse : {letter.get_choice_display()}"))
    for each in act.incidents.order_by("pk"):
        found.append(Event(each.at, OPERATOR, each.what, each.detail))
    if act.procedure_sent_at is not None:
        found.append(Event(act.procedure_sent_at, BUYER, "Dossier de la procédure communiqué"))
    if sent.cancellation_asked_at is not None:
        found.append(Event(sent.cancellation_asked_at, BUYER, "Annulation demandée"))
    if sent.cancelled_at is not None:
        found.append(Event(sent.cancelled_at, PREFECTURE, "Acte annulé"))
    return sorted(found, key=lambda event: event.at, reverse=True)


def situation(act: Act, *, now: datetime) -> Situation:
    """Where an act is now; its steps and letters may have been fetched before."""
    sent = act.transmission
    steps = sorted(sent.steps.all(), key=lambda step: step.pk)
    if sent.cancelled_at is not None:
        until = send_until(act)
        if until is None or now > _end_of(until):
            return Situation(NOBODY, sent.cancelled_at, "L'acte est annulé.")
        what = "L'acte est annulé. Le contrat, s'il demeure, est à transmettre de nouveau."
        return Situation(BUYER, sent.cancelled_at, what, until)
    if act.replaced_at is not None:
        return Situation(NOBODY, act.replaced_at, "L'acte a été préparé de nouveau.")
    if steps and steps[-1].status == rules.ERROR:
        what = "L'acte est à corriger, puis à transmettre de nouveau."
        return Situation(BUYER, steps[-1].at, what, send_until(act))
    if sent.confirmed_at is None and not steps:
        what = "Un valideur vérifie l'acte et confirme son départ."
        return Situation(BUYER, act.created_at, what, send_until(act))
    if sent.acknowledged_at is None:
        since = steps[-1].at if steps else sent.confirmed_at or act.created_at
        what = sent.problem or "La préfecture doit en accuser réception."
        if opens := _window_opens(act, now):
            what = (
                f"Les envois au ministère sont limités à cette heure : celui-ci reprend le {instant(opens)}."
            )
        return Situation(OPERATOR, since, what, send_until(act))
    letters = sorted(act.letters.all(), key=lambda letter: letter.pk)
    awaiting = [letter for letter in letters if letter.is_awaiting]
    if awaiting:
        several = "Des réponses sont attendues" if len(awaiting) > 1 else "Une réponse est attendue"
        named = ", ".join(letter.label.lower() for letter in awaiting)
        return Situation(BUYER, awaiting[0].found_at, f"{several} : {named}.")
    filed = [letter.found_at for letter in letters if letter.kind == "5-1"]
    if filed:
        return Situation(PREFECTURE, filed[-1], "Le tribunal administratif est saisi.")
    until = control_until(act)
    since = max([letter.replied_at for letter in letters if letter.replied_at], default=sent.acknowledged_at)
    if until is not None and now > _end_of(until) and any(letter.kind in rules.AWAITED for letter in letters):
        # What a request moves is for a jurist: nobody is told that nothing may come any more.
        what = "Repère de deux mois dépassé ; un courrier de la préfecture a pu déplacer ce délai."
        return Situation(PREFECTURE, since, what, until)
    if until is not None and now > _end_of(until):
        return Situation(NOBODY, _end_of(until), "Les deux mois du contrôle de légalité sont passés.", until)
    return Situation(PREFECTURE, since, "Contrôle de légalité.", until)


def _window_opens(act: Act, now: datetime) -> datetime | None:
    """When the windows of this very service let the act leave; None when it is not they that keep it."""
    sent = act.transmission
    mine = sent.operator_url == "" and sent.remote_id is not None
    return windows.awaited(sent.remote_id or 0, now=now) if mine else None


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, tzinfo=ZoneInfo(settings.TIME_ZONE))
