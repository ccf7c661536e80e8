"""Deposits received by the backup channel join the others, at the time at which that channel received them.

Each is believed for its own proof: its record is in the channel's journal, under the key of our settings, and
its objects have the digests of that record.
"""

import base64
import contextlib
import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import httpx
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction

from dematmp.accounts.models import Organisation, User
from dematmp.audit.keys import channel_signer
from dematmp.audit.services import append, canonical, utc_text
from dematmp.bids.assembly import put_headers
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.models import Attempt, Bid, ChannelVisit, Envelope, Part, SealedObject
from dematmp.bids.offering import LATELY, READER
from dematmp.bids.rules import is_late
from dematmp.consultations.models import Consultation
from signing.digests import CompositeDigest
from signing.errors import SigningError
from signing.header import header_hash
from signing.passes import issue
from signing.tlog import verify_proof
from storage.stores import object_store

log = logging.getLogger(__name__)
_LASTS = timedelta(minutes=30)
_TIMEOUT = 60.0  # seconds
# What a deposit raises whose fields are not what they should be, before or in the database.
_UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, ValidationError, DatabaseError)
_NOT_AS_EXPECTED = "Le canal de secours a répondu autre chose que prévu."
_LIST_BYTES = 512 * 1024**2


@contextlib.contextmanager
def _channel(*, now: datetime) -> Iterator[httpx.Client]:
    """The backup channel, as its reader. Raises ChannelUnreachable for whatever happens on the way."""
    text = issue(channel_signer(), READER, {}, now=now, lasts=_LASTS)
    base = f"{settings.BACKUP_CHANNEL['url']}/api/v1/channel"
    try:
        with httpx.Client(
            base_url=base, headers={"Authorization": f"Bearer {text}"}, timeout=_TIMEOUT
        ) as client:
            yield client
    except (httpx.HTTPError, ValueError) as failed:
        raise ChannelUnreachable("Le canal de secours ne répond pas.") from failed


def pull(*, now: datetime) -> int:
    """Import what the backup channel holds: how many deposits are new. May run twice, may be killed anywhere.

    Raises ChannelUnreachable, ChannelRefused (a deposit that is not what its record says).
    """
    if not settings.BACKUP_CHANNEL["url"]:
        return 0
    with _channel(now=now) as client:
        at, pending, deposits = _list(client)
        fresh, refused = 0, list[str]()
        for told in deposits:
            try:
                fresh += _import(client, told, now=now)
            except _UNREADABLE as bad:
                log.warning("un dépôt du canal de secours est illisible : %r", bad)
                refused.append(_NOT_AS_EXPECTED)
            except ChannelRefused as wrong:
                refused.append(str(wrong))
            else:
                continue
            # The others are imported; what it is for does not open meanwhile.
            pending |= _named(told)
    lately = Consultation.objects.receiving(now=now - LATELY)
    for consultation in lately.exclude(uuid__in=pending).order_by("pk"):
        count = consultation.bids.exclude(channel_key="").count()
        ChannelVisit.objects.update_or_create(
            consultation=consultation, defaults={"at": at, "deposits": count}
        )
    if refused:
        raise ChannelRefused(f"{refused[0]} ({len(refused)} dépôt(s) à examiner)")
    return fresh


def _named(told: Mapping[str, object]) -> set[uuid.UUID]:
    """The consultations that a refused deposit may be of: its own word, and its record's."""
    named = {uuid.UUID(str(told["consultation"]))}
    with contextlib.suppress(*_UNREADABLE):
        named.add(uuid.UUID(json.loads(base64.b64decode(str(told["record"])))["consultation"]))
    return named


