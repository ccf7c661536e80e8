"""Stamping and sealing receipts, in the worker."""

from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt_pdf, stamp


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
    """Stamp what a lost task or a silent authority left without token or receipt."""
    waiting = (
        Bid.objects.filter(Q(token=None) | Q(receipt_pdf=None)).order_by("pk").values_list("pk", flat=True)
    )
    for bid_id in waiting[:50]:
        stamp_bid(bid_id)
