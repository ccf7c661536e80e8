"""The evidence of an attempt, even when nothing was deposited: what a company may have to show a judge.

R2151-6 and annexe 8: a candidate who proves that it began in time and that the failure is not its own.
"""

import base64
import itertools
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from dematmp.accounts.models import Organisation, User
from dematmp.audit.documents import render
from dematmp.audit.keys import journal_signer
from dematmp.audit.models import Entry
from dematmp.audit.publication import public_checkpoint
from dematmp.audit.sealing import seal
from dematmp.audit.services import append, prove, utc_text
from dematmp.bids.channel_attempts import ChannelAttempt
from dematmp.bids.models import Attempt, AttemptRefusal, Fingerprint, SealedObject
from dematmp.bids.start_refusals import StartRefusal
from dematmp.consultations.models import Consultation
from signing.header import header_hash
from signing.pdf import Attachment

MAX_REFUSALS = 500  # rows kept for one attempt
MAX_STARTS = 50  # of one company for one consultation
_MINUTE = timedelta(minutes=1)
_PDF_REFUSALS = 60
_PDF_OBJECTS = 300  # rows of the PDF; the JSON has them all


def note_refusal(attempt: Attempt, *, code: str, message: str, now: datetime) -> None:
    """Keep what this attempt was refused. Never raises for its own sake: it is called from a refusal.

    Of too many, the first ones and the last ones: those near the deadline tell the most.
    """
    mine = AttemptRefusal.objects.filter(attempt=attempt).order_by("pk")
    half, over = MAX_REFUSALS // 2, mine.count() + 1 - MAX_REFUSALS
    if over > 0:
        mine.filter(pk__in=list(mine.values_list("pk", flat=True)[half : half + over])).delete()
    AttemptRefusal.objects.create(attempt=attempt, at=now, code=code[:60], message=message[:300])


def note_start_refusal(
    consultation: Consultation,
    *,
    bidder: Organisation,
    by: User,
    headers: Sequence[bytes],
    announced_bytes: int,
    code: str,
    message: str,
    now: datetime,
) -> None:
    """Keep that this company came and was refused before an attempt existed, in the journal too.

    Of too many, the first ones and the last ones, as of an attempt, one a minute: bounded both ways.
    """
    mine = StartRefusal.objects.filter(consultation=consultation, bidder=bidder, channel_key="")
    mine = mine.order_by("at", "pk")
    half, over = MAX_STARTS // 2, mine.count() + 1 - MAX_STARTS
    if over > 0 and mine.filter(at__range=(now - _MINUTE, now)).exists():
        return
    with transaction.atomic():
        if over > 0:
            mine.filter(pk__in=list(mine.values_list("pk", flat=True)[half : half + over])).delete()
        appended = append(
            "attempt-refused",
            {
                "consultation": str(consultation.uuid),
                "bidder": str(bidder.uuid),
                "by": str(by.uuid),
                "headers": [header_hash(each).hex() for each in headers],
                "bytes": announced_bytes,
                "code": code[:60],
                "message": message[:300],
                "at": utc_text(now),
            },
            consultation=consultation.uuid,
            subject=bidder.uuid,
            now=now,
        )
        StartRefusal.objects.create(
            consultation=consultation,
            bidder=bidder,
            by=by,
            at=now,
            code=code[:60],
            message=message[:300],
            journal_index=appended.entry.index,
        )


def start_refusals(bidder: Organisation) -> list[dict[str, object]]:
    """What this company was refused before an attempt existed, with the journal's proofs: the platform's, or
    those of the backup channel, under its key."""
    rows = list(
        StartRefusal.objects.filter(bidder=bidder).select_related("consultation").order_by("-at", "-pk")
    )
    here = [row.journal_index for row in rows if not row.channel_key]
    entries = {entry.index: entry for entry in Entry.objects.filter(index__in=here).order_by("index")}
    return [
        {
            "at": utc_text(row.at),
            "consultation": str(row.consultation.uuid),
            "reference": row.consultation.reference,
            "code": row.code,
            "message": row.message,
            "entry": row.channel_entry if row.channel_key else _entry(entries[row.journal_index]),
            "channel_key": row.channel_key or None,
        }
        for row in rows
    ]


def start_refusals_pdf(bidder: Organisation, *, now: datetime) -> bytes:
    """The same for people, sealed by the platform (PAdES); the JSON is attached, under the same seal."""
    said = start_refusals(bidder)
    zone = ZoneInfo(settings.TIME_ZONE)

    def local(moment: datetime) -> str:
        return timezone.localtime(moment, zone).strftime("%d/%m/%Y à %H:%M:%S")

    data = {
        "operator": settings.OPERATOR_NAME,
        "bidder": {"name": bidder.name, "siret": bidder.siret or None},
        "zone": settings.TIME_ZONE,
        "issued": local(now),
        "count": len(said),
        "rows": [
            {
                "at": local(datetime.fromisoformat(str(each["at"]))),
                "reference": each["reference"],
                "code": each["code"],
                "message": each["message"],
                "rank": f"{_rank(each['entry'])}{' du canal de secours' if each['channel_key'] else ''}",
            }
            for each in said[:_PDF_OBJECTS]
        ],
    }
    title = "Envois refusés avant d'avoir commencé"
    whole = json.dumps(said, ensure_ascii=False, indent=1, sort_keys=True).encode()
    attached = Attachment("envois-refuses.json", whole, "application/json", "Tous, avec leurs preuves")
    return seal(render("refusals", data, title=title), reason=title, now=now, attachments=[attached])


