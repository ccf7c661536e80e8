"""Stamping and sealing receipts, in the worker."""

import logging
from datetime import datetime, timedelta

import httpx
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from dematmp.audit.rows import each_row
from dematmp.bids.destroying import destroy, expire
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.fingerprints import stamp as stamp_one
from dematmp.bids.importing import pull
from dematmp.bids.models import Attempt, Bid, Fingerprint
from dematmp.bids.probe import has_where_to_deposit, is_watched, probe, tell_outages
from dematmp.bids.receipts import receipt_pdf, stamp
from dematmp.bids.services import complete
from dematmp.consultations.mirror import take
from signing.errors import PassRefused

log = logging.getLogger(__name__)
_MAIN_SECONDS = 20.0
TRIAL_KEPT = timedelta(days=7)
ABANDONED_KEPT = timedelta(days=30)
_STILL_RUNNING = timedelta(seconds=30)  # a finalisation younger than this may still be in its own request


@shared_task
def stamp_bid(bid_id: int) -> None:
    """Add the token, then issue the PDF.

    Without a token the PDF says that it waits for one, and is reissued once there is one.
    """
    bid = Bid.objects.filter(pk=bid_id).first()
    if bid is None:
        return
    stamp(bid, now=timezone.now())
    bid.refresh_from_db()
    has_token = bid.token is not None
    if bid.receipt_pdf is None or (has_token and not bid.receipt_stamped):
        pdf = receipt_pdf(bid, now=timezone.now())
        # A run that saw no token never overwrites the receipt of one that did.
        Bid.objects.filter(pk=bid_id, receipt_stamped=False).update(
            receipt_pdf=pdf, receipt_stamped=has_token
        )


@shared_task
def stamp_fingerprint(fingerprint_id: int) -> None:
    """Add the token of a fingerprint; without an authority, the sweep does it later."""
    found = Fingerprint.objects.filter(pk=fingerprint_id).first()
    if found is not None:
        stamp_one(found, now=timezone.now())


@shared_task
def purge_trials() -> None:
    """Destroy what was deposited on the test consultation more than a week ago; receipts and journal stay."""
    now = timezone.now()
    old = Attempt.objects.trials_before(now - TRIAL_KEPT).order_by("?")[:200]
    each_row(old, lambda attempt: destroy(attempt, now=now))


@shared_task
def expire_uploads() -> None:
    """Free what attempts that nobody finalised left in the store, a month after the deadline."""
    now = timezone.now()
    old = Attempt.objects.abandoned(now - ABANDONED_KEPT).order_by("?")[:200]
    each_row(old, lambda attempt: expire(attempt, now=now))


@shared_task
def visit_channel() -> None:
    """Import what the backup channel received; one that does not answer is asked again in a minute."""
    try:
        pull(now=timezone.now())
    except (ChannelUnreachable, ChannelRefused) as away:
        log.warning("%s", away)


@shared_task
def mirror_consultations() -> None:
    """On the backup channel: what the platform receives bids for. When it is silent, the last stands."""
    try:
        fetch_consultations(now=timezone.now())
    except (ChannelUnreachable, PassRefused) as away:
        log.warning("%s", away)


def fetch_consultations(*, now: datetime) -> int:
    """How many were taken. Raises ChannelUnreachable, PassRefused."""
    try:
        answer = httpx.get(f"{settings.MAIN['url']}/api/v1/channel/consultations", timeout=_MAIN_SECONDS)
        answer.raise_for_status()
        said = answer.json()
    except (httpx.HTTPError, ValueError) as away:
        raise ChannelUnreachable("La plateforme ne répond pas : la dernière copie reste.") from away
    return take(said, now=now)


@shared_task
def watch() -> None:
    """A canary each minute of the last two hours before any deadline."""
    now = timezone.now()
    if is_watched(now=now) and probe(now=now) is None and not has_where_to_deposit():
        log.warning("la sonde n'a pas de consultation d'essai : lancez « manage.py trial_consultation »")
    tell_outages(now=timezone.now())  # after the deadlines too: the platform may be back too late for them


@shared_task
def sweep() -> None:
    """Make the bids whose finalisation was cut off; stamp what has no token or receipt yet."""
    now = timezone.now()
    cut_off = Attempt.objects.being_recorded().filter(finalised_at__lt=now - _STILL_RUNNING)
    each_row(cut_off.order_by("?")[:50], lambda attempt: complete(attempt, now=now))
    each_row(
        Bid.objects.filter(receipt_stamped=False).order_by("?").values_list("pk", flat=True)[:50], stamp_bid
    )
    unstamped = Fingerprint.objects.filter(token=None).order_by("?").values_list("pk", flat=True)
    each_row(unstamped[:50], stamp_fingerprint)
