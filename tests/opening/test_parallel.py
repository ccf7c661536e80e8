"""Several envelopes opened at a time: the same minutes, and what stops everything is resumed."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.opening import unsealing
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.tasks import unseal_session
from dematmp.opening.unsealing import unseal_all
from storage.errors import StoreUnavailable
from storage.stores import object_store
from tests.opening.test_opening import opened
from tests.world import client, make_world


@pytest.mark.django_db(transaction=True)
def test_several_at_a_time_give_the_same_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)
    world = make_world()
    consultation = world.publish(closes_in=timedelta(hours=1))
    for number in range(6):
        company = number % 2 == 1
        lot = str(1 + number // 3 % 2)
        world.deposit(
            consultation,
            tmp_path / str(number),
            files={f"pièce {number}.txt": b"x" * (1000 + number)},
            rival=company,
            lot=lot,
        )
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        session = world.share(consultation, 0)
        world.share(consultation, 1)
        client(world.members[0], world.buyer).post(f"/openings/{session['session']}/open")
        found = OpeningSession.objects.get(consultation=consultation)
        real, calls = unsealing._open_envelope, []

        def fails_at_the_third(*arguments: object) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise StoreUnavailable("Le stockage ne répond pas.")
            real(*arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(unsealing, "_open_envelope", fails_at_the_third)
            with pytest.raises(StoreUnavailable):
                unseal_all(found, workers=3)
        assert OpenedEnvelope.objects.filter(state="waiting").exists()
        found.refresh_from_db()
        assert found.minutes is None
        unseal_all(found, workers=3)
        found.refresh_from_db()
        said = json.loads(bytes(found.minutes or b""))
        states = [row["state"] for row in said["envelopes"]]
        assert (states.count("opened"), states.count("waiting")) == (8, 0)
        for file in OpenedFile.objects.filter(opened__session=found):
            assert len(b"".join(object_store().open(file.key))) == file.size
        verify()
        browser = Client()
        browser.force_login(world.members[0])
        page = browser.get(reverse("session", kwargs={"consultation": consultation.uuid})).content.decode()
        assert "8 ouvert" in page


@pytest.mark.django_db(transaction=True)
def test_a_second_opening_of_an_envelope_changes_nothing(tmp_path: Path) -> None:
    world = make_world()
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        session = opened(world, consultation)
    row = session.envelopes.order_by("pk").first()
    assert row is not None
    before = (row.state, row.opened_at, Entry.objects.filter(kind="opened").count())
    unsealing._close(session, row, state="incident", reason="venu après", ek="")
    row.refresh_from_db()
    assert (row.state, row.opened_at, Entry.objects.filter(kind="opened").count()) == before
