"""An attempt.

Begun at the first byte, fed in parts, resumable; what is received is acknowledged with its time.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from django.db import IntegrityError, transaction
from django.db.models import Sum

from dematmp.accounts.models import Organisation, User
from dematmp.audit.services import append, utc_text
from dematmp.bids import presence
from dematmp.bids.clock import current
from dematmp.bids.errors import (
    AlreadyDeposited,
    BidError,
    EnvelopeRefused,
    LimitExceeded,
    NotOpenYet,
    PartCorrupt,
    PartRefused,
    PartTruncated,
    TooManyBegun,
)
from dematmp.bids.models import Attempt, Envelope, Part, SealedObject
from dematmp.consultations.models import Consultation
from signing.digests import part_bytes_for
from signing.errors import SigningError
from signing.header import Header, header_hash, parse_header
from signing.keys import key_hash
from storage import errors as storage_errors
from storage.stores import object_store

STANZAS_BYTES = 2336
_SMALLEST_OBJECT = 56 + 16  # bytes: salt, commitment and one empty chunk's tag


@dataclass(frozen=True)
class EnvelopeOffer:
    """What a client announces of one envelope.

    Header and stanzas as bytes, sizes of its sealed objects by name.
    """

    header: bytes
    keys: bytes
    sizes: Mapping[str, int]


def begin(
    consultation: Consultation,
    *,
    bidder: Organisation,
    by: User,
    offers: Sequence[EnvelopeOffer],
    client_clock: datetime | None,
    now: datetime,
) -> Attempt:
    """Open an attempt, or give back the one that the same deposit already opened.

    Late attempts are opened too (annexe 7). Raises EnvelopeRefused, LimitExceeded, TooManyBegun, NotOpenYet.
    """
    if consultation.published_at is None:
        raise NotOpenYet("Cette consultation n'est pas publiée.")
    headers = [_parsed(offer) for offer in offers]
    deposits = {header.deposit for header in headers}
    if len(deposits) != 1 or len({header.envelope for header in headers}) != len(headers):
        raise EnvelopeRefused("Les plis d'un dépôt portent le même identifiant de dépôt et chacun le sien.")
    deposit = uuid.UUID(deposits.pop())
    if (known := _same_attempt(deposit, bidder, offers)) is not None and known.consultation == consultation:
        return known  # begun under the limits of then; those of now are for what it finalises
    for header, offer in zip(headers, offers, strict=True):
        _check(consultation, bidder, header, offer)
    announced = sum(sum(offer.sizes.values()) for offer in offers)
    try:
        with transaction.atomic():
            if not by.is_robot:
                # Two beginnings of one company at once count each other.
                Organisation.objects.select_for_update(no_key=True).get(pk=bidder.pk)
                _check_quota(consultation, bidder, announced, now=now)
            attempt = Attempt.objects.create(
                deposit=deposit,
                consultation=consultation,
                bidder=bidder,
                by=by,
                started_at=now,
                client_clock=client_clock,
                announced_bytes=announced,
            )
            for offer, header in zip(offers, headers, strict=True):
                envelope = Envelope.objects.create(
                    uuid=header.envelope,
                    attempt=attempt,
                    lot=header.lot,
                    kind=header.kind,
                    header=offer.header,
                    keys=offer.keys,
                )
                SealedObject.objects.bulk_create(
                    SealedObject(envelope=envelope, name=name, size=size, part_bytes=part_bytes_for(size))
                    for name, size in offer.sizes.items()
                )
            append(
                "attempt",
                {
                    "attempt": str(attempt.uuid),
                    "deposit": str(deposit),
                    "consultation": str(consultation.uuid),
                    "bidder": str(bidder.uuid),
                    "by": str(by.uuid),
                    "headers": [header_hash(offer.header).hex() for offer in offers],
                    "bytes": announced,
                    "objects": sum(len(offer.sizes) for offer in offers),
                    "client_clock": utc_text(client_clock) if client_clock else None,
                    "server_clock": utc_text(now),
                },
                consultation=consultation.uuid,
                subject=attempt.uuid,
                now=now,
            )
    except IntegrityError as raced:
        if (known := _same_attempt(deposit, bidder, offers)) is not None:
            return known
        raise EnvelopeRefused("Un de ces plis appartient déjà à un autre dépôt.") from raced
    return attempt


def _check_quota(consultation: Consultation, bidder: Organisation, announced: int, *, now: datetime) -> None:
    """What one company may begin for one consultation. Raises TooManyBegun, LimitExceeded."""
    limits, mine = consultation.deposit_limits, Attempt.objects.of(bidder).filter(consultation=consultation)
    begun = mine.filter(finalised_at=None).count()
    if begun >= limits["attempts"]:
        raise TooManyBegun(
            f"Votre entreprise a déjà {begun} dépôts commencés et non finalisés pour cette consultation."
        )
    deadline = consultation.deadline
    if deadline is not None and now > deadline:
        late = mine.filter(started_at__gt=deadline).count()
        if late >= limits["late_attempts"]:
            raise TooManyBegun(
                f"Votre entreprise a déjà commencé {late} dépôts après la date limite de cette consultation.",
            )
    held = mine.filter(destroyed_at=None).aggregate(total=Sum("announced_bytes"))["total"] or 0
    if held + announced > limits["company_bytes"]:
        raise LimitExceeded(
            f"Avec celui-ci, vos dépôts pour cette consultation annonceraient "
            f"{_megabytes(held + announced)} ; la limite est de {_megabytes(limits['company_bytes'])}."
        )


def _same_attempt(
    deposit: uuid.UUID, bidder: Organisation, offers: Sequence[EnvelopeOffer]
) -> Attempt | None:
    known = Attempt.objects.filter(deposit=deposit).first()
    if known is None:
        return None
    held = {bytes(envelope.header) for envelope in known.envelopes.order_by("pk")}
    if known.bidder != bidder or held != {offer.header for offer in offers}:
        raise EnvelopeRefused("Cet identifiant de dépôt est déjà celui d'un autre dépôt.")
    return known


def _parsed(offer: EnvelopeOffer) -> Header:
    """The header, parsed strictly. Raises EnvelopeRefused."""
    try:
        return parse_header(offer.header)
    except SigningError as refused:
        raise EnvelopeRefused(f"L'en-tête du pli n'est pas valide : {refused}") from refused


def _check(consultation: Consultation, bidder: Organisation, header: Header, offer: EnvelopeOffer) -> None:
    """Each id of a header is compared with the platform's own rows. Raises EnvelopeRefused, LimitExceeded."""
    keys = consultation.envelope_keys.filter(kind=consultation.key_name(header.kind, header.lot)).first()
    expected = {
        "consultation": (header.consultation, str(consultation.uuid), "une autre consultation"),
        "bidder": (header.bidder, str(bidder.uuid), "une autre entreprise"),
    }
    for said, held, words in expected.values():
        if said != held:
            raise EnvelopeRefused(f"Ce pli a été scellé pour {words}.")
    if header.ceremony not in consultation.ceremonies:
        raise EnvelopeRefused("Ce pli a été scellé pour une autre cérémonie des clés.")
    if not consultation.lots.filter(number=header.lot).exists():
        raise EnvelopeRefused(f"Ce pli a été scellé pour le lot « {header.lot} », qui n'existe pas ici.")
    if keys is None or header.kind not in consultation.kinds:
        raise EnvelopeRefused(f"Cette consultation ne demande pas d'enveloppe « {header.kind} ».")
    if header.committee != key_hash(bytes(keys.committee)) or header.platform != key_hash(
        bytes(keys.platform)
    ):
        raise EnvelopeRefused("Ce pli a été scellé vers une autre clé que celles de la consultation.")
    if len(offer.keys) != STANZAS_BYTES:
        raise EnvelopeRefused(
            f"Les clés scellées comptent {len(offer.keys)} octets au lieu de {STANZAS_BYTES}."
        )
    _check_objects(header, offer, consultation.deposit_limits)


