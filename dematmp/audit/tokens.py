"""Tokens over the facts whose hour a judge may ask for: ceremonies, openings, minutes, contracts, acts.

Deposits have theirs on their own rows, and here too for the registers. No fact waits for its token: it is
asked for after the commit, and again each minute until an authority answers.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from dematmp.audit.errors import JournalBroken
from dematmp.audit.models import Entry, EntryToken
from dematmp.audit.services import append, utc_text
from dematmp.audit.stamping import check_token, obtain_token
from signing.timestamps import Stamp

STAMPED = frozenset(
    {
        "ceremony",
        "ceremony-renewed",
        "session-key",
        "phase-opened",
        "minutes-closed",
        "contract-concluded",
        "act-prepared",
        "act-received",
        "act-acknowledged",
        "journal-succession",
    }
)
_MOST = 100  # of one pass


def to_stamp() -> QuerySet[Entry]:
    """The entries that wait for their token, the oldest first."""
    return Entry.objects.filter(kind__in=STAMPED, token=None).order_by("index")


def stamp_entries(clock: Callable[[], datetime]) -> int:
    """Ask for the tokens that are missing; how many came. May run twice; stops when nobody answers."""
    count = 0
    for entry in to_stamp()[:_MOST]:
        if not _stamp(entry, now=clock()):
            break
        count += 1
    return count


def keep_token(index: int, stamped: tuple[Stamp, str]) -> bool:
    """Keep the token over an entry's record, in the caller's transaction; False when it had one."""
    stamp, authority = stamped
    _, created = EntryToken.objects.get_or_create(
        entry=Entry.objects.get(index=index),
        defaults={
            "request": stamp.request,
            "response": stamp.response,
            "authority": authority,
            "at": stamp.token.gen_time,
        },
    )
    return created


def _stamp(entry: Entry, *, now: datetime) -> bool:
    stamped = obtain_token(bytes(entry.record), now=now)
    if stamped is None:
        return False
    stamp, authority = stamped
    with transaction.atomic():
        if keep_token(entry.index, stamped):
            record = {
                "of": entry.index,
                "authority": authority,
                "time": utc_text(stamp.token.gen_time),
                "sha256": hashlib.sha256(stamp.response).hexdigest(),
                "request": base64.b64encode(stamp.request).decode(),
            }
            append("entry-timestamp", record, consultation=entry.consultation, now=now)
    return True


def check_tokens() -> int:
    """How many tokens over entries there are: each proves its hour, and is the one that the journal noted.

    Raises JournalBroken.
    """
    noted = _noted()
    count = 0
    for kept in EntryToken.objects.select_related("entry").order_by("pk").iterator(chunk_size=200):
        count += 1
        entry = kept.entry
        said = noted.pop(f"{entry.index}", None) or noted.pop(f"{entry.subject}", None)
        response = bytes(kept.response)
        found = (hashlib.sha256(response).hexdigest(), kept.authority, utc_text(kept.at))
        if said not in (None, found):
            raise JournalBroken(f"Le jeton de l'entrée {entry.index} n'est pas celui que dit le journal.")
        check_token(response, bytes(entry.record), at=kept.at, of=f"de l'entrée {entry.index}")
    if missing := [of for of in noted if of.isdigit()]:
        raise JournalBroken(f"Le jeton de l'entrée {missing[0]} manque : le journal dit qu'il y en a un.")
    return count


def _noted() -> dict[str, tuple[str, str, str]]:
    """Digest, authority and hour of each token that the journal noted, by the entry or deposit it is of."""
    rows = Entry.objects.filter(kind__in=("entry-timestamp", "timestamp")).order_by("index")
    every = (json.loads(bytes(row.record)) for row in rows.only("record").iterator(chunk_size=1000))
    return {str(each["of"]): (each["sha256"], each["authority"], each["time"]) for each in every}
