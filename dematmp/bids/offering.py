"""What the backup channel tells the platform of the deposits that it received, once the platform is back."""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Q

from dematmp.audit.copies import stored_tile
from dematmp.audit.keys import journal_signer
from dematmp.audit.models import Entry, Head
from dematmp.audit.services import utc_text
from dematmp.bids.evidence import entries, evidence
from dematmp.bids.models import Attempt, Bid, Part, SealedObject
from dematmp.bids.start_refusals import StartRefusal
from dematmp.consultations.models import Consultation
from signing.errors import PassRefused
from signing.passes import read
from signing.tlog import format_proof, inclusion_proof
from storage.stores import object_store

READER = "channel-reader"
LATELY = timedelta(days=90)


def is_reader(text: str, *, now: datetime) -> bool:
    """Whether this pass is that of the platform itself, come to read."""
    try:
        read(text, settings.MAIN["key"], READER, now=now)
    except PassRefused:
        return False
    return True


def _text(at: datetime | None) -> str | None:
    return utc_text(at) if at else None


def _b64(data: bytes | memoryview | None) -> str | None:
    return base64.b64encode(bytes(data)).decode() if data is not None else None


def offered(*, now: datetime) -> dict[str, object]:
    """What the platform may still need, and the consultations for which it is still recording.

    The deposits of consultations that closed less than three months ago, or do not close yet; those received
    or withdrawn since.
    """
    since = now - LATELY
    receiving = Consultation.objects.receiving(now=since).values("pk")
    lately = Q(consultation__in=receiving) | Q(received_at__gte=since) | Q(withdrawn_at__gte=since)
    bids = Bid.objects.filter(lately).select_related(
        "attempt__by", "attempt__finalised_by", "consultation", "bidder"
    )
    pending = Attempt.objects.being_recorded().values_list("consultation__uuid", flat=True)
    return {
        "v": "channel/1",
        "now": utc_text(now),
        "key": journal_signer().verifier_key,
        "pending": [str(each) for each in pending],
        "deposits": [_deposit(bid) for bid in bids.order_by("pk")],
        "attempts": [
            {"attempt": str(each.uuid), "changed": _changed(each), **_whose(each)}
            for each in Attempt.objects.filter(consultation__in=receiving)
            .select_related("consultation", "bidder")
            .order_by("pk")
        ],
        "refusals": [
            {"index": each.journal_index, **_whose(each)}
            for each in StartRefusal.objects.filter(consultation__in=receiving)
            .select_related("consultation", "bidder")
            .order_by("pk")
        ],
    }


def _whose(row: Attempt | StartRefusal) -> dict[str, str]:
    """The platform asks for no evidence of whom it does not know."""
    return {"consultation": str(row.consultation.uuid), "bidder": str(row.bidder.uuid)}


def _changed(attempt: Attempt) -> str:
    """What tells that its evidence is no more the same: its parts, refusals, entries and steps."""
    parts = Part.objects.received().filter(object__envelope__attempt=attempt)
    counts = (
        parts.aggregate(count=Count("pk"), last=Max("received_at")),
        attempt.refusals.aggregate(count=Count("pk"), last=Max("at")),
        entries(attempt).aggregate(count=Count("pk"), last=Max("index")),
    )
    said = json.dumps([*counts, attempt.finalised_at, attempt.destroyed_at], default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def offered_attempt(attempt: Attempt, *, now: datetime) -> dict[str, object]:
    """Its evidence, each entry proved in the checkpoint of now: the platform alone reads it."""
    head = Head.objects.get(pk=1)
    said = evidence(attempt, now=now)
    shown = [_proved(entry, head) for entry in entries(attempt).filter(index__lt=head.size)]
    key = journal_signer().verifier_key
    return {**said, "journal": {"key": key, "checkpoint": head.note, "entries": shown}}


def offered_refusal(index: int) -> dict[str, object] | None:
    """The entry of a refusal that no attempt followed, proved in the checkpoint of now, or None."""
    head = Head.objects.get(pk=1)
    if not StartRefusal.objects.filter(journal_index=index).exists():
        return None
    entry = Entry.objects.filter(index=index, index__lt=head.size).first()
    return _proved(entry, head) if entry else None


def _proved(entry: Entry, head: Head) -> dict[str, object]:
    path = inclusion_proof(entry.index, head.size, stored_tile)
    return {
        "index": entry.index,
        "type": entry.kind,
        "time": utc_text(entry.at),
        "record": _b64(entry.record),
        "nonce": bytes(entry.nonce).hex(),
        "proof": format_proof(entry.index, path, head.note),
    }


def _deposit(bid: Bid) -> dict[str, object]:
    attempt = bid.attempt
    return {
        "deposit": str(bid.uuid),
        "consultation": str(bid.consultation.uuid),
        "bidder": str(bid.bidder.uuid),
        "by": str(attempt.by.uuid),
        "finalised_by": str((attempt.finalised_by or attempt.by).uuid),
        "attempt": str(attempt.uuid),
        "started": utc_text(attempt.started_at),
        "client_clock": _text(attempt.client_clock),
        "announced_bytes": attempt.announced_bytes,
        "preflight": attempt.preflight,
        "number": bid.number,
        "withdrawn": _text(bid.withdrawn_at),
        "withdrawal": _withdrawal(bid),
        "record": _b64(bid.record),
        "nonce": bytes(bid.nonce).hex(),
        "index": bid.journal_index,
        "proof": bid.proof,
        "token": _b64(bid.token),
        "token_authority": bid.token_authority,
        "token_at": _text(bid.token_at),
        "receipt_pdf": _b64(bid.receipt_pdf),
        "receipt_stamped": bid.receipt_stamped,
        "envelopes": [
            {
                "envelope": str(envelope.uuid),
                "lot": envelope.lot,
                "kind": envelope.kind,
                "header": _b64(envelope.header),
                "keys": _b64(envelope.keys),
                "objects": [
                    {
                        "name": each.name,
                        "size": each.size,
                        "part_bytes": each.part_bytes,
                        "sha256": each.sha256,
                        "parts": [
                            {
                                "number": part.number,
                                "sha256": part.sha256,
                                "received": _text(part.received_at),
                            }
                            for part in each.parts.order_by("number")
                        ],
                    }
                    for each in envelope.objects_sealed.order_by("pk")
                ],
            }
            for envelope in attempt.envelopes.order_by("pk")
        ],
    }


def _withdrawal(bid: Bid) -> dict[str, object] | None:
    """Who withdrew it, and the proof that it is in the journal, in the checkpoint of now: it is read by the
    platform alone, which may know how much was written."""
    entry = Entry.objects.filter(kind="withdrawal", subject=bid.uuid).order_by("index").first()
    head = Head.objects.filter(pk=1).first()
    if bid.withdrawn_at is None or entry is None or head is None:
        return None
    path = inclusion_proof(entry.index, head.size, stored_tile)
    return {
        "record": _b64(entry.record),
        "nonce": bytes(entry.nonce).hex(),
        "proof": format_proof(entry.index, path, head.note),
    }


def sealed_bytes(envelope: uuid.UUID, name: str) -> tuple[int, Iterator[bytes]] | None:
    """Size and bytes of one sealed object of a deposit, or None."""
    found = SealedObject.objects.filter(envelope__uuid=envelope, name=name, completed_at__isnull=False)
    each = found.select_related("envelope__attempt__consultation").first()
    return (each.size, object_store().open(each.key)) if each else None
