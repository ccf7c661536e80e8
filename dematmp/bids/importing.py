"""Deposits received by the backup channel join the others, at the time at which that channel received them.

Each is believed for its own proof: its record is in the channel's journal, under the key of our settings, and
its objects have the digests of that record. One that cannot be taken is kept apart (`quarantine`).
"""

import base64
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from django.conf import settings
from django.db import transaction

from dematmp.bids.alone import alone
from dematmp.bids.assembly import put_headers
from dematmp.bids.channel_evidence import take_attempts
from dematmp.bids.channel_line import ChannelLine, visiting
from dematmp.bids.channel_records import (
    NOT_AS_EXPECTED,
    UNREADABLE,
    Told,
    parties,
    proven_deposit,
    received,
    rows,
)
from dematmp.bids.channel_refusals import take_refusals
from dematmp.bids.channel_withdrawals import take_withdrawal
from dematmp.bids.errors import BytesRefused, ChannelRefused, ChannelUnreachable
from dematmp.bids.joining import Claim, check, join, open_attempt
from dematmp.bids.models import Attempt, Bid, ChannelVisit, SealedObject
from dematmp.bids.offering import LATELY
from dematmp.bids.quarantine import keep_apart, settle, was_refused_for_its_bytes
from dematmp.consultations.models import Consultation
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant
from signing.digests import CompositeDigest
from storage.stores import object_store

log = logging.getLogger(__name__)
_LIST_BYTES, _LIST_SECONDS = 512 * 1024**2, 120.0
_MIB_SECONDS = 64.0  # an object of which no MiB comes meanwhile is cut: 16 kB/s
CLOCKS = timedelta(seconds=5)  # by which its clock may differ from ours, the time of its answer aside


@dataclass(frozen=True)
class _Telling:
    """What the channel told at once: its clock, how far it is from ours (0 within the time of the answer),
    the consultations for which it is still recording, its deposits."""

    at: datetime
    apart: timedelta
    pending: set[uuid.UUID]
    deposits: Sequence[Told]
    attempts: object  # evidence: what is wrong with it stops nothing
    refusals: object


def pull(*, now: datetime, again: bool = False, evidence: bool = True) -> int:
    """Import what the backup channel holds: how many deposits are new. May run twice, may be killed anywhere.

    `again` fetches once more what came with other bytes than its record's; without `evidence`, what no
    opening waits for is left to the next visit. Raises ChannelUnreachable (bytes that do not come, too),
    ChannelRefused (deposits that are not what their record says, a clock that is not ours): what could be
    taken is, and only the openings concerned wait.
    """
    if not settings.BACKUP_CHANNEL["url"]:
        return 0
    with visiting(now=now) as line:
        told_all, refusal, fresh = _list(line, now=now), None, 0
        try:
            fresh = _take_all(line, told_all, again=again, now=now)
        except (ChannelRefused, ChannelUnreachable) as wrong:
            refusal = wrong
        # The visit is written: no dossier that is slow to come holds back an opening.
        if evidence:
            take_attempts(line, told_all.attempts, now=now)
            take_refusals(line, told_all.refusals, now=now)
    if refusal:
        raise refusal
    return fresh