def _list(client: httpx.Client) -> tuple[datetime, set[uuid.UUID], Sequence[Mapping[str, object]]]:
    """Its clock, the consultations for which it is still recording, its deposits. Raises ChannelRefused."""
    answer = client.get("/deposits")
    answer.raise_for_status()
    if len(answer.content) > _LIST_BYTES:
        raise ChannelRefused("Le canal de secours annonce trop de dépôts.")
    said = answer.json()
    try:
        at = datetime.fromisoformat(said["now"]).astimezone(UTC)
        key, deposits = said["key"], _rows(said["deposits"])
        pending = {uuid.UUID(str(each)) for each in said["pending"]}
        for each in deposits:
            uuid.UUID(str(each["consultation"]))  # if one could be of any, nothing is told of the others
    except (KeyError, TypeError, ValueError, OverflowError) as bad:
        raise ChannelRefused(_NOT_AS_EXPECTED) from bad
    if key != settings.BACKUP_CHANNEL["journal_key"]:
        raise ChannelRefused("Le journal du canal de secours n'est pas celui des réglages.")
    return at, pending, deposits


def _import(client: httpx.Client, told: Mapping[str, object], *, now: datetime) -> int:
    """1 when this deposit is new here, else 0; a withdrawal made there since is noted."""
    deposit = uuid.UUID(str(told["deposit"]))
    known = Bid.objects.filter(uuid=deposit).first()
    if known is None:
        record = _proven(told)
        consultation = Consultation.objects.public().filter(uuid=str(record["consultation"])).first()
        bidder = Organisation.objects.filter(uuid=str(record["bidder"])).first()
        if consultation is None or bidder is None:
            log.warning("le dépôt %s du canal de secours est d'une consultation inconnue ici", deposit)
            return 0
        attempt = _attempt(told, record, consultation, bidder)
        for sealed, envelope in _objects(attempt):
            _fetch(client, sealed, envelope)
        put_headers(attempt.envelopes.select_related("attempt__consultation").order_by("pk"))
        # Every byte is in our store: a crash from here is finished by the next run.
        with transaction.atomic():
            known = _record(told, record, attempt, now=now)
            if known is None:
                return 0
            _withdraw(known, told, now=now)
        return 1
    _withdraw(known, told, now=now)
    return 0


def _proven(told: Mapping[str, object]) -> dict[str, object]:
    """The deposit record, once it is in the channel's journal. Raises ChannelRefused."""
    try:
        data = base64.b64decode(str(told["record"]), validate=True)
        record: dict[str, object] = json.loads(data)
        nonce = bytes.fromhex(str(told["nonce"]))
        leaf = {
            "consultation": record["consultation"],
            "digest": hashlib.sha256(nonce + data).hexdigest(),
            "time": record["received"],
            "type": "deposit",
        }
        verify_proof(str(told["proof"]), canonical(leaf), settings.BACKUP_CHANNEL["journal_key"])
        same = all(record[each] == told[each] for each in ("deposit", "bidder", "consultation"))
    except (SigningError, ValueError, KeyError, TypeError) as bad:
        raise ChannelRefused("Un dépôt du canal de secours n'est pas à son journal.") from bad
    if not same:
        raise ChannelRefused("Un dépôt du canal de secours n'est pas celui de son enregistrement.")
    return record


