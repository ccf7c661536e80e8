"""Stamping and sealing receipts, in the worker."""

import logging
from datetime import timedelta

from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from dematmp.bids.errors import BidError
from dematmp.bids.models import Attempt, Bid
from dematmp.bids.receipts import receipt_pdf, stamp
from dematmp.bids.services import complete
from storage.errors import StorageError

log = logging.getLogger(__name__)
_STILL_RUNNING = timedelta(seconds=30)  # a finalisation younger than this may still be in its own request


@shared_task
def stamp_bid(bid_id: int) -> None:
    """Add the token, then issue the PDF.

    Without a token the PDF says that it waits for one, and is reissued later.
    """
    bid = Bid.objects.filter(pk=bid_id).first()
    if bid is None or (bid.token is not None and bid.receipt_pdf is not None):
        return
    had_token = bid.token is not None
    stamped = stamp(bid, now=timezone.now())
    bid.refresh_from_db()
    if bid.receipt_pdf is None or (stamped and not had_token):
        Bid.objects.filter(pk=bid_id).update(receipt_pdf=receipt_pdf(bid, now=timezone.now()))


@shared_task
def sweep() -> None:
    """Make the bids whose finalisation was cut off; stamp what has no token or receipt yet."""
    abandoned = timezone.now() - _STILL_RUNNING
    for attempt in Attempt.objects.being_recorded().filter(finalised_at__lt=abandoned).order_by("pk")[:50]:
        try:
            complete(attempt, now=timezone.now())
        except (BidError, StorageError) as waits:
            log.warning("dépôt %s : pas encore enregistré (%s)", attempt.uuid, waits.code)
    waiting = (
        Bid.objects.filter(Q(token=None) | Q(receipt_pdf=None)).order_by("pk").values_list("pk", flat=True)
    )
    for bid_id in waiting[:50]:
        stamp_bid(bid_id)
