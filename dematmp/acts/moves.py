"""A transaction begins and moves: each state is a row, with its entry of the journal."""

import hashlib
from datetime import datetime

from django.db import transaction

from dematmp.acts import statuses
from dematmp.acts.latin1 import to_latin1
from dematmp.acts.telling import tell
from dematmp.acts.transactions import Step, Transaction
from dematmp.audit.services import append

_MESSAGE_CHARS = 512
# What the pages of an act show of its transactions: the others change nothing there.
_SHOWN = frozenset(
    {
        statuses.ERROR,
        statuses.CANCELLED,
        statuses.SENT,
        statuses.ACKNOWLEDGED,
        statuses.RECEIVED,
        statuses.LETTER,
    }
)


def begin(made: Transaction, *, status: int, message: str, now: datetime, flux: bytes | None = None) -> None:
    """Save a new transaction in its first state, in the caller's transaction. Raises StatusRefused."""
    statuses.check_follows(None, status)
    made.status, made.created_at = status, now
    made.save()
    _write(made, status, message, flux, now)


def move(
    pk: int,
    status: int,
    *,
    message: str,
    now: datetime,
    flux: bytes | None = None,
    only_from: frozenset[int] | None = None,
) -> Transaction | None:
    """Take a transaction to a state.

    None, and nothing changed, when it is not in `only_from`: another worker was here before.
    Raises StatusRefused for an illegal move.
    """
    with transaction.atomic():
        found = (
            Transaction.objects.select_for_update(of=("self",))
            .select_related("authority", "agent")
            .get(pk=pk)
        )
        if only_from is not None and found.status not in only_from:
            return None
        statuses.check_follows(found.status, status)
        if found.status == statuses.UNCONFIRMED and status == statuses.REFUSED:
            found.holds_number = False
        if status == statuses.ERROR and found.status in (statuses.UNCONFIRMED, statuses.POSTED):
            found.holds_number = False  # the ministry never had it: the number may serve again
        if status == statuses.ERROR and found.status == statuses.WAITING and not found.tries:
            found.holds_number = False
        found.status = status
        found.save(update_fields=["status", "holds_number"])
        _write(found, status, message, flux, now)
    return found


def _write(found: Transaction, status: int, message: str, flux: bytes | None, now: datetime) -> None:
    text = to_latin1(message)[:_MESSAGE_CHARS]
    Step.objects.create(transaction=found, status=status, at=now, message=text, flux=flux)
    record: dict[str, object] = {
        "authority": found.authority.siren,
        "message": text,
        "status": status,
        "transaction": found.pk,
        "unique_id": found.unique_id,
    }
    if flux is not None:
        record["sha256"] = hashlib.sha256(flux).hexdigest()
    tell(found, text, now=now)
    append("act-status", record, now=now)
    if status in _SHOWN:
        from dematmp.acts.tasks import follow_transaction

        transaction.on_commit(lambda: follow_transaction.delay(found.pk), robust=True)
