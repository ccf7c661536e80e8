"""Sending windows: hours during which the ministry takes so many bytes at most; else sending is free."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from dematmp.acts import statuses
from dematmp.acts.errors import ActRefused
from dematmp.acts.transactions import Transaction, Window
from dematmp.audit.services import append

MOST_DAYS = 366


def room(size: int, *, at: datetime) -> Window | bool | None:
    """The window in which `size` bytes may leave then, True when none covers that instant, None when full."""
    covering = Window.objects.filter(begins_at__lte=at, ends_at__gt=at).order_by("begins_at")
    if not covering.exists():
        return True
    return covering.filter(rate_limit__gte=F("consumed") + size + 1).first()


def take(size: int, *, now: datetime) -> Window | bool | None:
    """`room`, whose bytes are counted at once: workers that send together stay under the limit together."""
    found = room(size, at=now)
    while isinstance(found, Window):
        free = Window.objects.filter(pk=found.pk, rate_limit__gte=F("consumed") + size + 1)
        if free.update(consumed=F("consumed") + size):
            return found
        found = room(size, at=now)  # another worker took that room
    return found


def give_back(window: Window | bool, size: int) -> None:
    """What surely did not leave is not counted."""
    if isinstance(window, Window):
        rest = Greatest(0, F("consumed") - size)
        Window.objects.filter(pk=window.pk).update(consumed=rest)


def opens_at(size: int, *, now: datetime) -> datetime | None:
    """When `size` bytes may leave, if they may not now: the next window with room, or the end of them all."""
    if room(size, at=now) is not None:
        return None
    later = Window.objects.filter(ends_at__gt=now).values_list("begins_at", "ends_at")
    instants = sorted({each for pair in later for each in pair if each > now})
    return next(each for each in instants if room(size, at=each) is not None)  # the last end at the latest


def awaited(transaction_id: int, *, now: datetime) -> datetime | None:
    """When the windows let a transaction of this service leave; None when they do not keep it."""
    found = Transaction.objects.filter(pk=transaction_id, status=statuses.WAITING).first()
    return opens_at(found.archive_size, now=now) if found is not None else None


def check(ends_at: datetime, rate_limit: int, *, now: datetime) -> None:
    """Raises ActRefused: it is over already, or lets nothing through."""
    if ends_at <= now:
        raise ActRefused("Cette fenêtre est déjà passée.")
    if rate_limit < 1:
        raise ActRefused(
            "Une fenêtre laisse passer un octet au moins ; hors des fenêtres, l'envoi est libre."
        )


def save(window: Window, *, by: str, now: datetime) -> Window:
    """A new window, or one that changes: what the workers took of it meanwhile stays. Raises ActRefused."""
    check(window.ends_at, window.rate_limit, now=now)
    try:
        window.full_clean()
    except ValidationError as wrong:
        raise ActRefused(" ".join(wrong.messages)) from wrong
    with transaction.atomic():
        known = Window.objects.filter(pk=window.pk)
        if not known.update(begins_at=window.begins_at, ends_at=window.ends_at, rate_limit=window.rate_limit):
            window.save()
        _journal(window, by=by, removed=False, now=now)
    return window


def repeat(
    begins_at: datetime, ends_at: datetime, rate_limit: int, *, days: int, by: str, now: datetime
) -> list[Window]:
    """The same hours of so many days, by the legal time. Raises ActRefused."""
    if not 1 <= days <= MOST_DAYS:
        raise ActRefused(f"Une fenêtre se répète {MOST_DAYS} jours au plus.")
    zone = ZoneInfo(settings.TIME_ZONE)
    first, last = begins_at.astimezone(zone), ends_at.astimezone(zone)
    with transaction.atomic():
        return [
            save(
                Window(
                    begins_at=first + timedelta(days=day),  # the same hour on the clock, summer or winter
                    ends_at=last + timedelta(days=day),
                    rate_limit=rate_limit,
                ),
                by=by,
                now=now,
            )
            for day in range(days)
        ]


def remove(window: Window, *, by: str, now: datetime) -> None:
    """What it kept waiting leaves at the next attempt."""
    with transaction.atomic():
        _journal(window, by=by, removed=True, now=now)
        window.delete()


def _journal(window: Window, *, by: str, removed: bool, now: datetime) -> None:
    record: dict[str, object] = {
        "window": window.pk,
        "begins": window.begins_at.isoformat(),
        "ends": window.ends_at.isoformat(),
        "bytes": window.rate_limit,
        "removed": removed,
        "by": by,
    }
    append("act-window", record, now=now)
