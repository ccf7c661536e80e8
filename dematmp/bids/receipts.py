"""The receipt.

What was received, when, and the proofs, as JSON and as a sealed PDF (annexe 8, article 2-II).
"""

import base64
import hashlib
import json
import uuid
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.utils import timezone as django_timezone

from dematmp.accounts.models import Organisation
from dematmp.audit.documents import render
from dematmp.audit.keys import verifier_of
from dematmp.audit.sealing import seal
from dematmp.audit.services import append, canonical, utc_text
from dematmp.audit.stamping import obtain_token
from dematmp.audit.tokens import keep_token
from dematmp.bids.models import Bid, Part
from dematmp.bids.preflight import sentence
from dematmp.consultations.models import Consultation
from dematmp.mails.words import instant
from signing.pdf import Attachment
from signing.timestamps import Stamp


def mentions(consultation: Consultation, bidder: Organisation) -> dict[str, Any]:
    """Who, for whom and for what: the names that a receipt says, as they are now."""
    buyer = consultation.buyer
    return {
        "operator": settings.OPERATOR_NAME,
        "buyer": {"name": buyer.name, "siret": buyer.siret},
        "consultation": {
            "reference": consultation.reference,
            "title": consultation.title,
            "object": consultation.object,
        },
        "bidder": {"name": bidder.name, "siret": bidder.siret},
    }


def receipt(bid: Bid) -> dict[str, object]:
    """The receipt as plain values, which says what its record says.

    The same at each call, but for the token that is added when an authority answers. What the platform
    decided since of a deposit that its backup channel received is another entry of its journal
    (`deposit-imported`): the channel proves nothing of it.
    """
    record = json.loads(bytes(bid.record))
    said = record.get("mentions") or mentions(bid.consultation, bid.bidder)  # records of before have none
    return {
        "v": "receipt/1",
        "number": bid.number,
        "deposit": str(bid.uuid),
        "operator": said["operator"],
        "buyer": said["buyer"],
        "consultation": {"uuid": str(bid.consultation.uuid), **said["consultation"]},
        "bidder": {**said["bidder"], "uuid": str(bid.bidder.uuid)},
        "received": utc_text(bid.received_at),
        "deadline": record["deadline"],
        "state": "late" if record["late"] else "in-time",
        "attempt": _history(bid, record),
        "envelopes": record["envelopes"],
        "record": base64.b64encode(bytes(bid.record)).decode(),
        "journal": {
            "index": bid.journal_index,
            "nonce": bytes(bid.nonce).hex(),
            "proof": bid.proof,
            "key": bid.channel_key or verifier_of(bid.proof),
        },
        "timestamp": {
            "token": base64.b64encode(bytes(bid.token)).decode() if bid.token else None,
            "authority": bid.token_authority or None,
            "time": utc_text(bid.token_at) if bid.token_at else None,
            "qualified": False,
        },
    }


def judged_since(bid: Bid) -> str:
    """What was decided of a deposit after its receipt was sealed, in French; the empty string for nothing.

    A receipt of the backup channel knows its own deadline only, and one sealed while an extension was being
    written the former one. Which was written last is in the journal.
    """
    said = json.loads(bytes(bid.record))
    sealed = "hors délai" if said["late"] else "dans les délais"
    now = "hors délai" if bid.late else "dans les délais"
    if said["late"] == bid.late:
        decided = f"La plateforme l'a pris en compte : {now}." if bid.channel_key else ""
    else:
        decided = (
            f"L'accusé le dit {sealed} ; par la date limite de la plateforme, le {instant(bid.deadline)}, il "
            f"est {now} : c'est elle qui compte, et le journal l'a inscrit."
        )
    if bid.withdrawn_at is not None:
        decided += f" Il a été retiré le {instant(bid.withdrawn_at)} : l'accusé ne le dit pas."
    return decided.strip()


