"""A backup copy waits for the opening: it says whether the copy is needed, and why."""

from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.utils import timezone

from dematmp.bids.copies import record_copy
from dematmp.bids.errors import CopyRefused
from dematmp.bids.models import BackupCopy
from dematmp.consultations.models import Consultation
from dematmp.opening.backup_copies import destroy_copy, open_copy
from dematmp.opening.models import OpenedFile, OpeningSession
from tests.opening.test_opening import opened
from tests.world import World


def kept(world: World, made: Consultation) -> BackupCopy:
    """A copy of the company, which arrived in time."""
    company, now = world.company, timezone.now()
    said = {"company": company.name, "siret": company.siret or "", "medium": "paper", "lots": ""}
    return record_copy(made, **said, received_at=now, by=world.agent, now=now)


def test_no_copy_is_opened_nor_destroyed_before_the_bids(world: World, tmp_path: Path) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path)
    copy = kept(world, made)
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=2)):
        with pytest.raises(CopyRefused, match="pas encore ouverts"):
            open_copy(copy, reason="malware", words="", by=world.agent, now=timezone.now())
        with pytest.raises(CopyRefused, match="clôture du procès-verbal"):
            destroy_copy(copy, by=world.agent, now=timezone.now())
        opened(world, made)
        with pytest.raises(CopyRefused, match="clôture du procès-verbal"):
            destroy_copy(copy, by=world.agent, now=timezone.now())
        OpeningSession.objects.update(closed_at=timezone.now())
        destroy_copy(copy, by=world.agent, now=timezone.now())
    copy.refresh_from_db()
    assert copy.destroyed_at is not None


def test_a_copy_is_opened_for_what_the_opening_found(world: World, tmp_path: Path) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path)
    copy = kept(world, made)
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=2)):
        opened(world, made)
        for reason in ("malware", "late", "unreadable"):
            with pytest.raises(CopyRefused, match="ne s'ouvre pas"):
                open_copy(copy, reason=reason, words="", by=world.agent, now=timezone.now())
        file = OpenedFile.objects.order_by("pk")[0]
        OpenedFile.objects.filter(pk=file.pk).update(verdict="infected")
        open_copy(copy, reason="malware", words="Win.Test", by=world.agent, now=timezone.now())
    copy.refresh_from_db()
    assert copy.open_reason == "malware"


def test_the_copy_of_a_late_bid_begun_in_time_is_opened(world: World, tmp_path: Path) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(made, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    copy = kept(world, made)
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=2)):
        speaker.finalise(draft, attempt)
        opened(world, made)
        open_copy(copy, reason="late", words="", by=world.agent, now=timezone.now())
    copy.refresh_from_db()
    assert copy.opened_at is not None
