"""Deposits of the backup channel that cannot be taken: kept apart, named; no opening waits for ever.

An opening waits for what the channel may yet mend. It does not for what came late by its own record, nor for
what its own company made impossible to take: else whoever holds a pass could hold back any opening.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import Organisation
from dematmp.audit.services import append, utc_text
from dematmp.bids.channel_records import UNREADABLE, Told, proven_deposit, received
from dematmp.bids.entitled import administrators
from dematmp.bids.errors import BytesRefused, ChannelRefused, ImportRefused
from dematmp.bids.models import RefusedImport
from dematmp.bids.rules import is_late
from dematmp.consultations.models import Consultation
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant


@dataclass(frozen=True)
class _Known:
    """What a refused deposit proves of itself all the same."""

    consultation: Consultation | None = None
    bidder: Organisation | None = None
    at: datetime | None = None


def _known(told: Told) -> _Known:
    try:
        record = proven_deposit(told)
        return _Known(
            Consultation.objects.public().filter(uuid=str(record["consultation"])).first(),
            Organisation.objects.filter(uuid=str(record["bidder"])).first(),
            received(record),
        )
    except (ChannelRefused, *UNREADABLE):
        return _Known()


def _digest(told: Told) -> str:
    return hashlib.sha256(str(told.get("record", "")).encode()).hexdigest()


def was_refused_for_its_bytes(told: Told) -> bool:
    """Whether this very record was believed once, and the bytes that came were others."""
    rows = RefusedImport.objects.standing().filter(deposit=str(told["deposit"]), of_bytes=True)
    return rows.filter(record_sha256=_digest(told)).exists()


def keep_apart(told: Told, why: ChannelRefused, *, now: datetime) -> bool:
    """Write that it is refused, once, and tell its company; whether the opening of its consultation waits."""
    known = _known(told)
    deadline = known.consultation.deadline if known.consultation else None
    late = known.at is not None and deadline is not None and is_late(known.at, deadline)
    holds_back = not late and not isinstance(why, ImportRefused)
    try:
        deposit, named = uuid.UUID(str(told["deposit"])), uuid.UUID(str(told["consultation"]))
    except (KeyError, ValueError):
        return True
    consultation = known.consultation or Consultation.objects.public().filter(uuid=named).first()
    if consultation is None:
        return holds_back
    said = {
        "consultation": consultation,
        "bidder": known.bidder,
        "number": str(told.get("number", ""))[:40],
        "received_at": known.at,
        "why": str(why)[:300],
        "holds_back": holds_back,
        "record_sha256": _digest(told),
        "of_bytes": isinstance(why, BytesRefused),
        "settled_at": None,
    }
    with transaction.atomic():
        before = RefusedImport.objects.select_for_update().filter(deposit=deposit).first()
        same = before is not None and all(
            getattr(before, name) == said[name]
            for name in ("why", "holds_back", "settled_at", "consultation")
        )
        RefusedImport.objects.update_or_create(
            deposit=deposit, defaults=said, create_defaults=said | {"refused_at": now}
        )
        if not same:
            append(
                "channel-refused",
                {
                    "deposit": str(deposit),
                    "bidder": str(known.bidder.uuid) if known.bidder else None,
                    "received": utc_text(known.at) if known.at else None,
                    "why": said["why"],
                    "holds_back": holds_back,
                },
                consultation=consultation.uuid,
                subject=deposit,
                now=now,
            )
            if known.bidder is not None and known.at is not None:
                _tell(known.bidder, consultation, said["number"], known.at, said["why"], now=now)
    return holds_back


def _tell(
    company: Organisation,
    consultation: Consultation,
    number: object,
    at: datetime,
    why: object,
    *,
    now: datetime,
) -> None:
    for address in administrators(company):
        store_mail(
            to=address,
            subject=f"Dépôt {number} : le canal de secours l'a reçu, la plateforme ne peut le prendre",
            body=f"Le canal de secours a reçu le {instant(at)} le dépôt {number} pour la consultation "
            f"{consultation.reference}. La plateforme ne le prend pas en compte : {why}\n\n"
            "Si cette offre est la vôtre, déposez de nouveau avant la date limite, ou écrivez à l'acheteur. "
            "L'accusé de réception du canal de secours reste votre preuve de ce qu'il a reçu.\n",
            now=now,
        )


def settle(deposit: uuid.UUID, *, now: datetime) -> None:
    """It is taken after all."""
    RefusedImport.objects.standing().filter(deposit=deposit).update(settled_at=now)


def holding_back(consultation: Consultation) -> list[RefusedImport]:
    """The refused deposits for which this opening waits."""
    return list(consultation.refused_imports.standing().filter(holds_back=True).order_by("pk"))