def evidence(attempt: Attempt, *, now: datetime) -> dict[str, object]:
    """Plain values: the attempt minute by minute, and its entries in the journal with their proofs.

    The proof of an entry of this very minute is null: it comes with the next public checkpoint.
    """
    consultation, bid = attempt.consultation, getattr(attempt, "bid", None)
    there = ChannelAttempt.objects.of_deposit(attempt.deposit, attempt.bidder)
    objects = list(
        SealedObject.objects.filter(envelope__attempt=attempt)
        .select_related("envelope")
        .prefetch_related("parts")
        .order_by("pk")
    )
    received = sorted(
        (part.received_at, each.part_size(part.number))
        for each in objects
        for part in each.parts.all()
        if part.received_at
    )
    return {
        "v": "evidence/1",
        "operator": settings.OPERATOR_NAME,
        "issued": utc_text(now),
        "buyer": {"name": consultation.buyer.name, "siret": consultation.buyer.siret},
        "consultation": {
            "uuid": str(consultation.uuid),
            "reference": consultation.reference,
            "title": consultation.title,
            "deadlines": [
                {"at": utc_text(each.at), "decided": utc_text(each.decided_at), "reason": each.reason}
                for each in consultation.announced_deadlines()
            ],
        },
        "bidder": {"name": attempt.bidder.name, "siret": attempt.bidder.siret},
        "attempt": str(attempt.uuid),
        "deposit": str(attempt.deposit),
        "started": utc_text(attempt.started_at),
        "client_clock": utc_text(attempt.client_clock) if attempt.client_clock else None,
        "finalised": utc_text(attempt.finalised_at) if attempt.finalised_at else None,
        "receipt": {
            "number": bid.number,
            "received": utc_text(bid.received_at),
            "deadline": utc_text(bid.deadline),
            "late": bid.late,
            "withdrawn": utc_text(bid.withdrawn_at) if bid.withdrawn_at else None,
        }
        if bid
        else None,
        "fingerprint": _fingerprint(attempt),
        "announced": {"bytes": attempt.announced_bytes, "parts": sum(each.part_count for each in objects)},
        "received": {
            "bytes": sum(size for _, size in received),
            "parts": len(received),
            "first": utc_text(received[0][0]) if received else None,
            "last": utc_text(received[-1][0]) if received else None,
            "longest_silence_seconds": _longest([at for at, _ in received]),
        },
        "envelopes": [
            {
                "envelope": str(envelope.uuid),
                "lot": envelope.lot,
                "kind": envelope.kind,
                "header": header_hash(bytes(envelope.header)).hex(),
                "objects": [_object(each) for each in objects if each.envelope.pk == envelope.pk],
            }
            for envelope in attempt.envelopes.order_by("pk")
        ],
        "refusals": [
            {"at": utc_text(each.at), "code": each.code, "message": each.message}
            for each in AttemptRefusal.objects.filter(attempt=attempt).order_by("at", "pk")
        ],
        "journal": {
            "key": journal_signer().verifier_key,
            "checkpoint": public_checkpoint()[1],
            "entries": [_entry(entry) for entry in entries(attempt)],
        },
        # What the backup channel met of the same deposit: its own dossier, under the key of its own journal.
        "backup_channel": there.evidence if there else None,
    }


def _entry(entry: Entry) -> dict[str, object]:
    """Its rank and its proof come with the public checkpoint that covers it, within a minute: read at once,
    the rank alone would count what others wrote just before."""
    proof = prove(entry.index)
    return {
        "index": entry.index if proof else None,
        "type": entry.kind,
        "time": utc_text(entry.at),
        "record": base64.b64encode(bytes(entry.record)).decode(),
        "nonce": bytes(entry.nonce).hex(),
        "proof": proof,
    }


def _rank(entry: object) -> str:
    """« n° 12 », or when it will be known."""
    index = entry.get("index") if isinstance(entry, dict) else None
    return "dans une minute" if index is None else f"n° {index}"


def _fingerprint(attempt: Attempt) -> dict[str, object] | None:
    """The digests received before the bytes, where the consultation asked for them."""
    found = Fingerprint.objects.filter(attempt=attempt).first()
    if found is None:
        return None
    return {
        "received": utc_text(found.received_at),
        "record": base64.b64encode(bytes(found.record)).decode(),
        "token": base64.b64encode(bytes(found.token)).decode() if found.token else None,
        "time": utc_text(found.token_at) if found.token_at else None,
        "authority": found.token_authority or None,
    }