def _check_objects(header: Header, offer: EnvelopeOffer, limits: Mapping[str, int]) -> None:
    names = [f"{index}.cob" for index in range(header.files + 1)] + ["t.cob"]
    check_sizes(offer.sizes, limits, files=header.files)
    if sorted(offer.sizes) != sorted(names):
        raise EnvelopeRefused("Les objets annoncés ne sont pas ceux de l'en-tête.")
    for name, size in offer.sizes.items():
        if size < _SMALLEST_OBJECT:
            raise EnvelopeRefused(f"L'objet {name} est trop court pour un objet scellé.")
        if size == _SMALLEST_OBJECT and name not in ("0.cob", "t.cob"):
            number = name.removesuffix(".cob")
            raise EnvelopeRefused(f"Le fichier n° {number} de ce pli est vide (0 octet) : retirez-le.")


def check_sizes(sizes: Mapping[str, int], limits: Mapping[str, int], *, files: int) -> None:
    """The sealed objects of one envelope, name → bytes, within its consultation's limits, at the start and at
    the end. Raises LimitExceeded."""
    if files > limits["files"]:
        raise LimitExceeded(f"Ce pli compte {files} fichiers ; la limite est de {limits['files']}.")
    for name, size in sizes.items():
        if size > limits["file_bytes"] * 1.002 + 4096:  # sealing adds 16 bytes to each 16 KiB
            raise LimitExceeded(
                f"{_named(name)} de ce pli compte {_megabytes(size)} ; la limite est de "
                f"{_megabytes(limits['file_bytes'])} par fichier."
            )
    total = sum(sizes.values())
    if total > limits["envelope_bytes"] * 1.002 + 1024**2:
        raise LimitExceeded(
            f"Ce pli compte {_megabytes(total)} ; la limite est de {_megabytes(limits['envelope_bytes'])}."
        )