def _take_all(line: ChannelLine, told_all: _Telling, *, again: bool, now: datetime) -> int:
    """The deposits, then the visit of each consultation of which all is told.

    Raises ChannelRefused, ChannelUnreachable.
    """
    fresh, cut, refused, pending = 0, 0, list[str](), set(told_all.pending)
    clock_ms = round(told_all.apart / timedelta(milliseconds=1))
    for told in told_all.deposits:
        try:
            known = _import(line, told, clock_ms=clock_ms, again=again, now=now)
        except _StillRecording:
            pending |= _named(told)
            continue
        except (httpx.HTTPError, ChannelUnreachable) as away:
            log.warning("un dépôt du canal de secours n'est pas venu : %r", away)
            cut += 1
            pending |= _named(told)
            continue
        except UNREADABLE as bad:
            log.warning("un dépôt du canal de secours est illisible : %r", bad)
            why = ChannelRefused(NOT_AS_EXPECTED)
        except ChannelRefused as wrong:
            why = wrong
        else:
            fresh += known
            continue
        # The others are imported; what it is for does not open meanwhile, where the channel may mend it.
        if keep_apart(told, why, now=now):
            refused.append(str(why))
            pending |= _named(told)
        else:
            log.warning("un dépôt du canal de secours est mis de côté : %s", why)
    if abs(told_all.apart) > CLOCKS:
        raise ChannelRefused(
            f"L'horloge du canal de secours s'écarte de {told_all.apart.total_seconds():+.0f} s de la "
            "nôtre : ce qu'il dit de la date limite n'est pas cru."
        )
    lately = Consultation.objects.receiving(now=now - LATELY)
    later = ChannelVisit.objects.filter(at__gt=told_all.at)  # of a visit that began after this one
    told_of = lately.exclude(uuid__in=pending).exclude(pk__in=later.values("consultation"))
    for consultation in told_of.order_by("pk"):
        count = consultation.bids.exclude(channel_key="").count()
        # Its answer ends what somebody answered for in its place.
        ChannelVisit.objects.update_or_create(
            consultation=consultation,
            defaults={"at": told_all.at, "deposits": count, "waived_by": None, "waived_for": None},
        )
    if refused:
        raise ChannelRefused(f"{refused[0]} ({len(refused)} dépôt(s) à examiner)")
    if cut:
        raise ChannelUnreachable(f"Le canal de secours n'a pas donné tous les octets de {cut} dépôt(s).")
    return fresh


class _StillRecording(Exception):
    """The platform received the same deposit, and is making its bid; or another visit is bringing it."""


def _named(told: Told) -> set[uuid.UUID]:
    """The consultations that a refused deposit may be of: its own word, and its record's."""
    named = {uuid.UUID(str(told["consultation"]))}
    with contextlib.suppress(*UNREADABLE):
        named.add(uuid.UUID(json.loads(base64.b64decode(str(told["record"])))["consultation"]))
    return named


def _list(line: ChannelLine, *, now: datetime) -> _Telling:
    """What it tells. Raises ChannelRefused."""
    began = time.monotonic()
    said = line.json("/deposits", max_bytes=_LIST_BYTES, seconds=_LIST_SECONDS)
    ended = now + timedelta(seconds=time.monotonic() - began)
    try:
        if not isinstance(said, dict):
            raise TypeError("deposits")
        at = datetime.fromisoformat(said["now"]).astimezone(UTC)
        key, deposits = said["key"], rows(said["deposits"])
        pending = {uuid.UUID(str(each)) for each in said["pending"]}
        for each in deposits:
            uuid.UUID(str(each["consultation"]))  # if one could be of any, nothing is told of the others
    except (KeyError, TypeError, ValueError, OverflowError) as bad:
        raise ChannelRefused(NOT_AS_EXPECTED) from bad
    if key != settings.BACKUP_CHANNEL["journal_key"]:
        raise ChannelRefused("Le journal du canal de secours n'est pas celui des réglages.")
    apart = at - now if at < now else max(timedelta(), at - ended)
    return _Telling(at, apart, pending, deposits, said.get("attempts", []), said.get("refusals", []))


