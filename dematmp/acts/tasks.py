"""Transmission in the background; each task may run twice and may be lost."""

import logging
from collections.abc import Callable
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from dematmp.acts import (
    adoption,
    alerts,
    aside,
    checking,
    correspondence,
    ministry,
    news,
    renewing,
    returns,
    sending,
    services,
    statuses,
    texts,
)
from dematmp.acts.errors import ActError
from dematmp.acts.mailbox import box
from dematmp.acts.models import Act, Subscription, Transaction, Transmission
from dematmp.acts.operators import operator_for
from dematmp.acts.rules import ERROR
from dematmp.audit.rows import each_row

log = logging.getLogger(__name__)


def _try(verb: Callable[..., None], act_id: int) -> None:
    act = Act.objects.select_related("buyer", "authority").filter(pk=act_id).first()
    try:
        operator = operator_for(act, now=timezone.now()) if act else None
        if operator is not None:
            verb(act_id, operator, now=timezone.now())
            # What was posted and is not found yet goes on waiting: looking for it is no news.
            going = _waiting(act_id).exclude(problem=services.UNCONFIRMED).exclude(remote_id=None)
            going.update(problem="", stuck_since=None)
        else:
            _stopped(act_id, "Aucun service de télétransmission n'est réglé pour cet acheteur.")
    except ActError as failed:
        log.warning("acte %s : %s", act_id, failed)
        _stopped(act_id, str(failed))


def _stopped(act_id: int, reason: str) -> None:
    """What has not arrived says why, and since when: its people are told after some hours."""
    _waiting(act_id).update(problem=reason[:300])
    _waiting(act_id).filter(stuck_since=None).update(stuck_since=timezone.now())
    # Read again later: the others come first.
    rows = Transmission.objects.filter(act_id=act_id, acknowledged_at__isnull=False)
    rows.update(due_at=timezone.now() + correspondence.EVERY)


def _waiting(act_id: int) -> "QuerySet[Transmission]":
    """The transmission of an act that left, or is to leave, and of which nothing is known yet."""
    rows = Transmission.objects.filter(act_id=act_id, acknowledged_at=None)
    return rows.exclude(steps__status=ERROR)


@shared_task
def transmit_act(act_id: int) -> None:
    """Post one act."""
    _try(services.transmit, act_id)


@shared_task
def read_letters(act_id: int) -> None:
    """What the prefecture wrote about one act; the sweep does it later."""
    _try(correspondence.read_letters, act_id)


@shared_task
def sweep() -> None:
    """What a lost task or an operator that was down left undone, and what awaits its acknowledgement."""
    waiting = Transmission.objects.filter(acknowledged_at=None, confirmed_at__isnull=False)
    each_row(waiting.exclude(steps__status=ERROR).order_by("?")[:500], _continue)
    unread = Act.objects.filter(transmission__acknowledged_at__isnull=False, text=None)
    each_row(unread.order_by("?")[:100], lambda act: texts.keep_text(act, now=timezone.now()))
    each_row(correspondence.to_read(timezone.now()), lambda act: _try(correspondence.read_letters, act.pk))


def _continue(transmission: Transmission) -> None:
    _try(services.poll if transmission.remote_id else services.transmit, transmission.act_id)


@shared_task
def tell_subscribers() -> None:
    """Mails to those who follow acts; what a lost task left is told by the next one."""
    wanted = Subscription.objects.filter(mail=True, user__is_active=True).select_related("user")
    each_row(wanted.order_by("pk"), lambda row: news.tell(row, now=timezone.now()))


@shared_task
def tell_alerts() -> None:
    """The marks that come near and the letters without an answer."""
    today = timezone.localdate()
    each_row(alerts.ending(today), lambda act: alerts.tell_mark(act, now=timezone.now()))
    each_row(alerts.silent(today), lambda letter: alerts.tell_silence(letter, now=timezone.now()))
    each_row(alerts.stuck(timezone.now()), lambda sent: alerts.tell_stuck(sent, now=timezone.now()))
    aside.tell(now=timezone.now())


@shared_task
def check_transaction(transaction_id: int) -> None:
    """Check what was posted, then send it; what a slow ministry would hold up is left to the sweep."""
    checking.check(transaction_id, now=timezone.now())
    if not sending.is_slow(timezone.now()):
        send_transaction(transaction_id)


@shared_task
def send_transaction(transaction_id: int) -> None:
    """Send one archive to the ministry, when there is one."""
    known = ministry.configured()
    if known is not None:
        sending.send(transaction_id, known, now=timezone.now())


@shared_task
def follow_transaction(transaction_id: int) -> None:
    """The act of a transaction is shown as far as it went, without waiting for the sweep."""
    act = adoption.act_of(transaction_id, now=timezone.now())
    if act is not None:
        _try(services.poll, act.pk)
        _try(correspondence.read_letters, act.pk)


@shared_task
def sweep_service() -> None:
    """The ministry's mails; then what a lost task, a killed worker or an absent ministry left undone.

    The checks come last: one of them may take minutes, and keeps nothing else waiting.
    """
    each_row(["boîte de retour"], lambda _: collect_returns())
    now = timezone.now()
    due = Q(due_at=None) | Q(due_at__lte=now)
    ready = Transaction.objects.filter(due, status__in=[statuses.WAITING, statuses.RECEIVED])
    each_row(ready.order_by("due_at", "pk")[:500], _send_in_turn)
    each_row(adoption.to_adopt(now).order_by("?")[:500], lambda row: follow_transaction(row.pk))
    aside.tell_late(sending.alert(now=now), now=now)
    fresh = now - timedelta(seconds=settings.ACTES["grace_seconds"])
    posted = Transaction.objects.filter(due, status=statuses.POSTED, created_at__lte=fresh).order_by("pk")
    each_row(posted[:500], lambda row: check_transaction(row.pk))


def _send_in_turn(row: Transaction) -> None:
    """While the ministry is slow one worker waits for it, the others read its answers and do the rest."""
    now = timezone.now()
    if not (sending.is_slow(now) and sending.is_busy(now)):
        send_transaction(row.pk)


@shared_task
def renew_codes() -> None:
    """The ministry's codes, once a month; and the mails put aside, when what they waited for came since."""
    renewing.ask(timezone.now())
    each_row(returns.put_aside(timezone.now()), lambda row: returns.analyse_again(row, now=timezone.now()))


@shared_task
def collect_returns() -> None:
    """Read the mails of the ministry."""
    url = settings.ACTES["return_box"]
    if not url:
        return
    try:
        returns.collect(box(url), now=timezone.now())
    except ActError as failed:
        log.warning("boîte de retour : %s", failed)
