"""Lists in JSON: states, acts, unread letters, counts; and what an archiving system says."""

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q
from django.http.response import HttpResponseBase
from django.utils import timezone

from dematmp.acts import moves, statuses
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.posting import DENIED, today
from dematmp.acts.subscribers import ARCHIVIST, GROUP, SUPER, Authority
from dematmp.acts.transactions import ACT, PREFECTURE, Step, Transaction
from dematmp.api.s2low import answers
from dematmp.api.s2low.door import Call, archive_refusal, door, json_refusal
from dematmp.api.s2low.posts import found_by

MOST = 1000


def _integer(written: str, name: str, default: int | None = None) -> int:
    if not written and default is not None:
        return default
    if re.fullmatch(r"-?[0-9]{1,9}", written) is None:
        raise ActRefused(f"{name} n'est pas un entier.")
    return int(written)


def _day(written: str, name: str) -> date | None:
    if not written:
        return None
    try:
        return date.fromisoformat(written[:10])
    except ValueError as broken:
        raise ActRefused(f"{name} n'est pas une date AAAA-MM-JJ.") from broken


@door(json_refusal)
def status_list(call: Call) -> HttpResponseBase:
    return answers.as_json({str(number): label for number, label in statuses.LABELS.items()})


@door(json_refusal)
def number_of_acts(call: Call) -> HttpResponseBase:
    status = _integer(call.asked("status_id"), "status_id", statuses.CANCELLED)
    count = Transaction.objects.of_authority(call.agent).filter(status=status).count()
    return answers.as_json(
        {"status_id": status, "authority_id": call.agent.authority_id, "nb_transactions": count}
    )


@door(json_refusal)
def list_acts(call: Call) -> HttpResponseBase:
    """Of a state, the last ones first; dates bound the arrival in that state, both included.

    A number alone is looked for in every state: how a client learns what became of a deposit without answer.
    """
    asked, number = call.asked("status_id"), call.asked("number")
    status = None if number and not asked else _integer(asked, "status_id", statuses.CANCELLED)
    offset = max(0, _integer(call.asked("offset"), "offset", 0))
    limit = min(MOST, max(0, _integer(call.asked("limit"), "limit", 100)))
    rows = Transaction.objects.of_authority(call.agent).order_by("-pk")
    since = _day(call.asked("min_date") or call.asked("min_submission_date"), "min_date")
    until = _day(call.asked("max_date") or call.asked("max_submission_date"), "max_date")
    within = Q()
    if since:
        within &= Q(at__gte=_start(since))
    if until:
        within &= Q(at__lt=_start(until + timedelta(days=1)))
    steps = Step.objects.filter(within, transaction=OuterRef("pk"))
    if status is not None:
        rows, steps = rows.filter(status=status), steps.filter(status=status)
    if within:
        rows = rows.filter(Exists(steps))
    if call.asked("type_acte"):
        rows = rows.filter(nature=_nature(call.asked("type_acte")))
    if number:
        rows = rows.filter(number=number)
    found = [
        {
            "id": str(each.pk),
            "subject": each.subject,
            "number": each.number,
            "date": each.decided_on.isoformat() if each.decided_on else "",
            "nature_descr": each.nature_label,
            "classification": each.classification,
            "type": each.type,
        }
        for each in rows.select_related("authority")[offset : offset + limit]
    ]
    return answers.as_json(
        {
            "status_id": "" if status is None else str(status),
            "authority_id": str(call.agent.authority_id),
            "offset": str(offset),
            "limit": str(limit),
            "transactions": found,
        }
    )


# Of the nature, the typology of the act itself.
_NATURES = {"99_DE": "1", "99_AR": "2", "99_AI": "3", "99_CC": "4", "99_BF": "5", "99_AU": "6"}


def _nature(typology: str) -> str:
    if typology not in _NATURES:
        raise ActRefused("type_acte n'est pas la typologie d'un acte.")
    return _NATURES[typology]


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(settings.TIME_ZONE))


@door(json_refusal)
def letters(call: Call) -> HttpResponseBase:
    """What the prefecture sent and nobody has read yet."""
    rows = (
        Transaction.objects.of_authority(call.agent)
        .filter(type__in=PREFECTURE, reply="", is_read=False)
        .exclude(status=statuses.ERROR)
        .order_by("pk")
    )
    return answers.as_json(
        [
            {
                "id": str(each.pk),
                "type": each.type,
                "related_transaction_id": str(each.related_id or ""),
                "number": each.number,
                "unique_id": each.unique_id,
                "last_status_id": str(each.status),
            }
            for each in rows[:MOST]
        ]
    )


@door(json_refusal)
def mark_as_read(call: Call) -> HttpResponseBase:
    found = found_by(call.agent, call.asked("transaction_id"))
    if found.type not in PREFECTURE or found.reply:
        raise ActRefused("Cette transaction n'est pas un document de la préfecture.")
    Transaction.objects.filter(pk=found.pk).update(is_read=True)
    return answers.as_json({"result": "ok"})


@door(json_refusal)
def counts(call: Call) -> HttpResponseBase:
    """Acts decided in a month, by authority of the group; the last month when none is said."""
    if call.agent.role not in (SUPER, GROUP):
        raise AccessRefused(DENIED)
    last = today(timezone.now()).replace(day=1) - timedelta(days=1)
    month = _integer(call.asked("month"), "month", last.month)
    year = _integer(call.asked("year"), "year", last.year)
    if not (1 <= month <= 12 and 2000 <= year <= 2200):
        raise ActRefused("month ou year est hors des bornes.")
    first = date(year, month, 1)
    after = date(year + month // 12, month % 12 + 1, 1)
    group = call.asked("authority_group_id") if call.agent.role == SUPER else ""
    wanted = _integer(group, "authority_group_id") if group else call.agent.authority.group_id
    authorities = Authority.objects.filter(group_id=wanted) if wanted else Authority.objects.none()
    decided = Count(
        "transactions",
        filter=Q(
            transactions__type=ACT, transactions__decided_on__gte=first, transactions__decided_on__lt=after
        ),
    )
    found = [
        {"authority_id": str(each.pk), "name": each.name, "nb_transactions": str(each.decided)}
        for each in authorities.annotate(decided=decided).order_by("name", "pk")
    ]
    return answers.as_json(
        {
            "result": "ok",
            "message": "",
            "authority_group_id": str(wanted or ""),
            "min_date": first.isoformat(),
            "max_date": (after - timedelta(days=1)).isoformat(),
            "nbTransactionPerAuthorities": found,
        }
    )


@door(archive_refusal)
def archiving(call: Call) -> HttpResponseBase:
    """What an archiving system did of an act."""
    if call.agent.role != ARCHIVIST:
        raise AccessRefused(DENIED)
    found = found_by(call.agent, call.asked("transaction_id"))
    status = _integer(call.asked("status_id"), "status_id")
    if status not in statuses.ARCHIVING.get(found.status, frozenset()):
        raise ActRefused("Cet état ne peut pas suivre celui de la transaction.")
    moves.move(found.pk, status, message=f"Archivage, par {call.agent}", now=timezone.now())
    return answers.as_json({"status": "ok"})
