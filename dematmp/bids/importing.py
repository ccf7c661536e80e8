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
from datetime import datetime, timedelta

import httpx
from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import Organisation, User
from dematmp.audit.keys import channel_signer
from dematmp.audit.services import append, canonical, utc_text
from dematmp.bids.assembly import put_headers
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.models import Attempt, Bid, ChannelVisit, Envelope, Part, SealedObject
from dematmp.bids.offering import READER
from dematmp.bids.rules import is_late
from dematmp.consultations.models import Consultation
from signing.digests import CompositeDigest
from signing.errors import SigningError
from signing.passes import issue
from signing.tlog import verify_proof
from storage.stores import object_store

log = logging.getLogger(__name__)
_LASTS = timedelta(minutes=30)
_TIMEOUT = 60.0  # seconds
_LATELY = timedelta(days=90)
SETTLING = timedelta(seconds=30)
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
        answer = client.get("/deposits")
        answer.raise_for_status()
        if len(answer.content) > _LIST_BYTES:
            raise ChannelRefused("Le canal de secours annonce trop de dépôts.")
        said = answer.json()
        if said["key"] != settings.BACKUP_CHANNEL["journal_key"]:
            raise ChannelRefused("Le journal du canal de secours n'est pas celui des réglages.")
        fresh, refused = 0, []
        for told in said["deposits"]:
            try:
                fresh += _import(client, told, now=now)
            except ChannelRefused as wrong:  # the others are imported; what it is for does not open meanwhile
                refused.append((told["consultation"], str(wrong)))
    at, pending = datetime.fromisoformat(said["now"]), {*said["pending"], *(each for each, _ in refused)}
    lately = Consultation.objects.receiving(now=now - _LATELY)
    for consultation in lately.exclude(uuid__in=pending).order_by("pk"):
        deposits = consultation.bids.exclude(channel_key="").count()
        ChannelVisit.objects.update_or_create(
            consultation=consultation, defaults={"at": at, "deposits": deposits}
        )
    if refused:
        raise ChannelRefused(f"{refused[0][1]} ({len(refused)} dépôt(s) à examiner)")
    return fresh


def is_reconciled(consultation: Consultation) -> bool:
    """Whether the channel told, some time after the deadline by its clock, all that it received.

    True too where there is no channel. A request that came at the very deadline is written a little later.
    """
    if not settings.BACKUP_CHANNEL["url"] or consultation.twin_of_id or consultation.trial:
        return True
    visit, deadline = ChannelVisit.objects.filter(consultation=consultation).first(), consultation.deadline
    return visit is not None and (
        visit.waived_by_id is not None or (deadline is not None and visit.at > deadline + SETTLING)
    )


def reconcile_channel(consultation: Consultation, *, now: datetime) -> None:
    """Before an opening: what the channel received is among the others. Raises ChannelUnreachable."""
    if is_reconciled(consultation):
        return
    pull(now=now)
    if not is_reconciled(consultation):
        raise ChannelUnreachable(
            "Le canal de secours peut encore enregistrer un dépôt arrivé à la dernière seconde."
        )


@transaction.atomic
def waive(consultation: Consultation, *, why: str, by: User, now: datetime) -> None:
    """Open without the channel's word, when it is lost: who decided it, and why, is in the journal."""
    ChannelVisit.objects.update_or_create(
        consultation=consultation,
        defaults={"waived_by": by, "waived_why": why[:300]},
        create_defaults={"at": now, "waived_by": by, "waived_why": why[:300]},
    )
    append(
        "channel-waived",
        {"by": str(by.uuid), "why": why[:300]},
        consultation=consultation.uuid,
        now=now,
    )


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
        same = (record["deposit"], record["bidder"]) == (told["deposit"], told["bidder"])
    except (SigningError, ValueError, KeyError, TypeError) as bad:
        raise ChannelRefused("Un dépôt du canal de secours n'est pas à son journal.") from bad
    if not same:
        raise ChannelRefused("Un dépôt du canal de secours n'est pas celui de son enregistrement.")
    return record


def _rows(value: object) -> Sequence[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ChannelRefused("Le canal de secours a répondu autre chose que prévu.")
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
        held = {str(each.uuid) for each in known.envelopes.order_by("pk")}
        if known.bidder != bidder or known.consultation != consultation or held != set(described):
            raise ChannelRefused("Un dépôt du canal de secours a l'identifiant d'un autre.")
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
        envelope = Envelope.objects.create(
            uuid=str(each["envelope"]),
            attempt=made,
            lot=str(each["lot"]),
            kind=str(each["kind"]),
            header=base64.b64decode(str(each["header"])),
            keys=base64.b64decode(str(each["keys"])),
        )
        for one in _rows(described[str(envelope.uuid)]["objects"]):
            SealedObject.objects.create(
                envelope=envelope,
                name=str(one["name"]),
                size=int(str(one["size"])),
                part_bytes=int(str(one["part_bytes"])),
            )
    return made


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
    envelopes = {str(each["envelope"]): each for each in _rows(record["envelopes"])}
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
        for envelope in locked.envelopes.order_by("pk"):
            if hashlib.sha256(bytes(envelope.keys)).hexdigest() != envelopes[str(envelope.uuid)]["keys"]:
                raise ChannelRefused("Un dépôt du canal de secours n'a pas les clés de son enregistrement.")
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
        return Bid.objects.create(
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
