"""« journal verify » also reads each deposit's row as a stranger reads its receipt."""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from dematmp.audit.errors import JournalBroken
from dematmp.audit.models import Entry
from dematmp.bids.models import Bid
from dematmp.bids.receipts import stamp
from dematmp.bids.services import withdraw
from dematmp.bids.verification import check_bids
from dematmp.consultations.models import Deadline
from tests.world import World


@pytest.fixture
def deposited(world: World, tmp_path: Path) -> list[Bid]:
    """Two deposits of one consultation, stamped; the second one withdrawn."""
    consultation = world.publish()
    for name in ("a", "b"):
        speaker, draft = world.seal(consultation, tmp_path / name)
        uploaded = speaker.upload(draft)
        made = speaker.finalise(draft, str(uploaded["attempt"]))
    withdraw(Bid.objects.get(uuid=made["deposit"]), by=world.bidder, now=timezone.now())
    for bid in Bid.objects.all():
        assert stamp(bid, now=timezone.now())
    return list(Bid.objects.order_by("pk"))


def test_every_deposit_is_verified(deposited: list[Bid]) -> None:
    out = io.StringIO()
    call_command("journal", "verify", stdout=out)
    assert "2 dépôts" in out.getvalue()


_ALTERATIONS: list[tuple[Callable[[Bid, Bid], dict[str, object]], str]] = [
    (lambda bid, _: {"received_at": bid.received_at - timedelta(seconds=1)}, "enregistrement"),
    (lambda _, __: {"late": True}, "enregistrement"),
    (lambda bid, _: {"record": bytes(bid.record).replace(b'"size":', b'"size":1')}, "accusé"),
    (lambda _, other: {"proof": other.proof}, "accusé"),
    (lambda _, other: {"token": other.token, "token_at": other.token_at}, "accusé"),
    (lambda _, __: {"withdrawn_at": timezone.now()}, "retrait"),
    (lambda _, other: {"journal_index": other.journal_index}, "entrée"),
]


def test_a_row_that_was_altered_is_seen(deposited: list[Bid]) -> None:
    bid, other = deposited
    for change, why in _ALTERATIONS:
        kept = transaction.savepoint()
        Bid.objects.filter(pk=bid.pk).update(**change(bid, other))
        with pytest.raises(JournalBroken, match=why):
            pytest.fail(check_bids() + f" vérifiés ({why})")
        transaction.savepoint_rollback(kept)
    Bid.objects.filter(pk=bid.pk).update(proof=other.proof)
    with pytest.raises(CommandError, match="accusé"):
        call_command("journal", "verify", stdout=io.StringIO())


def test_a_deposit_that_was_removed_or_given_back_is_seen(deposited: list[Bid]) -> None:
    bid, other = deposited
    Bid.objects.filter(pk=other.pk).update(withdrawn_at=None)
    with pytest.raises(JournalBroken, match="retrait"):
        check_bids()
    Bid.objects.filter(pk=bid.pk)._raw_delete("default")
    Bid.objects.filter(pk=other.pk).update(withdrawn_at=timezone.now())
    index = Entry.objects.get(kind="deposit", subject=bid.uuid).index
    with pytest.raises(JournalBroken, match=rf"L'entrée {index} est un dépôt"):
        check_bids()


def test_a_deadline_that_was_moved_in_the_database_alone_is_seen(world: World) -> None:
    consultation = world.publish()
    call_command("journal", "verify", stdout=(out := io.StringIO()))
    assert "dates limites de 1 consultation" in out.getvalue()
    for moved in (-timedelta(days=1), timedelta(days=1), None):
        kept = transaction.savepoint()
        row = Deadline.objects.filter(consultation=consultation)
        if moved is None:
            row.delete()
        else:
            row.update(at=F("at") + moved)
        with pytest.raises(CommandError, match="date limite"):
            call_command("journal", "verify", stdout=io.StringIO())
        transaction.savepoint_rollback(kept)
