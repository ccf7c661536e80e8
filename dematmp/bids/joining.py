"""A deposit of the backup channel becomes a bid of the platform: everything is checked before a byte comes.

A refusal says whose doing it is: `ImportRefused` is the company's own, and holds back the opening of nobody.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import Organisation, User
from dematmp.audit.services import append, utc_text
from dematmp.bids import fingerprints
from dematmp.bids.channel_records import Told, digests_of, objects_of, received, rows
from dematmp.bids.entitled import could_bid
from dematmp.bids.errors import BytesRefused, ChannelRefused, ImportRefused
from dematmp.bids.models import Attempt, Bid, Envelope, Part, SealedObject
from dematmp.bids.rules import is_late
from dematmp.consultations.models import Consultation
from signing.header import header_hash

_OF_ANOTHER = "Un dépôt du canal de secours a l'identifiant d'un autre."
_OTHER_ENVELOPES = "Un dépôt du canal de secours n'a pas les enveloppes de son enregistrement."
_OTHER_BYTES = "L'entreprise a scellé, sous le même identifiant de dépôt, autre chose à la plateforme."


@dataclass(frozen=True)
class Claim:
    """What the channel tells of one deposit, its proven record, and what they are of here."""

    told: Told
    record: Told
    consultation: Consultation
    bidder: Organisation


def check(claim: Claim) -> Attempt | None:
    """The attempt of the same deposit here, if any; nothing told conflicts with what is known.

    Raises ImportRefused (the company's doing), ChannelRefused.
    """
    record, told = claim.record, claim.told
    known = Attempt.objects.filter(deposit=str(told["deposit"])).first()
    if known is not None and (known.bidder != claim.bidder or known.consultation != claim.consultation):
        raise ImportRefused(_OF_ANOTHER)
    described = _described(record)
    _check_told(told, described)
    _person(record["account"], claim.bidder, at=received(record))
    if known is None:
        _person(told["by"], claim.bidder, at=datetime.fromisoformat(str(told["started"])))
        if Envelope.objects.filter(uuid__in=list(described)).exists():
            raise ImportRefused("Un dépôt du canal de secours porte un pli d'un autre dépôt.")
    elif _held(known) != described:
        raise ImportRefused(_OTHER_BYTES)
    else:
        _check_objects(known, record)
    if claim.consultation.deadline is None:
        raise ChannelRefused("Cette consultation n'a pas de date limite.")
    return known


def _described(record: Told) -> dict[str, tuple[object, ...]]:
    return {
        str(each["envelope"]): tuple(each[field] for field in ("lot", "kind", "header", "keys"))
        for each in rows(record["envelopes"])
    }


def _held(attempt: Attempt) -> dict[str, tuple[object, ...]]:
    return {
        str(each.uuid): (
            each.lot,
            each.kind,
            header_hash(bytes(each.header)).hex(),
            hashlib.sha256(bytes(each.keys)).hexdigest(),
        )
        for each in attempt.envelopes.order_by("pk")
    }


def _check_told(told: Told, described: Mapping[str, tuple[object, ...]]) -> None:
    """What is told of the envelopes is what the record says of them. Raises ChannelRefused."""
    envelopes = rows(told["envelopes"])
    said = {
        str(each["envelope"]): (
            header_hash(base64.b64decode(str(each["header"]))).hex(),
            hashlib.sha256(base64.b64decode(str(each["keys"]))).hexdigest(),
        )
        for each in envelopes
    }
    if len(said) != len(envelopes) or said != {key: each[2:] for key, each in described.items()}:
        raise ChannelRefused(_OTHER_ENVELOPES)


def _check_objects(known: Attempt, record: Told) -> None:
    """The objects that this attempt announced, and those that it brought, are those of the record."""
    proven = objects_of(record)
    announced = SealedObject.objects.filter(envelope__attempt=known).select_related("envelope").order_by("pk")
    mine = {(str(each.envelope.uuid), each.name): each for each in announced}
    if set(mine) != set(proven):
        raise ImportRefused(_OTHER_BYTES)
    for key, each in mine.items():
        size, sha256 = proven[key]
        if each.size != size or (each.completed_at is not None and each.sha256 != sha256):
            raise ImportRefused(_OTHER_BYTES)


def _person(text: object, bidder: Organisation, *, at: datetime) -> User:
    """Who acted, if the company had given them a role then. Raises ImportRefused, ChannelRefused."""
    found = User.objects.filter(uuid=str(text)).first()
    if found is None:
        raise ChannelRefused("Un dépôt du canal de secours est d'une personne inconnue ici.")
    if not could_bid(found, bidder, at=at):
        raise ImportRefused(
            "Un dépôt du canal de secours est d'une personne qui n'agissait plus pour cette entreprise."
        )
    return found


@transaction.atomic
def open_attempt(claim: Claim) -> Attempt:
    """The attempt that the company began there, for one that it had not begun here."""
    told, described = claim.told, {str(each["envelope"]): each for each in rows(claim.record["envelopes"])}
    made = Attempt.objects.create(
        uuid=str(told["attempt"]),
        deposit=str(told["deposit"]),
        consultation=claim.consultation,
        bidder=claim.bidder,
        by=User.objects.get(uuid=str(told["by"])),
        started_at=datetime.fromisoformat(str(told["started"])),
        client_clock=datetime.fromisoformat(str(told["client_clock"])) if told["client_clock"] else None,
        announced_bytes=int(str(told["announced_bytes"])),
    )
    for each in rows(told["envelopes"]):
        proven = described[str(each["envelope"])]
        envelope = Envelope.objects.create(
            uuid=str(each["envelope"]),
            attempt=made,
            lot=str(proven["lot"]),
            kind=str(proven["kind"]),
            header=base64.b64decode(str(each["header"])),
            keys=base64.b64decode(str(each["keys"])),
        )
        for one in rows(proven["objects"]):
            SealedObject.objects.create(
                envelope=envelope,
                name=str(one["name"]),
                size=int(str(one["size"])),
                part_bytes=int(str(one["part_bytes"])),
            )
    return made


def join(claim: Claim, attempt: Attempt, *, clock_ms: int, now: datetime) -> Bid | None:
    """Its bid, received when the channel received it; None while the platform itself records the same
    deposit, to be asked again.

    One that the platform received later takes the earlier instant, its proof and its number: a company is
    never late for having sent the same deposit once more. `clock_ms`: how far the channel's clock was from
    ours. Raises BytesRefused.
    """
    record = claim.record
    with transaction.atomic():
        consultation = Consultation.every.select_for_update(no_key=True).get(pk=attempt.consultation.pk)
        locked = Attempt.objects.select_for_update(no_key=True).get(pk=attempt.pk)
        here = Bid.objects.filter(attempt=locked).first()
        if here is not None and (here.channel_key or here.received_at <= received(record)):
            return here
        if here is None and locked.finalised_at is not None:
            return None  # received here too, before: the sweep is making its bid
        sealed = list(SealedObject.objects.filter(envelope__attempt=locked).select_related("envelope"))
        if {(str(each.envelope.uuid), each.name): (each.size, each.sha256) for each in sealed} != objects_of(
            record
        ):
            raise BytesRefused("Un dépôt du canal de secours n'a pas les octets de son enregistrement.")
        _lay_parts(claim, sealed)
        SealedObject.objects.filter(envelope__attempt=locked, completed_at=None).update(
            completed_at=now, upload_id=""
        )
        Attempt.objects.filter(pk=locked.pk).update(
            started_at=min(locked.started_at, datetime.fromisoformat(str(record["started"]))),
            finalised_at=received(record),
            finalised_by=User.objects.get(uuid=str(record["account"])),
            preflight=claim.told["preflight"],
        )
        deadline = consultation.deadline
        if deadline is None:
            raise ChannelRefused("Cette consultation n'a pas de date limite.")
        replaced = {"number": here.number, "received": utc_text(here.received_at)} if here else None
        first = {} if fingerprints.holds(locked, digests_of(record)) else {"fingerprint": "other"}
        append(
            "deposit-imported",
            {
                "deposit": str(claim.told["deposit"]),
                "sha256": hashlib.sha256(base64.b64decode(str(claim.told["record"]))).hexdigest(),
                "received": utc_text(received(record)),
                "deadline": utc_text(deadline),
                "late": is_late(received(record), deadline),
                "key": settings.BACKUP_CHANNEL["journal_key"],
                "index": claim.told["index"],
                "imported": utc_text(now),
                "clock_milliseconds": clock_ms,
                **first,
                **({"replaces": replaced} if replaced else {}),
            },
            consultation=consultation.uuid,
            subject=locked.uuid,
            now=now,
        )
        return _save(claim, here or Bid(attempt=locked, consultation=consultation), deadline)


def _save(claim: Claim, bid: Bid, deadline: datetime) -> Bid:
    told = claim.told
    bid.uuid, bid.bidder, bid.number = str(told["deposit"]), claim.bidder, str(told["number"])
    bid.received_at, bid.deadline = received(claim.record), deadline
    bid.late = is_late(bid.received_at, deadline)
    bid.record = base64.b64decode(str(told["record"]))
    bid.journal_index, bid.proof = int(str(told["index"])), str(told["proof"])
    bid.nonce = bytes.fromhex(str(told["nonce"]))
    bid.token = base64.b64decode(str(told["token"])) if told["token"] else None
    bid.token_authority = str(told["token_authority"])
    bid.token_at = datetime.fromisoformat(str(told["token_at"])) if told["token_at"] else None
    bid.receipt_pdf = base64.b64decode(str(told["receipt_pdf"])) if told["receipt_pdf"] else None
    bid.receipt_stamped = bool(told["receipt_stamped"])
    bid.channel_key = settings.BACKUP_CHANNEL["journal_key"]
    bid.clean_fields(exclude=["attempt", "consultation", "bidder"])  # SQLite measures nothing
    bid.save()
    return bid


def _lay_parts(claim: Claim, sealed: list[SealedObject]) -> None:
    """The parts as the channel received them: the record's hours are theirs."""
    by_name = {(str(each.envelope.uuid), each.name): each for each in sealed}
    Part.objects.filter(object__in=sealed).delete()
    for envelope in rows(claim.told["envelopes"]):
        for one in rows(envelope["objects"]):
            of = by_name[str(envelope["envelope"]), str(one["name"])]
            for part in rows(one["parts"]):
                at = datetime.fromisoformat(str(part["received"]))
                number, sha256 = int(str(part["number"])), str(part["sha256"])
                Part.objects.create(object=of, number=number, sha256=sha256, received_at=at)