def _import(line: ChannelLine, told: Told, *, clock_ms: int, again: bool, now: datetime) -> int:
    """1 when this deposit is new here, else 0; a withdrawal made there since is noted.

    Raises ChannelRefused, ChannelUnreachable, HTTPError, _StillRecording.
    """
    deposit, withdrawn = uuid.UUID(str(told["deposit"])), told["withdrawn"]
    known = Bid.objects.filter(uuid=deposit).select_related("bidder", "consultation").first()
    fresh = 0
    if known is None or (not known.channel_key and known.withdrawn_at is None and not withdrawn):
        record = proven_deposit(told)
        named = parties(record)
        if named is None:
            log.warning("le dépôt %s du canal de secours est d'une consultation inconnue ici", deposit)
            return 0
        if known is None or received(record) < known.received_at:
            claim = Claim(told, record, *named)
            fresh = int(known is None)
            with alone("import", deposit) as is_alone:  # a visit may outlast a minute
                if not is_alone:
                    raise _StillRecording
                known = _take(line, claim, clock_ms=clock_ms, again=again, now=now)
    take_withdrawal(known, told, now=now)
    settle(deposit, now=now)
    return fresh


def _take(line: ChannelLine, claim: Claim, *, clock_ms: int, again: bool, now: datetime) -> Bid:
    """Its bid, once every byte is here."""
    attempt = check(claim)
    if not again and was_refused_for_its_bytes(claim.told):
        raise BytesRefused("Un dépôt du canal de secours n'a pas les octets de son enregistrement.")
    attempt = attempt or open_attempt(claim)
    if attempt.finalised_at is not None and not hasattr(attempt, "bid"):
        raise _StillRecording
    for sealed in _missing(attempt):
        _fetch(line, sealed)
    put_headers(attempt.envelopes.select_related("attempt__consultation").order_by("pk"))
    # Every byte is in our store: a crash from here is finished by the next run.
    with transaction.atomic():
        bid = join(claim, attempt, clock_ms=clock_ms, now=now)
        if bid is not None:
            _tell(bid, claim, now=now)
    if bid is None:
        raise _StillRecording
    return bid


def _missing(attempt: Attempt) -> Iterator[SealedObject]:
    found = SealedObject.objects.filter(envelope__attempt=attempt, completed_at=None)
    yield from found.select_related("envelope__attempt__consultation").order_by("pk")


def _fetch(line: ChannelLine, sealed: SealedObject) -> None:
    """Bring the bytes of one object; they are checked against the record when the deposit is recorded."""
    store, digest = object_store(), CompositeDigest(sealed.part_bytes)

    def blocks() -> Iterator[bytes]:
        path, left = f"/objects/{sealed.envelope.uuid}/{sealed.name}", sealed.size
        for block in line.slow_blocks(path, seconds=_MIB_SECONDS):
            left -= len(block)
            if left < 0:  # else it could last for ever
                raise ChannelUnreachable("Le canal de secours envoie plus d'octets qu'il n'en a annoncé.")
            digest.update(block)
            yield block

    if sealed.upload_id:
        store.abort(sealed.key, sealed.upload_id)
    if store.put_stream(sealed.key, blocks()).size != sealed.size:
        raise ChannelUnreachable("Le canal de secours a coupé un envoi.")
    SealedObject.objects.filter(pk=sealed.pk).update(sha256=digest.hexdigest())


def _tell(bid: Bid, claim: Claim, *, now: datetime) -> None:
    """To who deposited: it is here, and what the platform's own deadline makes of it."""
    by = Attempt.objects.select_related("finalised_by").get(pk=bid.attempt.pk).finalised_by
    if by is None or not by.is_active:
        return
    fate = "hors délai" if bid.late else "dans les délais"
    extended = (
        "\n\nL'accusé de réception du canal de secours le dit hors délai : il ignorait que la date limite "
        f"avait été reportée au {instant(bid.deadline)}. C'est celle de la plateforme qui compte."
        if claim.record["late"] and not bid.late
        else ""
    )
    store_mail(
        to=by.email,
        subject=f"Dépôt {bid.number} : la plateforme l'a reçu du canal de secours ({fate})",
        body=f"Votre dépôt {bid.number} pour la consultation {bid.consultation.reference}, reçu par le canal "
        f"de secours le {instant(bid.received_at)}, est sur la plateforme avec les autres : il y compte "
        f"comme reçu à cette heure, {fate}.{extended}\n",
        now=now,
    )
