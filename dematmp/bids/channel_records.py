"""What the backup channel tells of a deposit or of a withdrawal, believed for its journal's proof."""

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError

from dematmp.accounts.models import Organisation
from dematmp.audit.services import canonical
from dematmp.bids.errors import ChannelRefused
from dematmp.consultations.models import Consultation
from signing.errors import SigningError
from signing.tlog import verify_proof

# What a deposit raises whose fields are not what they should be, before or in the database.
UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, ValidationError, DatabaseError)
NOT_AS_EXPECTED = "Le canal de secours a répondu autre chose que prévu."
Told = Mapping[str, object]
Digests = dict[tuple[str, str], tuple[int, str]]


def rows(value: object) -> Sequence[Told]:
    """A list of objects. Raises ChannelRefused."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ChannelRefused(NOT_AS_EXPECTED)
    return value


def parties(told: Told) -> tuple[Consultation, Organisation] | None:
    """The consultation and the company that are named, once both are known here. Raises UNREADABLE."""
    consultation = Consultation.objects.public().filter(uuid=str(told["consultation"])).first()
    bidder = Organisation.objects.filter(uuid=str(told["bidder"])).first()
    return None if consultation is None or bidder is None else (consultation, bidder)


def proven_deposit(told: Told) -> dict[str, object]:
    """The deposit record, once it is in the channel's journal. Raises ChannelRefused."""
    _, record = _proven(told, "deposit", "received")
    if any(record.get(each) != told.get(each) for each in ("deposit", "bidder", "consultation")):
        raise ChannelRefused("Un dépôt du canal de secours n'est pas celui de son enregistrement.")
    return record


def proven_withdrawal(told: Told) -> dict[str, object]:
    """The withdrawal that a told deposit says, once it is in the channel's journal. Raises ChannelRefused."""
    said = told.get("withdrawal")
    if not isinstance(said, dict):
        raise ChannelRefused("Un retrait du canal de secours vient sans sa preuve.")
    _, record = _proven({**said, "consultation": told["consultation"]}, "withdrawal", "at")
    if any(record.get(each) != told.get(each) for each in ("deposit", "bidder")):
        raise ChannelRefused("Un retrait du canal de secours n'est pas celui de ce dépôt.")
    if record["at"] != told["withdrawn"]:
        raise ChannelRefused("Un retrait du canal de secours n'est pas à l'heure de son enregistrement.")
    return record


def proven_refusal(told: Told) -> tuple[int, dict[str, object]]:
    """Its rank in the channel's journal, and the record of an attempt that was refused before it existed.

    Raises ChannelRefused.
    """
    return _proven({"consultation": "", **told}, "attempt-refused", "at")


def _proven(told: Told, kind: str, when: str) -> tuple[int, dict[str, object]]:
    try:
        data = base64.b64decode(str(told["record"]), validate=True)
        record: dict[str, object] = json.loads(data)
        nonce = bytes.fromhex(str(told["nonce"]))
        leaf = {
            "consultation": record.get("consultation", told["consultation"]),
            "digest": hashlib.sha256(nonce + data).hexdigest(),
            "time": record[when],
            "type": kind,
        }
        proved = verify_proof(str(told["proof"]), canonical(leaf), settings.BACKUP_CHANNEL["journal_key"])
        datetime.fromisoformat(str(record[when]))
    except (SigningError, ValueError, KeyError, TypeError, AttributeError) as bad:
        raise ChannelRefused("Un dépôt du canal de secours n'est pas à son journal.") from bad
    return proved[0], record


def received(record: Told) -> datetime:
    """When the channel received a deposit, by its record."""
    return datetime.fromisoformat(str(record["received"]))


def objects_of(record: Told) -> Digests:
    """(envelope, object name) → size in bytes and composite SHA-256, of what a record was made."""
    return {
        (str(envelope["envelope"]), str(each["name"])): (int(str(each["size"])), str(each["sha256"]))
        for envelope in rows(record["envelopes"])
        for each in rows(envelope["objects"])
    }


def digests_of(record: Told) -> dict[tuple[uuid.UUID, str], str]:
    """The same, as a fingerprint keeps them."""
    return {
        (uuid.UUID(envelope), name): sha256 for (envelope, name), (_, sha256) in objects_of(record).items()
    }
