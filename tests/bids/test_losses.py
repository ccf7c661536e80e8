"""What the store no longer has: believed of the store of the deposits alone, and not of what came since."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from dematmp.audit.models import Entry
from dematmp.bids import presence, services, tasks
from dematmp.bids.assembly import ObjectsLost
from dematmp.bids.models import Attempt, Bid, SealedObject, StoreMark
from dematmp.opening.late_bids import branches
from storage.errors import StoreUnavailable
from tests.bids.test_deposit import refused
from tests.world import World


def root() -> Path:
    return Path(settings.OBJECT_STORE["root"])


def losses() -> int:
    return Entry.objects.filter(kind="bytes-lost").count()


def test_an_empty_disk_in_place_of_the_store_loses_nothing(world: World, tmp_path: Path) -> None:
    """Not mounted, or another bucket: the deposit waits, received when it was."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    speaker, draft = world.seal(consultation, tmp_path / "a")
    _, other = world.seal(consultation, tmp_path / "b")
    attempt = str(speaker.upload(draft)["attempt"])
    aside = root().with_name("ailleurs")
    root().rename(aside)
    root().mkdir()
    with time_machine.travel(consultation.deadline, tick=False), refused("storage.unavailable"):
        speaker.finalise(draft, attempt)
    with time_machine.travel(consultation.deadline + timedelta(minutes=5), tick=False):
        tasks.sweep()
        with refused("storage.unavailable"):
            speaker.upload(other)  # nor is anything written on the wrong disk
    assert (losses(), Bid.objects.count()) == (0, 0)
    assert Attempt.objects.get(uuid=attempt).finalised_at == consultation.deadline
    shutil.rmtree(root())
    aside.rename(root())
    with time_machine.travel(consultation.deadline + timedelta(minutes=6), tick=False):
        tasks.sweep()
    bid = Bid.objects.get()
    assert (bid.received_at, bid.late) == (consultation.deadline, False)
    assert losses() == 0


def test_an_operator_may_say_that_an_empty_store_is_the_one(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    shutil.rmtree(root())  # a disk that died
    with refused("storage.unavailable"):
        speaker.finalise(draft, attempt)
    with pytest.raises(StoreUnavailable):
        presence.check()
    call_command("storage", "setup")
    assert StoreMark.objects.count() == 1
    with refused("deposit.incomplete"):
        speaker.finalise(draft, attempt)
    assert losses() == 1
    assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"


def test_a_loss_found_late_does_not_undo_what_was_sent_since(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep finds a loss; before it writes so, the company was told, sent again, and finalised."""
    speaker, draft = world.seal(world.publish(closes_in=timedelta(hours=1)), tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    gone = SealedObject.objects.order_by("pk")[0]
    shutil.rmtree(root() / "uploads" / gone.upload_id)
    real, turns = services.complete_objects, []

    def slow(*given: object, **named: object) -> None:
        turns.append(1)
        if len(turns) == 3:
            raise KeyboardInterrupt  # the second finalisation is received, and its process killed
        try:
            real(*given, **named)  # type: ignore[arg-type]
        except ObjectsLost:
            if len(turns) == 1:
                with refused("deposit.incomplete"):
                    speaker.finalise(draft, attempt)
                speaker.upload(draft)
                with pytest.raises(KeyboardInterrupt):
                    speaker.finalise(draft, attempt)
            raise

    finalised = timezone.now() - timedelta(minutes=2)
    Attempt.objects.update(finalised_at=finalised, finalised_by=world.bidder)
    with monkeypatch.context() as patched:
        patched.setattr(services, "complete_objects", slow)
        tasks.sweep()
    found = Attempt.objects.get(uuid=attempt)
    assert found.finalised_at is not None
    assert losses() == 1
    with time_machine.travel(found.finalised_at + timedelta(minutes=5)):
        tasks.sweep()
    assert Bid.objects.get().received_at == found.finalised_at


def test_what_the_platform_lost_may_be_admitted_late(world: World, tmp_path: Path) -> None:
    """Received in time, lost by the store, sent again too late: the buyer is told whose fault it is."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    gone = SealedObject.objects.order_by("pk")[0]
    shutil.rmtree(root() / "uploads" / gone.upload_id)
    with time_machine.travel(consultation.deadline, tick=False), refused("deposit.incomplete"):
        speaker.finalise(draft, attempt)
    with time_machine.travel(consultation.deadline + timedelta(minutes=1)):
        speaker.upload(draft)
        speaker.finalise(draft, attempt)
        bid = Bid.objects.get()
        assert bid.late
        assert [each.code for each in branches(bid, now=timezone.now())] == ["bytes-lost"]
