"""What happens to the acts that a person may see: told by mail, and given as feeds that need no sign-in.

The address of a feed holds a key: whoever has it reads the feed. It is renewed at will, and stops with the
person's roles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from dematmp.accounts.models import User
from dematmp.acts.models import (
    Act,
    ActIncident,
    ActQuerySet,
    PrefectureLetter,
    Subscription,
    TransmissionStep,
)
from dematmp.acts.rules import CONTRACT, CONTRACT_DAYS
from dematmp.acts.subscribers import new_key
from dematmp.acts.timeline import Event, control_until, events, send_until
from dematmp.mails.services import store
from dematmp.mails.words import instant

SETTLED = timedelta(minutes=1)  # a transaction that is being committed is told of next time
FEED_ENTRIES = 100
MAIL_LINES = 50
_SIDES = {"prefecture": "prefecture", "buyer": "acheteur/actes"}  # who reads → where the page of an act is


@dataclass(frozen=True)
class News:
    """An event of an act, and the page on which this person reads it."""

    act: Act
    event: Event
    url: str


@dataclass(frozen=True)
class Mark:
    """The end of the two months of an act; or, with `is_sending`, of the days to send a contract."""

    act: Act
    day: date
    url: str
    is_sending: bool = False


def subscribe(user: User, *, now: datetime) -> Subscription:
    """The person's subscription, made at the first call."""
    row, _ = Subscription.objects.get_or_create(user=user, defaults={"feed": new_key(), "told_until": now})
    return row


def choose_mail(user: User, *, wanted: bool, now: datetime) -> None:
    """Mails begin with what happens from now on."""
    Subscription.objects.filter(user=user).exclude(mail=wanted).update(mail=wanted, told_until=now)


def renew(user: User) -> None:
    """Other addresses: the former ones give nothing any more."""
    Subscription.objects.filter(user=user).update(feed=new_key())


def unsubscribe(user: User) -> None:
    Subscription.objects.filter(user=user).delete()


def of_feed(feed: str) -> User | None:
    """Whose feed it is."""
    found = Subscription.objects.filter(feed=feed, user__is_active=True).select_related("user").first()
    return found.user if found else None


def _seen_by(user: User) -> Iterator[tuple[ActQuerySet, str]]:
    for side, rows in (("prefecture", Act.objects.received_by(user)), ("buyer", Act.objects.of_buyers(user))):
        yield rows.select_related("buyer", "authority", "transmission"), f"{settings.SITE_URL}/{_SIDES[side]}"


def _moved(rows: ActQuerySet, since: datetime) -> ActQuerySet:
    """Those to which something happened since."""
    steps = TransmissionStep.objects.filter(at__gt=since).values("transmission__act")
    letters = PrefectureLetter.objects.filter(Q(found_at__gt=since) | Q(replied_at__gt=since)).values("act")
    incidents = ActIncident.objects.filter(at__gt=since).values("act")
    return rows.filter(
        Q(created_at__gt=since)
        | Q(adopted_at__gt=since)
        | Q(procedure_sent_at__gt=since)
        | Q(transmission__cancellation_asked_at__gt=since)
        | Q(transmission__cancelled_at__gt=since)
        | Q(pk__in=steps)
        | Q(pk__in=letters)
        | Q(pk__in=incidents)
    )


def news(user: User, *, since: datetime, until: datetime) -> list[News]:
    """What happened after `since`, up to `until`, the latest first."""
    found: dict[int, list[News]] = {}
    for rows, where in _seen_by(user):
        for act in _moved(rows, since).order_by("pk"):
            url = f"{where}/{act.uuid}/"
            found.setdefault(
                act.pk, [News(act, each, url) for each in events(act) if since < _known(act, each) <= until]
            )
    return sorted((one for each in found.values() for one in each), key=lambda n: n.event.at, reverse=True)


def _known(act: Act, event: Event) -> datetime:
    """Since when an event can be told: an act posted elsewhere is learnt after it was received."""
    return max(event.at, act.adopted_at) if act.adopted_at else event.at


def marks(user: User, *, today: date) -> list[Mark]:
    """The marks that are still to come, the soonest first: two months of control, contracts to be sent."""
    found: dict[int, Mark] = {}
    late = today - timedelta(days=max(days for _, days in CONTRACT_DAYS))
    contracts = Act.objects.of_buyers(user).filter(nature=CONTRACT, replaced_at=None, decided_on__gte=late)
    for act in contracts.select_related("buyer", "authority", "transmission").order_by("pk"):
        day = send_until(act)
        if day is not None and day >= today:
            found[act.pk] = Mark(act, day, f"{settings.SITE_URL}/{_SIDES['buyer']}/{act.uuid}/", True)
    for rows, where in _seen_by(user):
        for act in rows.under_control(today).order_by("pk"):
            day = control_until(act)
            if day is not None:
                found.setdefault(act.pk, Mark(act, day, f"{where}/{act.uuid}/"))
    return sorted(found.values(), key=lambda mark: (mark.day, mark.act.pk))


def tell(subscription: Subscription, *, now: datetime) -> None:
    """One mail with all that happened since the last one; twice at once is once."""
    until = now - SETTLED
    if until <= subscription.told_until:
        return
    found = news(subscription.user, since=subscription.told_until, until=until)
    with transaction.atomic():
        before = Subscription.objects.filter(
            pk=subscription.pk, mail=True, told_until=subscription.told_until
        )
        if not before.update(told_until=until) or not found:
            return
        lines = [
            f"{instant(each.event.at)} : {each.event.what} ({each.event.by}), acte {each.act.number} de "
            f"{each.act.sender}.\n{each.act.subject}\n{each.url}"
            for each in found[:MAIL_LINES]
        ]
        if len(found) > MAIL_LINES:
            lines.append(f"Et {len(found) - MAIL_LINES} autres, sur la plateforme.")
        lines.append(f"Ne plus recevoir ces messages : {settings.SITE_URL}/suivi/")
        subject = f"Actes : {found[0].event.what}, acte {found[0].act.number}"
        if len(found) > 1:
            subject = f"Actes : {len(found)} nouvelles"
        store(to=subscription.user.email, subject=subject, body="\n\n".join(lines), now=now)
