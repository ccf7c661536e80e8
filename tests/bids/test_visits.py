"""How the backup channel is, told to the buyer while companies may need it; never what it holds."""

from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.bids.models import ChannelVisit
from dematmp.bids.tasks import visit_channel
from dematmp.bids.visits import SILENT, health
from tests.world import World, page


@pytest.fixture(autouse=True)
def channel(settings: Settings) -> None:
    settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": "http://127.0.0.1:9", "journal_key": "k"}


def test_a_channel_that_answers_or_falls_silent_is_said_on_the_page(world: World) -> None:
    made = world.publish()
    address = reverse("buyer-consultation", args=[made.uuid])
    assert "Premier relevé dans la minute" in page(world.agent).get(address).content.decode()
    ChannelVisit.objects.create(consultation=made, at=timezone.now(), deposits=3)
    shown = page(world.agent).get(address).content.decode()
    assert "Il répond" in shown
    with time_machine.travel(timezone.now() + SILENT + timedelta(seconds=1)):
        visit_channel()  # nobody is at that address: nothing is written, nothing fails
        shown = page(world.agent).get(address).content.decode()
    assert "Il ne répond plus" in shown
    assert "Prévenez l'exploitant" in shown.replace("&#x27;", "'")


def test_one_that_never_answered_is_not_well_for_ever(world: World) -> None:
    made = world.publish()
    with time_machine.travel(timezone.now() + SILENT + timedelta(seconds=1)):
        found = health(made, now=timezone.now())
        assert found is not None
        assert (found.answered_at, found.is_well) == (None, False)


def test_nothing_is_said_without_a_channel_before_the_publication_or_after_the_deadline(
    world: World, settings: Settings
) -> None:
    now = timezone.now()
    assert health(world.draft("2026-09"), now=now) is None
    made = world.publish()
    assert made.deadline is not None
    assert health(made, now=made.deadline + timedelta(seconds=1)) is None
    settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": ""}
    assert health(made, now=now) is None