def _history(bid: Bid, record: dict[str, object]) -> dict[str, object]:
    """How the attempt went until it was received. Its hours are those of the record, which verifiers compare;
    nothing signs how many parts it had, and how many refusals it met."""
    attempt = bid.attempt
    parts = Part.objects.filter(object__envelope__attempt=attempt, received_at__lte=bid.received_at)
    return {
        **{name: record[name] for name in ("started", "first_part", "last_part")},
        "uuid": record["attempt"],
        "parts": parts.count(),
        "refusals": attempt.refusals.filter(at__lte=bid.received_at).count(),
    }


def checks(bid: Bid) -> list[tuple[str, str, str]]:
    """(lot, kind, what was checked before sealing) of each envelope, in French."""
    return [
        (each["lot"], each["kind"], sentence(each.get("preflight"), files=max(0, len(each["objects"]) - 2)))
        for each in json.loads(bytes(bid.record))["envelopes"]
    ]


def stamp(bid: Bid, *, now: datetime) -> bool:
    """Ask the authorities, in order, for a token over the record.

    True when the bid has one. May run twice.
    """
    if bid.token is not None:
        return True
    stamped = obtain_token(bytes(bid.record), now=now)
    if stamped is None:
        return False
    token, authority = stamped
    with transaction.atomic():
        changed = Bid.objects.filter(pk=bid.pk, token=None).update(
            token=token.response, token_authority=authority, token_at=token.token.gen_time
        )
        if changed:
            if not bid.channel_key:  # the registers show it beside its line
                keep_token(bid.journal_index, stamped)
            record_token(stamped, of=bid.uuid, consultation=bid.consultation.uuid, now=now)
    return True


def record_token(
    stamped: tuple[Stamp, str], *, of: uuid.UUID, consultation: uuid.UUID, now: datetime
) -> None:
    """The journal's entry of a token obtained, in the caller's transaction."""
    stamp, authority = stamped
    append(
        "timestamp",
        {
            "of": str(of),
            "authority": authority,
            "time": utc_text(stamp.token.gen_time),
            "sha256": hashlib.sha256(stamp.response).hexdigest(),
            "request": base64.b64encode(stamp.request).decode(),
        },
        consultation=consultation,
        subject=of,
        now=now,
    )


def receipt_pdf(bid: Bid, *, now: datetime) -> bytes:
    """The receipt as a tagged PDF sealed by the platform's key (PAdES)."""
    zone = ZoneInfo(settings.TIME_ZONE)
    data = receipt(bid)
    data["received_local"] = _local(bid.received_at, zone)
    data["deadline_local"] = _local(datetime.fromisoformat(str(data["deadline"])), zone)
    data["token_local"] = _local(bid.token_at, zone) if bid.token_at else ""
    data["zone"] = settings.TIME_ZONE
    started = json.loads(bytes(bid.record))["started"]
    data["started_local"] = _local(datetime.fromisoformat(started), zone)
    data["checks"] = checks(bid)
    data["checkpoint"] = bid.proof.split("\n\n", 1)[-1]
    pdf = render("receipt", data, title=f"Accusé de réception {bid.number}")
    return seal(pdf, reason="Accusé de réception électronique", now=now, attachments=_attachments(bid))


def _attachments(bid: Bid) -> list[Attachment]:
    """What `python -m signing verify` reads, inside the PDF: nothing else is needed to verify it."""
    said = canonical(receipt(bid))
    attached = [
        Attachment("receipt.json", said, "application/json", "Accusé de réception vérifiable"),
        Attachment(
            "record", bytes(bid.record), "application/json", "Enregistrement horodaté, octet par octet"
        ),
        Attachment("proof.tlog-proof", bid.proof.encode(), "text/plain", "Preuve d'inclusion au journal"),
    ]
    if bid.token:
        token = bytes(bid.token)
        attached.append(Attachment("token.tst", token, "application/timestamp-reply", "Jeton d'horodatage"))
    return attached


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return django_timezone.localtime(moment, zone).strftime("%d/%m/%Y à %H:%M:%S")
