"""People are told by mail of the states that matter: who posted, the authority, who was named."""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings

from dematmp.accounts.models import User
from dematmp.acts import statuses
from dematmp.acts.models import Act, PrefectureLetter
from dematmp.acts.rules import LETTERS
from dematmp.acts.transactions import ACT, CANCELLATION, CLASSIFICATION, TYPES, Transaction
from dematmp.consultations.exchanges import people_of
from dematmp.mails.services import store
from dematmp.mails.words import instant


def tell(found: Transaction, message: str, *, now: datetime) -> None:
    """Store the mails of a state reached, in the caller's transaction."""
    if found.status not in statuses.NOTIFIED or found.type == CLASSIFICATION:
        return
    label = statuses.LABELS[found.status]
    lines = [
        f"{_named(found)} : {label}.",
        found.subject,
        message,
        f"Identifiant unique : {found.unique_id}",
        "L'acquittement et le bordereau sont joints dès qu'ils existent, et se téléchargent auprès du "
        "service de télétransmission.",
    ]
    # The platform's own account has no mailbox of people: who prepared the act follows it on its page.
    people = [found.agent.email] if found.agent.fingerprint else []
    people += [found.authority.email, *found.broadcast]
    for to in dict.fromkeys(each for each in people if "@" in each):
        store(
            to=to,
            subject=f"[{found.authority}] Notification concernant l'acte {found.number}",
            body="\n\n".join(line for line in lines if line),
            now=now,
            attached={"app": "acts", "of": found.pk},
        )


def _named(found: Transaction) -> str:
    """What a transaction is, to who reads a mail about it."""
    if found.type == CLASSIFICATION:
        return TYPES[found.type]
    if found.type == ACT:
        return f"Acte {found.number}"
    if found.type == CANCELLATION:
        return f"Annulation de l'acte {found.number}"
    what = "Réponse à la préfecture" if found.reply else TYPES[found.type]
    return f"{what} au sujet de l'acte {found.number}"


def tell_late(found: Transaction, *, since: datetime, now: datetime) -> None:
    """Who posted, the authority and the buyer's validators learn that it waits for too long."""
    people = [found.agent.email] if found.agent.fingerprint else []
    people.append(found.authority.email)
    rest = "Rien n'est perdu : l'envoi est repris tout seul, et la réponse vous sera dite."
    if found.type != CLASSIFICATION:
        rest += " Si un délai court, transmettez aussi par un autre moyen et gardez-en la preuve."
    state = statuses.LABELS[found.status]
    waits = f"{_named(found)} : aucune réponse du ministère depuis le {instant(since)} ({state})."
    lines = [waits, found.subject, rest]
    for act in Act.objects.filter(transmission__remote_id=found.pk).select_related("buyer").order_by("pk"):
        # Another S2LOW numbers its transactions as it likes: the identifier tells which is ours.
        if act.buyer is not None and act.identifier == found.unique_id:
            people += [each.email for each in people_of(act.buyer, "validator")]
    for to in dict.fromkeys(each for each in people if "@" in each):
        store(
            to=to,
            subject=f"[{found.authority}] {_named(found)} attend le ministère",
            body="\n\n".join(line for line in lines if line),
            now=now,
        )


def tell_prepared(act: Act, by: User, *, now: datetime) -> None:
    """Those who may confirm an act learn that one awaits them."""
    people = people_of(act.buyer, "validator") if act.buyer is not None else []
    where = f"{settings.SITE_URL}/acheteur/actes/{act.uuid}/"
    body = [f"{by} a préparé l'acte {act.number} : il part une fois confirmé.", act.subject, where]
    for each in people:
        store(to=each.email, subject=f"À confirmer : acte {act.number}", body="\n\n".join(body), now=now)


def tell_failed(act: Act, what: str, reason: str, *, now: datetime) -> None:
    """The validators, and who prepared the act, learn that something of it did not go through."""
    _tell_buyer(act, "en échec", (what, f"Motif : {reason}"), now=now)


def tell_waiting(act: Act, reason: str, *, since: datetime, now: datetime) -> None:
    """The same people learn that the operator has not made it go on for hours."""
    lines = (
        f"L'acte {act.number} attend chez l'opérateur de télétransmission depuis le {instant(since)}.",
        f"Ce qu'il en est : {reason}" if reason else "",
        "Rien n'est perdu : l'envoi est repris tout seul. Si un délai court, prévenez l'opérateur, "
        "transmettez aussi par un autre moyen et gardez-en la preuve.",
    )
    _tell_buyer(act, "il attend l'opérateur", lines, now=now)


def _tell_buyer(act: Act, state: str, lines: Iterable[str], *, now: datetime) -> None:
    people = [each.email for each in people_of(act.buyer, "validator")] if act.buyer is not None else []
    people += [act.created_by.email] if act.created_by is not None else []
    where = f"{settings.SITE_URL}/acheteur/actes/{act.uuid}/"
    body = "\n\n".join(each for each in (*lines, act.subject, where) if each)
    for to in dict.fromkeys(people):
        store(to=to, subject=f"Acte {act.number} : {state}", body=body, now=now)


def tell_letter(act: Act, kind: str, text: str, *, now: datetime) -> None:
    """The buyer's people learn that the prefecture wrote, in the caller's transaction."""
    label = LETTERS.get(kind, "Courrier de la préfecture")
    where = f"{settings.SITE_URL}/acheteur/actes/{act.uuid}/"
    lines = (f"La préfecture a écrit au sujet de l'acte {act.number}.", act.subject, text, where)
    held = [people_of(act.buyer, role) for role in ("agent", "validator")] if act.buyer is not None else []
    for email in dict.fromkeys(each.email for people in held for each in people):
        store(
            to=email,
            subject=f"{label} : acte {act.number}",
            body="\n\n".join(line for line in lines if line),
            now=now,
        )


def tell_assigned(act: Act, to: User, by: User, *, now: datetime) -> None:
    """A controller learns that a colleague put them in charge of an act."""
    who = by.get_full_name() or by.email
    body = [
        f"{who} vous confie l'acte {act.number} de {act.sender}.",
        act.subject,
        f"{settings.SITE_URL}/prefecture/{act.uuid}/",
    ]
    subject = f"À suivre : acte {act.number} de {act.sender}"
    store(to=to.email, subject=subject, body="\n\n".join(body), now=now)


def tell_reply(letter: PrefectureLetter, *, now: datetime) -> None:
    """Who follows the act at the control authority learns that the buyer answered."""
    act = letter.act
    follows = act.in_charge
    if follows is None:
        return
    where = f"{settings.SITE_URL}/prefecture/{act.uuid}/"
    body = [f"{act.sender} a répondu au sujet de l'acte {act.number}.", act.subject, where]
    store(
        to=follows.email,
        subject=f"Réponse de {act.sender} : acte {act.number}",
        body="\n\n".join(body),
        now=now,
    )
