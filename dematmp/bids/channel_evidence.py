"""Attempts and fingerprints of the backup channel, brought here: evidence of a company, deposited or not.

The dossier is the channel's own, each entry with its proof under the key of our settings. It makes no bid,
and what is wrong with it holds back no opening.
"""

import base64
import hashlib
import json
import logging
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx
from django.conf import settings
from django.db import transaction

from dematmp.audit.services import append, canonical, utc_text
from dematmp.bids.channel_attempts import ChannelAttempt
from dematmp.bids.channel_line import ChannelLine
from dematmp.bids.channel_records import NOT_AS_EXPECTED, UNREADABLE, Told, digests_of, parties, rows
from dematmp.bids.errors import ChannelRefused
from dematmp.bids.evidence import as_shown
from dematmp.bids.models import Attempt
from signing.errors import SigningError
from signing.tlog import verify_proof

log = logging.getLogger(__name__)
_BYTES = 64 * 1024**2  # of one dossier: 5,000 files and their parts
# Of one visit, which comes again in a minute: dossiers asked for, seconds spent, seconds of one silence.
_DOSSIERS, _SECONDS, _SILENCE = 200, 30.0, 10.0


@dataclass(frozen=True)
class Committed:
    """A fingerprint that the channel received: when, and the digests, by (envelope, object name)."""

    at: datetime
    digests: Mapping[tuple[uuid.UUID, str], str]


def take_attempts(line: ChannelLine, told: object, *, now: datetime) -> int:
    """Bring dossiers that are new or went on since, as many as a visit has time for; how many are new.

    One that is wrong is left, and logged. They come in no order, so that none waits for ever behind others.
    """
    try:
        listed = list(rows(told))
    except ChannelRefused:
        log.warning("le canal de secours ne dit pas ses tentatives comme prévu")
        return 0
    known = dict(ChannelAttempt.objects.values_list("uuid", "changed"))
    random.shuffle(listed)
    count, asked, until = 0, 0, time.monotonic() + _SECONDS
    for each in listed:
        if asked == _DOSSIERS or time.monotonic() >= until:
            log.info("d'autres tentatives du canal de secours sont pour la prochaine visite")
            break
        try:
            attempt, changed = uuid.UUID(str(each["attempt"])), str(each["changed"])[:64]
            nobody = "bidder" in each and parties(each) is None  # from here: its dossier would be left
            if known.get(attempt) != changed and not nobody:
                asked += 1
                said = _dossier(line, attempt, seconds=max(until - time.monotonic(), 0.1))
                count += _take(said, attempt, changed=changed, now=now)
        except (httpx.HTTPError, ChannelRefused, SigningError, RecursionError, *UNREADABLE) as bad:
            log.warning("une tentative du canal de secours n'est pas reprise : %r", bad)
    return count


def _dossier(line: ChannelLine, attempt: uuid.UUID, *, seconds: float) -> dict[str, object]:
    """What the channel answers, within so many seconds. Raises ChannelRefused, HTTPError, ValueError."""
    silence = min(_SILENCE, seconds)
    said = line.json(f"/attempts/{attempt}", max_bytes=_BYTES, seconds=seconds, silence=silence)
    if not isinstance(said, dict):
        raise ChannelRefused(NOT_AS_EXPECTED)
    return said


def _take(said: dict[str, object], attempt: uuid.UUID, *, changed: str, now: datetime) -> int:
    begun = _begun(said, attempt)
    as_shown(said, channel=True)  # what could not be shown is not kept
    known = parties(begun)
    if known is None:
        return 0
    consultation, bidder = known
    with transaction.atomic():
        made, fresh = ChannelAttempt.objects.update_or_create(
            uuid=attempt,
            defaults={
                "deposit": str(begun["deposit"]),
                "consultation": consultation,
                "bidder": bidder,
                "started_at": datetime.fromisoformat(str(begun["server_clock"])),
                "changed": changed,
                "evidence": said,
                "channel_key": settings.BACKUP_CHANNEL["journal_key"],
                "imported_at": now,
            },
        )
        if fresh:
            append(
                "attempt-imported",
                {
                    "attempt": str(attempt),
                    "deposit": str(begun["deposit"]),
                    "bidder": str(bidder.uuid),
                    "started": str(begun["server_clock"]),
                    "sha256": hashlib.sha256(canonical(said)).hexdigest(),
                    "key": made.channel_key,
                    "imported": utc_text(now),
                },
                consultation=consultation.uuid,
                subject=attempt,
                now=now,
            )
    return int(fresh)


def _begun(said: Told, attempt: uuid.UUID) -> dict[str, object]:
    """The record of its beginning, once all its entries are in the channel's journal.

    Raises ChannelRefused, SigningError.
    """
    journal, about = said["journal"], said["consultation"]
    if not (isinstance(journal, dict) and isinstance(about, dict)):
        raise ChannelRefused(NOT_AS_EXPECTED)
    begun: dict[str, object] | None = None
    for entry in rows(journal["entries"]):
        record = base64.b64decode(str(entry["record"]), validate=True)
        leaf = {
            "consultation": about["uuid"],
            "digest": hashlib.sha256(bytes.fromhex(str(entry["nonce"])) + record).hexdigest(),
            "time": entry["time"],
            "type": entry["type"],
        }
        verify_proof(str(entry["proof"]), canonical(leaf), settings.BACKUP_CHANNEL["journal_key"])
        if entry["type"] == "attempt":
            read = json.loads(record)
            begun = read if isinstance(read, dict) else None
    told = {"attempt": str(attempt), "consultation": about["uuid"], "deposit": said["deposit"]}
    if begun is None or any(begun.get(name) != value for name, value in told.items()):
        raise ChannelRefused("Une tentative du canal de secours n'est pas à son journal.")
    return begun


def committed_there(attempt: Attempt) -> Committed | None:
    """The fingerprint of the same deposit that the channel received, as its journal proves it."""
    found = ChannelAttempt.objects.of_deposit(attempt.deposit, attempt.bidder)
    for entry in found.evidence["journal"]["entries"] if found else ():
        if entry["type"] == "fingerprint":
            record = json.loads(base64.b64decode(entry["record"]))
            return Committed(datetime.fromisoformat(record["received"]), digests_of(record))
    return None
