"""What a company was told holds: published limits, an extension, what its withdrawal does."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.models import Entry
from dematmp.bids.evidence import MAX_STARTS
from dematmp.bids.models import Bid
from dematmp.bids.services import bid_state
from dematmp.bids.start_refusals import StartRefusal
from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from signing.client import ServerRefused
from tests.world import World, page


def extend(world: World, made: Consultation) -> set[str]:
    """Who is written to when the deadline is put off."""
    before = Mail.objects.count()
    assert made.deadline is not None
    at = made.deadline + timedelta(hours=2)
    services.set_deadline(made, at=at, by=world.agent, reason="panne", now=timezone.now())
    return {mail.to for mail in Mail.objects.order_by("pk")[before:]}


def test_limits_lowered_after_the_publication_refuse_nobody(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    made = world.publish()
    speaker, draft = world.seal(made, tmp_path, files={"offre.txt": b"x" * 3_000_000})
    said = json.loads(bytes(Entry.objects.get(kind="consultation-published").record))
    assert said["limits"]["file_bytes"] == settings.DEPOSIT_LIMITS["file_bytes"]
    attempt = str(speaker.upload(draft)["attempt"])
    settings.DEPOSIT_LIMITS = {
        **settings.DEPOSIT_LIMITS,
        "envelope_bytes": 1_000_000,
        "file_bytes": 1_000_000,
    }
    assert speaker.finalise(draft, attempt)["state"] == "in-time"


def test_a_file_over_the_limit_is_named_as_its_company_knows_it(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    settings.DEPOSIT_LIMITS = {**settings.DEPOSIT_LIMITS, "file_bytes": 1024**2}
    made = world.publish()
    speaker, draft = world.seal(made, tmp_path, files={"a.txt": b"x", "b.txt": b"x" * 3 * 1024**2})
    with pytest.raises(ServerRefused, match="fichier n° 2 de ce pli compte 3,0 Mo ; la limite est de 1,0 Mo"):
        speaker.upload(draft)


def test_who_was_depositing_is_told_of_the_extension(world: World, tmp_path: Path) -> None:
    made = world.publish()
    speaker, draft = world.seal(made, tmp_path)
    speaker.upload(draft)
    assert world.bidder.email in extend(world, made)


def test_who_was_refused_at_the_start_is_told_of_the_extension(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    settings.DEPOSIT_LIMITS = {**settings.DEPOSIT_LIMITS, "file_bytes": 1000}
    made = world.publish()
    speaker, draft = world.seal(made, tmp_path, files={"offre.txt": b"x" * 30_000})
    with pytest.raises(ServerRefused):
        speaker.upload(draft)
    assert world.bidder.email in extend(world, made)


def test_who_withdrew_everything_is_not_told(world: World, tmp_path: Path) -> None:
    made = world.publish()
    world.deposit(made, tmp_path)
    page(world.bidder).post(reverse("withdraw", args=[Bid.objects.get().uuid]))
    assert world.bidder.email not in extend(world, made)


def test_withdrawing_a_replacement_says_what_counts_again(world: World, tmp_path: Path) -> None:
    made = world.publish()
    world.deposit(made, tmp_path / "1")
    world.deposit(made, tmp_path / "2")
    first, second = Bid.objects.order_by("received_at")
    browser = page(world.bidder)
    shown = browser.get(reverse("withdraw", args=[second.uuid])).content.decode()
    assert "compte de nouveau" in shown
    assert first.number in shown
    assert "compte de nouveau" not in browser.get(reverse("withdraw", args=[first.uuid])).content.decode()
    browser.post(reverse("withdraw", args=[second.uuid]))
    assert first.number in Mail.objects.get(subject=f"Dépôt {second.number} retiré").body
    assert bid_state(Bid.objects.get(pk=first.pk)) == "deposited"


def test_the_last_refusals_at_the_start_are_kept_too(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    """Those near the deadline tell the most; the journal takes one a minute once there are many."""
    settings.DEPOSIT_LIMITS = {**settings.DEPOSIT_LIMITS, "file_bytes": 1000}
    made = world.publish()
    speaker, draft = world.seal(made, tmp_path, files={"offre.txt": b"x" * 30_000})

    def refused() -> None:
        with pytest.raises(ServerRefused):
            speaker.upload(draft)

    for _ in range(MAX_STARTS + 2):
        refused()
    assert made.deadline is not None
    with time_machine.travel(made.deadline - timedelta(minutes=2)):
        refused()
        refused()
    assert StartRefusal.objects.count() == MAX_STARTS
    assert Entry.objects.filter(kind="attempt-refused").count() == MAX_STARTS + 1
    assert StartRefusal.objects.latest("at").at > made.deadline - timedelta(minutes=3)
