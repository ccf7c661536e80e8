"""What the backup channel refused before any attempt, brought here: its company came, and keeps the proof."""

import hashlib
import logging
import random
import time
from datetime import datetime

import httpx
from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.services import append, canonical, utc_text
from dematmp.bids.channel_line import ChannelLine
from dematmp.bids.channel_records import NOT_AS_EXPECTED, UNREADABLE, parties, proven_refusal, rows
from dematmp.bids.errors import ChannelRefused
from dematmp.bids.evidence import MAX_STARTS
from dematmp.bids.start_refusals import StartRefusal

log = logging.getLogger(__name__)
# Of one visit, which comes again in a minute: entries asked for, seconds spent; bytes of one.
_ENTRIES, _SECONDS, _BYTES = 200, 10.0, 1024**2


def take_refusals(line: ChannelLine, told: object, *, now: datetime) -> int:
    """Bring those that are new, as many as a visit has time for; how many. One that is wrong is left, and
    logged."""
    try:
        listed = [int(str(each["index"])) for each in rows(told) if parties(each) is not None]
    except (ChannelRefused, *UNREADABLE):
        log.warning("le canal de secours ne dit pas ses refus comme prévu")
        return 0
    mine = StartRefusal.objects.filter(channel_key=settings.BACKUP_CHANNEL["journal_key"])
    asked = list(set(listed) - set(mine.values_list("journal_index", flat=True)))
    random.shuffle(asked)  # none waits for ever behind others that are wrong
    taken, until = list[StartRefusal](), time.monotonic() + _SECONDS
    for index in asked[:_ENTRIES]:
        if (left := until - time.monotonic()) <= 0:
            break
        try:
            said = line.json(f"/refusals/{index}", max_bytes=_BYTES, seconds=left, silence=left)
            taken += _take(said, index, now=now)
        except (httpx.HTTPError, ChannelRefused, RecursionError, *UNREADABLE) as bad:
            log.warning("un refus du canal de secours n'est pas repris : %r", bad)
    for one in {(each.consultation_id, each.bidder_id): each for each in taken}.values():
        theirs = mine.filter(consultation=one.consultation, bidder=one.bidder)
        if theirs.count() > MAX_STARTS:  # the channel keeps the first ones and the last ones
            theirs.exclude(journal_index__in=listed).delete()
    return len(taken)


def _take(said: object, index: int, *, now: datetime) -> list[StartRefusal]:
    """The row that it makes, or none. Raises ChannelRefused, UNREADABLE."""
    if not isinstance(said, dict):
        raise ChannelRefused(NOT_AS_EXPECTED)
    rank, record = proven_refusal(said)
    if rank != index:
        raise ChannelRefused("Un refus du canal de secours n'a pas son rang au journal.")
    named, by = parties(record), User.objects.filter(uuid=str(record["by"])).first()
    if named is None or by is None:
        return []
    consultation, bidder = named
    entry = {name: said[name] for name in ("index", "type", "time", "record", "nonce", "proof")}
    with transaction.atomic():
        made = StartRefusal(
            consultation=consultation,
            bidder=bidder,
            by=by,
            at=datetime.fromisoformat(str(record["at"])),
            code=str(record["code"])[:60],
            message=str(record["message"])[:300],
            journal_index=index,
            channel_key=settings.BACKUP_CHANNEL["journal_key"],
            channel_entry=entry,
        )
        made.save()
        append(
            "refusal-imported",
            {
                "bidder": str(bidder.uuid),
                "at": str(record["at"]),
                "index": index,
                "key": made.channel_key,
                "sha256": hashlib.sha256(canonical(entry)).hexdigest(),
                "imported": utc_text(now),
            },
            consultation=consultation.uuid,
            subject=bidder.uuid,
            now=now,
        )
    return [made]
