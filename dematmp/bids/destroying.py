"""What is deleted of the sealed objects: trials, and what nobody finalised long after the deadline."""

from datetime import datetime

from django.db import transaction

from dematmp.audit.services import append
from dematmp.bids.assembly import sealed_objects
from dematmp.bids.models import Attempt, Bid
from storage.stores import object_store


def destroy(attempt: Attempt, *, now: datetime) -> None:
    """Delete the sealed objects of an attempt on the test consultation, never of another. May run twice."""
    if attempt.consultation.trial:
        _destroy(attempt, why="trial", now=now)


def expire(attempt: Attempt, *, now: datetime) -> None:
    """Delete the parts of an attempt that nobody finalised, long after the deadline. May run twice.

    Its rows stay: what arrived and when is evidence. Never of an attempt whose finalisation was received; one
    that comes meanwhile waits for this lock, then asks for the parts again.
    """
    with transaction.atomic():
        idle = Attempt.objects.select_for_update(no_key=True).filter(pk=attempt.pk, finalised_at=None).first()
        if idle is not None and not Bid.objects.filter(attempt=idle).exists():
            _destroy(idle, why="abandoned", now=now)


def _destroy(attempt: Attempt, *, why: str, now: datetime) -> None:
    store = object_store()
    for sealed in sealed_objects(attempt):
        if sealed.upload_id and sealed.completed_at is None:
            store.abort(sealed.key, sealed.upload_id)
        store.delete(sealed.key)
    for envelope in attempt.envelopes.order_by("pk"):
        for name in ("header.json", "keys.bin"):
            store.delete(f"{envelope.prefix}/{name}")
    with transaction.atomic():
        if Attempt.objects.filter(pk=attempt.pk, destroyed_at=None).update(destroyed_at=now):
            append(
                "destruction",
                {"attempt": str(attempt.uuid), "why": why},
                consultation=attempt.consultation.uuid,
                subject=attempt.uuid,
                now=now,
            )