def _named(name: str) -> str:
    """An object as its company knows it: files are numbered in the order in which they were chosen."""
    number = name.removesuffix(".cob")
    return f"Le fichier n° {number}" if number.isdecimal() and number != "0" else "La liste des fichiers"


def _megabytes(count: int) -> str:
    return f"{count / 1024**2:.1f} Mo".replace(".", ",")


def find_part(attempt: Attempt, envelope: uuid.UUID, name: str, number: int) -> SealedObject:
    """The object of which this is a part. Raises PartRefused."""
    sealed = (
        SealedObject.objects.select_related("envelope__attempt__consultation")
        .filter(envelope__attempt=attempt, envelope__uuid=envelope, name=name)
        .first()
    )
    if sealed is None or not 1 <= number <= sealed.part_count:
        raise PartRefused("Cette partie n'est pas de celles que la tentative a annoncées.")
    return sealed


def reserve_part(attempt: Attempt, sealed: SealedObject, number: int, sha256: str) -> Part:
    """Announce the digest of a part before its bytes, once for all: two contents never race for one part.

    A slow request, or an address signed some minutes ago, can thus only bring these bytes. A draft keeps
    its ciphertext, and sends the same again.

    It comes back received when it was. Raises PartRefused, AlreadyDeposited.
    """
    final = Attempt.objects.filter(pk=attempt.pk, finalised_at__isnull=False).exists()
    if final or sealed.completed_at is not None:
        known = sealed.parts.received().filter(number=number, sha256=sha256).first()
        if known is not None:
            return known
        raise AlreadyDeposited("Ce dépôt est en cours de finalisation ou déjà final.")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise PartRefused("L'empreinte de la partie n'est pas un SHA-256 en hexadécimal.")
    part, _ = Part.objects.get_or_create(object=sealed, number=number, defaults={"sha256": sha256})
    if part.sha256 != sha256:
        raise PartRefused(f"La partie {number} a déjà été reçue, ou est en train de l'être, autrement.")
    return part


