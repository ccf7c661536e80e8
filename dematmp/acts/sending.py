"""What is ready leaves for the ministry: within its windows, once, and again until it took it."""

import logging
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max

from dematmp.acts import messages as m
from dematmp.acts import moves, names, statuses, windows
from dematmp.acts.envelopes import wrap
from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.ministry import CONNECT_SECONDS, TOTAL_SECONDS, Ministry
from dematmp.acts.telling import tell_late
from dematmp.acts.transactions import OBSERVATIONS, PIECES, Step, Transaction
from dematmp.acts.writing import write
from dematmp.audit.services import append

log = logging.getLogger(__name__)
_WAITING = frozenset({statuses.WAITING})
_TO_SEND = (statuses.WAITING, statuses.RECEIVED)
_LATELY = timedelta(minutes=10)
_RECEIPTS = {PIECES: "3-2", OBSERVATIONS: "4-2"}


def retry_delay() -> timedelta:
    return timedelta(seconds=settings.ACTES["retry_seconds"])


def _claim_delay() -> timedelta:
    """Longer than one sending: who claimed and died is replaced after it."""
    return max(timedelta(seconds=settings.ACTES["claim_seconds"]), uncertain_delay())


def uncertain_delay() -> timedelta:
    """How long an answer is awaited before what the ministry may have is sent again, under the same name."""
    return timedelta(seconds=settings.ACTES["uncertain_seconds"])


def send(transaction_id: int, ministry: Ministry, *, now: datetime) -> None:
    """Send one archive that waits, or the receipt of one letter.

    May run twice or be killed anywhere. A sending that was begun and whose end nobody knows counts as
    « may have arrived »: it is only begun again after `uncertain_delay`, unless the ministry answers before.
    """
    found = _claim(transaction_id, now)
    if found is None:
        return
    if found.status == statuses.RECEIVED and not found.archive_key:
        _receipt(found, now)
    window = windows.take(found.archive_size, now=now)
    if window is None:
        # The operator may remove a window before: it is asked again by then.
        _later(found, now, retry_delay(), "Aucune fenêtre de transmission n'a de place.", reached=False)
        return
    began = time.monotonic()
    try:
        ministry.send(
            names.archive(found.envelope_name, trigram=settings.ACTES["trigram"]), found.archive_key
        )
    except MinistryUnavailable as failed:
        if not failed.reached:
            windows.give_back(window, found.archive_size)
        delay = uncertain_delay() if failed.reached else retry_delay()
        _later(found, now, delay, str(failed), reached=failed.reached)
        return
    # The ministry took it. A crash before the next line leaves it « may have arrived ».
    _sent(found, now + timedelta(seconds=time.monotonic() - began))


def is_slow(now: datetime) -> bool:
    """Whether the ministry took long lately, or was not heard of again: it then has one sender at a time."""
    long = timedelta(seconds=settings.ACTES["slow_seconds"])
    lately = Transaction.objects.filter(tried_at__gt=now - _LATELY)
    unheard = lately.filter(uncertain=True, tried_at__lte=now - long, status__in=_TO_SEND)
    taken = Step.objects.filter(transaction__in=lately, status__in=[statuses.SENT, statuses.RECEIPT_SENT])
    return unheard.exists() or taken.filter(at__gt=F("transaction__tried_at") + long).exists()


def is_busy(now: datetime) -> bool:
    """Whether a worker is sending: it claimed a transaction, and its time is not over."""
    going = timedelta(seconds=CONNECT_SECONDS + TOTAL_SECONDS)
    claimed = Transaction.objects.filter(status__in=_TO_SEND, uncertain=True, problem="", due_at__gt=now)
    return claimed.filter(tried_at__gt=now - going).exists()


def _claim(transaction_id: int, now: datetime) -> Transaction | None:
    """Take a transaction for this worker: its row says so before anything leaves."""
    with transaction.atomic():
        found = (
            Transaction.objects.select_for_update(of=("self",))
            .select_related("authority", "agent")
            .filter(pk=transaction_id, status__in=[statuses.WAITING, statuses.RECEIVED])
            .first()
        )
        if found is None or (found.due_at is not None and found.due_at > now):
            return None
        # Killed after this line: nobody knows whether it left.
        found.tried_at, found.uncertain, found.tries = now, True, found.tries + 1
        found.due_at, found.problem = now + _claim_delay(), ""
        found.save(update_fields=["tried_at", "uncertain", "tries", "due_at", "problem"])
    return found


def _later(found: Transaction, now: datetime, delay: timedelta, why: str, *, reached: bool) -> None:
    # What surely did not leave counts as not tried: a number never seen by the ministry may serve again.
    tries = F("tries") if reached else F("tries") - 1
    Transaction.objects.filter(pk=found.pk, status=found.status).update(
        due_at=now + delay, problem=why[:300], uncertain=reached, tries=tries
    )
    log.warning("transaction %s : %s", found.pk, why)


def _sent(found: Transaction, now: datetime) -> None:
    with transaction.atomic():
        if found.status == statuses.RECEIVED:
            said, status = "Acquittement envoyé", statuses.RECEIPT_SENT
        else:
            said, status = "Transmis au MI", statuses.SENT
        if moves.move(found.pk, status, message=said, now=now, only_from=frozenset({found.status})) is None:
            return  # the ministry's answer was read meanwhile
        Transaction.objects.filter(pk=found.pk).update(due_at=None, problem="", uncertain=False)


def _receipt(letter: Transaction, now: datetime) -> None:
    """The receipt 3-2 or 4-2 that is due for a letter, built once."""
    if letter.decided_on is None:
        return
    kind = _RECEIPTS[letter.type]
    made = Transaction(authority=letter.authority, agent=letter.agent, archive_size=0)
    made.message_name = names.message(letter.unique_id, kind)
    made.message = write(m.Letter(kind, letter.unique_id, letter.decided_on))
    wrap(made, [], now=now, only_service=True)
    Transaction.objects.filter(pk=letter.pk, archive_key="").update(
        envelope_name=made.envelope_name, archive_key=made.archive_key, archive_size=made.archive_size
    )
    letter.refresh_from_db(fields=["envelope_name", "archive_key", "archive_size"])


def alert(*, now: datetime) -> list[Transaction]:
    """What has waited for the ministry longer than the settings allow, told once each: mails and journal."""
    since = now - timedelta(hours=settings.ACTES["alert_hours"])
    going = Transaction.objects.filter(
        status__in=[statuses.POSTED, statuses.WAITING, statuses.SENT, statuses.RECEIVED],
        created_at__lt=since,
        alerted_at=None,
    ).exclude(type="2", status=statuses.SENT)
    # Since its last step, not its deposit: a person may have confirmed it days after.
    late = going.select_related("authority").annotate(last_at=Max("steps__at")).filter(last_at__lt=since)
    told = []
    for each in late.order_by("pk")[:500]:
        step = each.steps.order_by("-pk").first()
        last = step.at if step is not None else each.created_at
        with transaction.atomic():
            if Transaction.objects.filter(pk=each.pk, alerted_at=None).update(alerted_at=now):
                append("act-late", {"status": each.status, "transaction": each.pk}, now=now)
                if each.status != statuses.RECEIVED:  # a letter whose receipt is late is our affair alone
                    tell_late(each, since=last, now=now)
                told.append(each)
                log.error("%s attend le ministère depuis le %s : %s", each, last, each.problem)
    return told
