"""What must not be forgotten: two months that end soon, a letter without an answer. Each is told once."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from dematmp.accounts.models import User
from dematmp.acts.models import Act, ActIncident, PrefectureLetter, Transmission
from dematmp.acts.rules import AWAITED, ERROR, control_since, months_from
from dematmp.acts.telling import tell_waiting
from dematmp.acts.timeline import control_until
from dematmp.mails.services import store

MARK_DAYS = 15  # before the end of the two months
SILENCE_MONTHS = 1  # of the buyer, after a letter that awaits an answer


def ending(today: date) -> Iterable[Act]:
    """Acts whose two months end soon, of which nobody was told, and about which nothing was asked."""
    last = control_since(today + timedelta(days=MARK_DAYS + 1)) - timedelta(days=1)
    asked = PrefectureLetter.objects.filter(kind__in=[*AWAITED, "5-1"]).values("act")
    soon = Act.objects.under_control(today).filter(transmission__received_on__lte=last, mark_told_at=None)
    return soon.exclude(pk__in=asked).select_related("buyer", "authority", "transmission").order_by("pk")


def silent(today: date) -> Iterable[PrefectureLetter]:
    """Letters that have awaited an answer for a month, of which nobody was reminded."""
    rows = PrefectureLetter.objects.filter(
        kind__in=AWAITED,
        reply_id=None,
        reminded_at=None,
        written_on__lte=months_from(today, -SILENCE_MONTHS),
        act__transmission__cancelled_at=None,
    )
    return rows.select_related("act__buyer", "act__authority").order_by("pk")


def stuck(now: datetime) -> Iterable[Transmission]:
    """Acts whose operator has not taken or told them for hours, of which nobody was told yet."""
    rows = Transmission.objects.filter(
        Q(stuck_told_at=None) | Q(stuck_told_at__lt=F("stuck_since")),
        stuck_since__lte=now - timedelta(hours=settings.ACTES["alert_hours"]),
        acknowledged_at=None,
        act__replaced_at=None,
    )
    return rows.exclude(steps__status=ERROR).select_related("act__buyer", "act__created_by").order_by("pk")


def tell_stuck(sent: Transmission, *, now: datetime) -> None:
    """To those who confirm the buyer's acts, and who prepared this one; once each time it stops."""
    since = sent.stuck_since
    with transaction.atomic():
        rows = Transmission.objects.filter(pk=sent.pk, stuck_since=since, stuck_told_at=sent.stuck_told_at)
        if since is None or not rows.update(stuck_told_at=now):
            return
        what = "L'opérateur de télétransmission ne fait plus avancer l'acte"
        ActIncident.objects.create(act=sent.act, at=now, what=what, detail=sent.problem)
        tell_waiting(sent.act, sent.problem, since=since, now=now)


def tell_mark(act: Act, *, now: datetime) -> None:
    """To who is in charge of the act, or to those of its prefecture who asked for mails.

    When there is nobody to tell, it remains to be told.
    """
    people = _in_charge(act)
    if not people:
        return
    with transaction.atomic():
        if not Act.objects.filter(pk=act.pk, mark_told_at=None).update(mark_told_at=now):
            return
        day = control_until(act)
        lines = [
            f"Les deux mois du contrôle de l'acte {act.number} de {act.sender} finissent le {day:%d/%m/%Y}.",
            act.subject,
            f"{settings.SITE_URL}/prefecture/{act.uuid}/",
            "C'est un repère : une demande de pièces ou un recours peut déplacer cette date.",
        ]
        subject = f"Deux mois le {day:%d/%m/%Y} : acte {act.number} de {act.sender}"
        for email in people:
            store(to=email, subject=subject, body="\n\n".join(lines), now=now)


def tell_silence(letter: PrefectureLetter, *, now: datetime) -> None:
    """To both: who must answer, and who waits."""
    act = letter.act
    with transaction.atomic():
        rows = PrefectureLetter.objects.filter(pk=letter.pk, reminded_at=None, reply_id=None)
        if not rows.update(reminded_at=now):
            return
        subject = f"Sans réponse depuis un mois : acte {act.number} de {act.sender}"
        head = f"{letter.label} du {letter.written_on:%d/%m/%Y} : aucune réponse n'est encore partie."
        validators = User.objects.filter(
            is_active=True, memberships__organisation=act.buyer, memberships__role="validator"
        )
        told = [(email, "prefecture") for email in _in_charge(act)]
        told += [(email, "acheteur/actes") for email in _addresses(validators)]
        for email, side in told:
            where = f"{settings.SITE_URL}/{side}/{act.uuid}/"
            store(to=email, subject=subject, body="\n\n".join([head, act.subject, where]), now=now)
        if act.authority is not None and act.authority.email:  # it answers by its own software
            store(to=act.authority.email, subject=subject, body=f"{head}\n\n{act.subject}", now=now)


def _in_charge(act: Act) -> list[str]:
    follows = act.in_charge
    return [follows.email] if follows else _addresses(act.controllers.filter(act_subscription__mail=True))


def _addresses(people: Iterable[User]) -> list[str]:
    return sorted({each.email for each in people})