def open_upload(sealed: SealedObject) -> None:
    """The upload of this object is begun in the store, once."""
    if sealed.upload_id:
        return
    presence.check()
    store = object_store()
    fresh = store.begin(sealed.key)
    if not SealedObject.objects.filter(pk=sealed.pk, upload_id="").update(upload_id=fresh):
        store.abort(sealed.key, fresh)
    sealed.refresh_from_db(fields=["upload_id"])


def forget_upload(sealed: SealedObject, *, now: datetime) -> BidError:
    """The store dropped this unfinished upload (expired, aborted): its parts are to be sent again.

    What was acknowledged and is gone is written in the journal. Gives the refusal to raise.
    Raises StoreUnavailable when it is not the store of the deposits that answers.
    """
    presence.check()
    attempt = sealed.envelope.attempt
    with transaction.atomic():
        locked = Attempt.objects.select_for_update(no_key=True).get(pk=attempt.pk)
        if locked.finalised_at is not None:  # completed meanwhile, by the deposit itself: nothing is lost
            return AlreadyDeposited("Ce dépôt est en cours de finalisation ou déjà final.")
        if SealedObject.objects.filter(pk=sealed.pk, completed_at=None, upload_id=sealed.upload_id).update(
            upload_id=""
        ):
            lost = sealed.parts.received().count()
            sealed.parts.all().delete()
            if lost:
                append(
                    "bytes-lost",
                    {"attempt": str(attempt.uuid), "objects": [sealed.key], "parts": lost},
                    consultation=attempt.consultation.uuid,
                    subject=attempt.uuid,
                    now=now,
                )
    return PartRefused("Le stockage n'a plus le début de cet envoi : reprenez-le, il sera renvoyé en entier.")


def mark_received(part: Part) -> Part:
    """The bytes are safe in the store, now: a crash before this only costs sending the part again.

    The instant is not the one at which the request began: its body may have been held back since.
    """
    now = current()
    if not Part.objects.filter(pk=part.pk, received_at=None).update(received_at=now):
        # Another request for the same part received it first, or was cut and gave the reservation up.
        sealed, number, sha256 = part.object, part.number, part.sha256
        part, _ = Part.objects.get_or_create(
            object=sealed, number=number, defaults={"sha256": sha256, "received_at": now}
        )
        if part.sha256 != sha256:
            raise PartRefused(f"La partie {number} a déjà été reçue, ou est en train de l'être, autrement.")
    part.refresh_from_db()
    return part


def receive_part(
    attempt: Attempt,
    *,
    envelope: uuid.UUID,
    name: str,
    number: int,
    stream: BinaryIO,
    length: int,
    sha256: str,
    now: datetime,
) -> Part:
    """Store one part, then acknowledge it. A part sent again gives the same result.

    Raises PartRefused, PartTruncated, PartCorrupt (nothing kept), AlreadyDeposited.
    """
    sealed = find_part(attempt, envelope, name, number)
    size = sealed.part_size(number)
    if length != size:
        raise PartTruncated(f"La partie {number} annonce {length} octets au lieu de {size}.")
    part = reserve_part(attempt, sealed, number, sha256)
    if part.received_at:
        return part
    open_upload(sealed)
    store = object_store()
    try:
        store.put_part(
            sealed.key,
            sealed.upload_id,
            number,
            stream,
            size=size,
            part_bytes=sealed.part_bytes,
            sha256=sha256,
        )
    except storage_errors.PartTruncated as short:
        raise PartTruncated(f"La partie {number} est arrivée incomplète ; rien n'en a été gardé.") from short
    except storage_errors.ObjectMissing as gone:
        raise forget_upload(sealed, now=now) from gone
    except storage_errors.PartCorrupt as wrong:
        raise PartCorrupt(f"La partie {number} est arrivée altérée ; rien n'en a été gardé.") from wrong
    return mark_received(part)