def _rows(value: object) -> Sequence[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ChannelRefused(_NOT_AS_EXPECTED)
    return value


def _person(text: object, bidder: Organisation) -> User:
    found = User.objects.filter(uuid=str(text), memberships__organisation=bidder).first()
    if found is None:
        raise ChannelRefused("Un dépôt du canal de secours est d'une personne inconnue ici.")
    return found


@transaction.atomic
def _attempt(
    told: Mapping[str, object],
    record: Mapping[str, object],
    consultation: Consultation,
    bidder: Organisation,
) -> Attempt:
    """The attempt that the company had begun here, or the one that it began there."""
    known = Attempt.objects.filter(deposit=str(told["deposit"])).first()
    described = {str(each["envelope"]): each for each in _rows(record["envelopes"])}
    if known is not None:
        if known.bidder != bidder or known.consultation != consultation:
            raise ChannelRefused("Un dépôt du canal de secours a l'identifiant d'un autre.")
        _check_envelopes(known, described)
        return known
    made = Attempt.objects.create(
        uuid=str(told["attempt"]),
        deposit=str(told["deposit"]),
        consultation=consultation,
        bidder=bidder,
        by=_person(told["by"], bidder),
        started_at=datetime.fromisoformat(str(told["started"])),
        client_clock=datetime.fromisoformat(str(told["client_clock"])) if told["client_clock"] else None,
        announced_bytes=int(str(told["announced_bytes"])),
    )
    for each in _rows(told["envelopes"]):
        proven = described[str(each["envelope"])]
        envelope = Envelope.objects.create(
            uuid=str(each["envelope"]),
            attempt=made,
            lot=str(proven["lot"]),
            kind=str(proven["kind"]),
            header=base64.b64decode(str(each["header"])),
            keys=base64.b64decode(str(each["keys"])),
        )
        for one in _rows(proven["objects"]):
            SealedObject.objects.create(
                envelope=envelope,
                name=str(one["name"]),
                size=int(str(one["size"])),
                part_bytes=int(str(one["part_bytes"])),
            )
    _check_envelopes(made, described)
    return made


def _check_envelopes(attempt: Attempt, described: Mapping[str, Mapping[str, object]]) -> None:
    """What we hold of its envelopes is what the record says of them. Raises ChannelRefused."""
    held = {
        str(each.uuid): (
            each.lot,
            each.kind,
            header_hash(bytes(each.header)).hex(),
            hashlib.sha256(bytes(each.keys)).hexdigest(),
        )
        for each in attempt.envelopes.order_by("pk")
    }
    proven = {
        uuid_: tuple(each[field] for field in ("lot", "kind", "header", "keys"))
        for uuid_, each in described.items()
    }
    if held != proven:
        raise ChannelRefused("Un dépôt du canal de secours n'a pas les enveloppes de son enregistrement.")


def _objects(attempt: Attempt) -> Iterator[tuple[SealedObject, Envelope]]:
    found = SealedObject.objects.filter(envelope__attempt=attempt, completed_at=None)
    for each in found.select_related("envelope__attempt__consultation").order_by("pk"):
        yield each, each.envelope


def _fetch(client: httpx.Client, sealed: SealedObject, envelope: Envelope) -> None:
    """Bring the bytes of one object; they are checked against the record when the deposit is recorded."""
    store, digest = object_store(), CompositeDigest(sealed.part_bytes)

    def blocks() -> Iterator[bytes]:
        with client.stream("GET", f"/objects/{envelope.uuid}/{sealed.name}") as answer:
            answer.raise_for_status()
            for block in answer.iter_bytes(1024**2):
                digest.update(block)
                yield block

    if sealed.upload_id:
        store.abort(sealed.key, sealed.upload_id)
    if store.put_stream(sealed.key, blocks()).size != sealed.size:
        raise ChannelUnreachable("Le canal de secours a coupé un envoi.")
    SealedObject.objects.filter(pk=sealed.pk).update(sha256=digest.hexdigest())


def _record(
    told: Mapping[str, object], record: Mapping[str, object], attempt: Attempt, *, now: datetime
) -> Bid | None:
    """Its bid; None while the platform itself records the same deposit. Raises ChannelRefused."""
    received = datetime.fromisoformat(str(record["received"]))
    described = {
        (str(envelope["envelope"]), str(each["name"])): str(each["sha256"])
        for envelope in _rows(record["envelopes"])
        for each in _rows(envelope["objects"])
    }
    with transaction.atomic():
        consultation = Consultation.every.select_for_update(no_key=True).get(pk=attempt.consultation.pk)
        locked = Attempt.objects.select_for_update(no_key=True).get(pk=attempt.pk)
        if (done := Bid.objects.filter(attempt=locked).first()) is not None:
            return done
        if locked.finalised_at is not None:  # received here too, before: the sweep is making its bid
            return None
        sealed = list(SealedObject.objects.filter(envelope__attempt=locked).select_related("envelope"))
        if {(str(each.envelope.uuid), each.name): each.sha256 for each in sealed} != described:
            SealedObject.objects.filter(envelope__attempt=locked).update(sha256="")
            raise ChannelRefused("Un dépôt du canal de secours n'a pas les octets de son enregistrement.")
        Part.objects.filter(object__envelope__attempt=locked).delete()
        by_name = {(str(each.envelope.uuid), each.name): each for each in sealed}
        for told_envelope in _rows(told["envelopes"]):
            for one in _rows(told_envelope["objects"]):
                of = by_name[str(told_envelope["envelope"]), str(one["name"])]
                for part in _rows(one["parts"]):
                    at = datetime.fromisoformat(str(part["received"]))
                    number, sha256 = int(str(part["number"])), str(part["sha256"])
                    Part.objects.create(object=of, number=number, sha256=sha256, received_at=at)
        SealedObject.objects.filter(envelope__attempt=locked).update(completed_at=now, upload_id="")
        Attempt.objects.filter(pk=locked.pk).update(
            finalised_at=received,
            finalised_by=_person(told["finalised_by"], attempt.bidder),
            preflight=told["preflight"],
        )
        deadline = consultation.deadline
        if deadline is None:
            raise ChannelRefused("Cette consultation n'a pas de date limite.")
        append(
            "deposit-imported",
            {
                "deposit": str(told["deposit"]),
                "sha256": hashlib.sha256(base64.b64decode(str(told["record"]))).hexdigest(),
                "received": utc_text(received),
                "deadline": utc_text(deadline),
                "late": is_late(received, deadline),
                "key": settings.BACKUP_CHANNEL["journal_key"],
                "index": told["index"],
                "imported": utc_text(now),
            },
            consultation=consultation.uuid,
            subject=locked.uuid,
            now=now,
        )
        bid = Bid(
            uuid=str(told["deposit"]),
            attempt=locked,
            consultation=consultation,
            bidder=locked.bidder,
            number=str(told["number"]),
            received_at=received,
            deadline=deadline,
            late=is_late(received, deadline),
            record=base64.b64decode(str(told["record"])),
            journal_index=int(str(told["index"])),
            nonce=bytes.fromhex(str(told["nonce"])),
            proof=str(told["proof"]),
            token=base64.b64decode(str(told["token"])) if told["token"] else None,
            token_authority=str(told["token_authority"]),
            token_at=datetime.fromisoformat(str(told["token_at"])) if told["token_at"] else None,
            receipt_pdf=base64.b64decode(str(told["receipt_pdf"])) if told["receipt_pdf"] else None,
            receipt_stamped=bool(told["receipt_stamped"]),
            channel_key=settings.BACKUP_CHANNEL["journal_key"],
        )
        bid.clean_fields(exclude=["attempt", "consultation", "bidder"])  # SQLite measures nothing
        bid.save(force_insert=True)
        return bid


def _withdraw(bid: Bid, told: Mapping[str, object], *, now: datetime) -> None:
    """A deposit withdrawn there, in time, is withdrawn here, at that time."""
    if bid.withdrawn_at is not None or not told["withdrawn"]:
        return
    at = datetime.fromisoformat(str(told["withdrawn"]))
    with transaction.atomic():
        consultation = Consultation.every.select_for_update(no_key=True).get(pk=bid.consultation.pk)
        if consultation.deadline is None or at > consultation.deadline:
            return
        if Bid.objects.filter(pk=bid.pk, withdrawn_at=None).update(withdrawn_at=at):
            append(
                "withdrawal",
                {"deposit": str(bid.uuid), "at": utc_text(at), "channel": "backup"},
                consultation=consultation.uuid,
                subject=bid.uuid,
                now=now,
            )
