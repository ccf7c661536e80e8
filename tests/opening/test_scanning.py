"""The antivirus may be away, die in the middle, or learn: no opening waits, nothing unscanned is served."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from dematmp.opening import closing, scanning
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.models import OpenedFile, OpeningSession
from dematmp.opening.tasks import rescan, sweep
from deploy.services.clamd import EICAR, Clamd
from storage.errors import WorkspaceFull
from tests.opening.test_opening import opened
from tests.world import World

ODD = b"connu des signatures de demain"
DEAD = "tcp://127.0.0.1:9"


@pytest.fixture
def ended(world: World, tmp_path: Path) -> Iterator[Consultation]:
    """A consultation closed a second ago, with a bid whose file later signatures will know."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a", files={"offre.txt": ODD, "virus.com": EICAR})
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        yield consultation


def file(name: str) -> OpenedFile:
    return OpenedFile.objects.get(opened__envelope__kind="offre", name=name)


def served(world: World, session: OpeningSession, name: str) -> int:
    client = Client()
    client.force_login(world.members[0])
    address = reverse("opened-file", args=[session.consultation.uuid, file(name).uuid])
    return client.get(address).status_code


def _killed_while_it_receives(mortal: Clamd) -> None:
    """clamd keeps what it receives in its temporary folder."""
    until = time.monotonic() + 60
    while not any((mortal.folder / "tmp").iterdir()) and time.monotonic() < until:
        time.sleep(0.001)  # a file of 24 MB passes in some tenths of a second
    mortal.kill()


def test_an_opening_does_not_wait_for_the_antivirus(
    world: World, ended: Consultation, clamd: Clamd, settings: Settings
) -> None:
    settings.ANTIVIRUS_URL = DEAD
    session = opened(world, ended)
    assert session.state == "done"
    said = json.loads(bytes(session.minutes or b""))["envelopes"]
    assert {each["scan"]["verdict"] for row in said for each in row.get("files", [])} == {"pending"}
    assert served(world, session, "offre.txt") == 404
    with pytest.raises(DecisionRefused, match="attendent encore"):
        closing.close(session, by=world.members[0], now=timezone.now())
    sweep()
    assert file("offre.txt").verdict == "pending", "still away"
    settings.ANTIVIRUS_URL = clamd.url
    sweep()
    assert (file("offre.txt").verdict, file("virus.com").verdict) == ("clean", "infected")
    assert (served(world, session, "offre.txt"), served(world, session, "virus.com")) == (200, 404)
    for kept in OpenedFile.objects.filter(verdict="infected"):
        closing.decide_file(
            kept, decision="set-aside", reason="Virus.", by=world.members[0], now=timezone.now()
        )
    closing.close(session, by=world.members[0], now=timezone.now())
    session.refresh_from_db()
    annex = json.loads(bytes(session.annex or b""))
    assert {each["name"]: each["verdict"] for each in annex["scans"]}["virus.com"] == "infected"
    verify()


def test_an_antivirus_that_dies_in_the_middle_costs_nothing(
    world: World, tmp_path: Path, clamd: Clamd, settings: Settings
) -> None:
    """It dies once it has received the file, and before its verdict."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a", files={"plan.bin": b"plan" * 6_000_000})
    assert consultation.deadline is not None
    with Clamd() as mortal, time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        settings.ANTIVIRUS_URL = mortal.url
        watch = Thread(target=_killed_while_it_receives, args=(mortal,))
        watch.start()
        session = opened(world, consultation)
        watch.join()
        assert session.state == "done"
        assert file("plan.bin").verdict == "pending"
        settings.ANTIVIRUS_URL = clamd.url
        sweep()
        assert file("plan.bin").verdict == "clean"
        assert served(world, session, "plan.bin") == 200


def test_a_full_workspace_is_never_the_last_word_on_a_file(
    world: World, ended: Consultation, clamd: Clamd, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the platform has no room to look, the file waits for as long as that lasts."""
    settings.ANTIVIRUS_URL = DEAD
    opened(world, ended)
    settings.ANTIVIRUS_URL = clamd.url
    later = timezone.now() + scanning.PATIENCE * 3

    def full(*_: object) -> None:
        raise WorkspaceFull("plein")

    with monkeypatch.context() as patched:
        patched.setattr(scanning, "scan", full)
        with pytest.raises(WorkspaceFull):
            scanning.scan_again(file("offre.txt").pk, now=later)
    assert file("offre.txt").verdict == "pending"
    scanning.scan_again(file("offre.txt").pk, now=later)
    assert file("offre.txt").verdict == "clean"