def entries(attempt: Attempt) -> "QuerySet[Entry]":
    """The journal's entries on this attempt and its bid.

    The deposit's id is the client's choice, hence maybe another thing's: only what is written of bids counts.
    """
    of_bid = Q(subject=attempt.deposit, kind__in=("deposit", "withdrawal", "timestamp"))
    found = Entry.objects.filter(Q(subject=attempt.uuid) | of_bid, consultation=attempt.consultation.uuid)
    return found.order_by("index")


def _object(sealed: SealedObject) -> dict[str, object]:
    return {
        "name": sealed.name,
        "size": sealed.size,
        "part_bytes": sealed.part_bytes,
        "parts_expected": sealed.part_count,
        "parts": [
            {"number": part.number, "sha256": part.sha256, "received": utc_text(part.received_at)}
            for part in sorted(sealed.parts.all(), key=lambda part: part.number)
            if part.received_at
        ],
    }


def _longest(times: list[datetime]) -> float | None:
    """Seconds of the longest time between two parts received."""
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return max(gaps, default=timedelta()).total_seconds() if len(times) > 1 else None


def evidence_pdf(attempt: Attempt, *, now: datetime) -> bytes:
    """The same for people, sealed by the platform (PAdES); the JSON is attached, under the same seal."""
    return pdf_of(evidence(attempt, now=now), now=now)


def pdf_of(said: dict[str, object], *, now: datetime, channel: bool = False) -> bytes:
    """A dossier for people: of the platform, or as the backup channel gave it."""
    title = "Dossier de preuve d'une tentative de dépôt"
    # The whole of it, to the last part, under the same seal: what the pages cut is in the file attached.
    whole = json.dumps(said, ensure_ascii=False, indent=1, sort_keys=True).encode()
    attached = Attachment("dossier-de-preuve.json", whole, "application/json", "Le dossier entier")
    pdf = render("evidence", as_shown(said, channel=channel), title=title)
    return seal(pdf, reason=title, now=now, attachments=[attached])


def as_shown(said: dict[str, object], *, channel: bool) -> dict[str, object]:
    """What the pages of a dossier show of it. Raises KeyError, TypeError, ValueError for what is not one."""
    zone = ZoneInfo(settings.TIME_ZONE)

    def local(text: object) -> str:
        if not text:
            return "–"
        return timezone.localtime(datetime.fromisoformat(str(text)), zone).strftime("%d/%m/%Y à %H:%M:%S")

    def rows(value: object) -> list[dict[str, object]]:
        return [dict(row) for row in value] if isinstance(value, list) else []

    received, journal, consultation = said["received"], said["journal"], said["consultation"]
    if not (isinstance(received, dict) and isinstance(journal, dict) and isinstance(consultation, dict)):
        raise TypeError("evidence")
    refusals, receipt, first = rows(said["refusals"]), said["receipt"], said["fingerprint"]
    there = said.get("backup_channel")
    return {
        **said,
        "backup_channel": None,
        "channel": channel,
        "there": _summary(there, local) if isinstance(there, dict) else None,
        "zone": settings.TIME_ZONE,
        "times": {
            **{name: local(said[name]) for name in ("started", "client_clock", "finalised", "issued")},
            **{name: local(received[name]) for name in ("first", "last")},
            "deposited": local(receipt["received"]) if isinstance(receipt, dict) else "–",
            "withdrawn": local(receipt["withdrawn"]) if isinstance(receipt, dict) else "–",
            "fingerprint": local(first["received"]) if isinstance(first, dict) else "–",
        },
        "deadlines": [
            {"at": local(each["at"]), "decided": local(each["decided"]), "reason": each["reason"]}
            for each in rows(consultation["deadlines"])
        ],
        "refusals": [{**each, "at": local(each["at"])} for each in refusals[-_PDF_REFUSALS:]],
        "refusals_count": len(refusals),
        "entries": [
            {"rank": _rank(each), "type": each["type"], "time": local(each["time"])}
            for each in rows(journal["entries"])
        ],
        "objects": [
            {
                "name": f"{envelope['kind']}, lot {envelope['lot']} : {each['name']}",
                "size": each["size"],
                "parts": f"{len(rows(each['parts']))} sur {each['parts_expected']}",
                "last": local(max((str(part["received"]) for part in rows(each["parts"])), default="")),
            }
            for envelope in rows(said["envelopes"])
            for each in rows(envelope["objects"])
        ][:_PDF_OBJECTS],
        "objects_count": sum(len(rows(envelope["objects"])) for envelope in rows(said["envelopes"])),
    }


def _summary(there: dict[str, Any], local: Callable[[object], str]) -> dict[str, object]:
    """What the backup channel met of it, in a few lines."""
    first = there["fingerprint"]
    return {
        "started": local(there["started"]),
        "received": there["received"]["parts"],
        "announced": there["announced"]["parts"],
        "last": local(there["received"]["last"]),
        "finalised": local(there["finalised"]),
        "fingerprint": local(first["received"]) if first else "–",
        "refusals": len(there["refusals"]),
        "key": there["journal"]["key"],
    }
