"""The permanent test consultation: the same code, nothing that counts, nothing that stays."""

from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.bids.destroying import destroy
from dematmp.bids.models import Attempt, Bid
from dematmp.bids.tasks import purge_trials
from dematmp.consultations.models import Consultation
from dematmp.consultations.tasks import pad_journal
from dematmp.consultations.trial import ensure
from signing.client import ServerRefused
from storage.stores import object_store
from tests.world import World, client


@pytest.fixture
def trial(world: World) -> Consultation:
    call_command("trial_consultation")
    return ensure(now=timezone.now())


def objects(attempt: Attempt) -> list[bool]:
    store = object_store()
    keys = [
        f"{each.prefix}/{name}"
        for each in attempt.envelopes.all()
        for name in ("header.json", "0.cob", "t.cob")
    ]
    return [store.exists(key) for key in keys]


def test_a_company_deposits_as_for_a_real_one(world: World, trial: Consultation, tmp_path: Path) -> None:
    receipt = world.deposit(trial, tmp_path)
    assert receipt["state"] == "in-time"
    assert Bid.objects.get().consultation == trial
    verify()


def test_there_is_one_and_nobody_opens_it(world: World, trial: Consultation, tmp_path: Path) -> None:
    assert ensure(now=timezone.now()) == trial
    world.deposit(trial, tmp_path)
    with pytest.raises(ServerRefused) as error:
        client(world.members[0], world.buyer).start_opening(str(trial.uuid))
    assert error.value.status == 404


def test_it_is_not_in_the_list_but_its_page_says_what_it_is(world: World, trial: Consultation) -> None:
    page = Client().get(reverse("home")).content.decode()
    assert f'<h2><a href="{reverse("consultation", kwargs={"consultation": trial.uuid})}' not in page
    assert (
        "Entraînez-vous sur la consultation d'essai".replace("'", "&#x27;") in page
        or "Entraînez-vous" in page
    )
    assert (
        "Rien de ce qui y est déposé ne compte"
        in Client().get(reverse("consultation", kwargs={"consultation": trial.uuid})).content.decode()
    )


def test_it_neither_withholds_nor_pads_the_journal(world: World, trial: Consultation) -> None:
    assert not Consultation.objects.withheld(now=timezone.now()).exists()
    before = Entry.objects.count()
    for _ in range(40):
        pad_journal()
    assert Entry.objects.count() == before


def test_what_was_tried_is_destroyed_after_a_week_and_nothing_else_is(
    world: World, trial: Consultation, tmp_path: Path
) -> None:
    world.deposit(trial, tmp_path / "a")
    real = world.publish()
    world.deposit(real, tmp_path / "b")
    tried, kept = Attempt.objects.get(consultation=trial), Attempt.objects.get(consultation=real)
    purge_trials()
    assert all(objects(tried))
    with time_machine.travel(timezone.now() + timedelta(days=7, minutes=1)):
        purge_trials()
        purge_trials()
        destroy(kept, now=timezone.now())
    assert not any(objects(tried))
    assert all(objects(kept))
    assert Entry.objects.filter(kind="destruction").count() == 1
    tried.refresh_from_db()
    assert tried.destroyed_at is not None
    verify()