def test_later_signatures_withdraw_a_file_and_give_one_back(
    world: World, ended: Consultation, clamd: Clamd, settings: Settings
) -> None:
    settings.ANTIVIRUS_URL = f"{clamd.url}#hier"
    session = opened(world, ended)
    assert served(world, session, "offre.txt") == 200
    rescan()
    assert file("offre.txt").scanned_at == file("offre.txt").done_at, "the same signatures: not again"
    Mail.objects.all().delete()
    with Clamd(also=ODD) as learned:
        settings.ANTIVIRUS_URL = f"{learned.url}#demain"
        rescan()
    assert file("offre.txt").verdict == "infected"
    assert served(world, session, "offre.txt") == 404
    assert Mail.objects.filter(subject__contains="n'est plus communiqué").count() == 2 * len(world.members)
    settings.ANTIVIRUS_URL = f"{clamd.url}#apres-demain"
    rescan()
    assert served(world, session, "offre.txt") == 200, "it was a false alarm"
    changed = [json.loads(bytes(each.record)) for each in Entry.objects.filter(kind="scan-verdict")]
    ours = str(file("offre.txt").opened.envelope.uuid)
    of_offer = [each for each in changed if each["envelope"] == ours and "before" in each]
    assert [(each["before"], each["verdict"]) for each in of_offer] == [
        ("clean", "infected"),
        ("infected", "clean"),
    ]
    verify()


def test_what_was_opened_long_ago_is_not_scanned_again(
    world: World, ended: Consultation, clamd: Clamd, settings: Settings
) -> None:
    settings.ANTIVIRUS_URL = f"{clamd.url}#hier"
    opened(world, ended)
    OpenedFile.objects.update(done_at=timezone.now() - timedelta(days=settings.RESCAN_DAYS, seconds=1))
    settings.ANTIVIRUS_URL = f"{clamd.url}#demain"
    rescan()
    assert set(OpenedFile.objects.values_list("engine", flat=True)) == {file("offre.txt").engine}
    assert file("offre.txt").engine.endswith("#hier")


def test_minutes_close_on_the_verdict_of_the_newest_signatures(
    world: World, ended: Consultation, clamd: Clamd, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ANTIVIRUS_URL = f"{clamd.url}#hier"
    session, by, now = opened(world, ended), world.members[0], timezone.now()
    before = closing.undecided(session)
    assert "offre.txt" not in {each.name for each in before}
    for each in before:
        closing.decide_file(each, decision="set-aside", reason="Un virus.", by=by, now=now)
    with Clamd(also=ODD) as learned:
        settings.ANTIVIRUS_URL = f"{learned.url}#demain"
        # The queue is slow: the closing waits for it, ten minutes at most.
        asked: list[int] = []
        with monkeypatch.context() as slow:
            slow.setattr("dematmp.opening.tasks.scan_opened.delay", asked.append)
            with pytest.raises(DecisionRefused, match="signatures antérieures"):
                closing.close(session, by=by, now=now)
            assert file("offre.txt").pk in asked
        with pytest.raises(DecisionRefused, match="n'a pas décidé"):
            closing.close(session, by=by, now=now)
    assert file("offre.txt").verdict == "infected"
    for each in closing.undecided(session):
        closing.decide_file(each, decision="set-aside", reason="Un virus.", by=by, now=now)
    settings.ANTIVIRUS_URL = f"{clamd.url}#apres-demain"
    monkeypatch.setattr("dematmp.opening.tasks.scan_opened.delay", asked.append)
    later = now + timedelta(minutes=11)
    with pytest.raises(DecisionRefused, match="signatures antérieures"):
        closing.close(session, by=by, now=later)  # the wait is that of these signatures, not of the former
    with pytest.raises(DecisionRefused, match="signatures antérieures"):
        closing.close(session, by=by, now=later + timedelta(minutes=9))
    later += timedelta(minutes=11)
    closing.close(session, by=by, now=later)  # it never came back: the last verdict stands
    session.refresh_from_db()
    assert session.closed_at == later
