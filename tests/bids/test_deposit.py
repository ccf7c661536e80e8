"""A deposit: sealed before it leaves, received at the server's time, receipted."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.bids.models import Attempt, Bid, Part
from dematmp.bids.services import bid_state
from signing.client import ServerRefused
from tests.world import World


def refused(code: str) -> "pytest.RaisesExc[ServerRefused]":
    return pytest.raises(ServerRefused, check=lambda error: error.reason == code and bool(error.next))


def test_a_deposit_gives_a_receipt_a_bid_and_a_journal_entry(world: World, tmp_path: Path) -> None:
    receipt = world.deposit(world.publish(), tmp_path)
    bid = Bid.objects.get()
    assert receipt["number"] == bid.number
    assert receipt["state"] == "in-time"
    assert Entry.objects.filter(kind="deposit").count() == 1
    verify()


def test_finalising_twice_gives_the_same_receipt(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    first, again = speaker.finalise(draft, attempt), speaker.finalise(draft, attempt)
    assert first["number"] == again["number"]
    assert Bid.objects.count() == 1
    assert Entry.objects.filter(kind="deposit").count() == 1


def test_a_truncated_part_is_refused_and_the_deposit_resumes(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", _body(draft))
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    whole = (draft / envelope / "1.cob").read_bytes()
    path = f"/attempts/{state['attempt']}/envelopes/{envelope}/objects/1.cob/parts/1"
    with refused("deposit.part-truncated"):
        speaker.send(
            "PUT", path, content=whole[:-1], headers={"X-Part-SHA256": hashlib.sha256(whole).hexdigest()}
        )
    assert not Part.objects.exists()
    assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"


def _body(draft: Path) -> dict[str, object]:
    from signing.client import attempt_body, load_draft

    return attempt_body(draft, load_draft(draft))


def test_finalising_before_everything_arrived_says_what_is_missing(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", _body(draft))
    with refused("deposit.incomplete"):
        speaker.finalise(draft, str(state["attempt"]))
    assert not Bid.objects.exists()


def test_an_envelope_sealed_for_another_lot_is_refused(world: World, tmp_path: Path) -> None:
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path, lot="9")
    with refused("deposit.envelope-refused"):
        speaker.upload(draft)
    assert not Attempt.objects.exists()


def test_an_envelope_of_another_company_is_refused(world: World, tmp_path: Path) -> None:
    consultation = world.publish()
    _, draft = world.seal(consultation, tmp_path)
    thief, _ = world.seal(consultation, tmp_path / "rival", rival=True)
    with refused("deposit.envelope-refused"):
        thief.upload(draft)


@pytest.mark.parametrize(("seconds", "late"), [(-0.001, False), (0.0, False), (0.001, True)])
def test_the_deadline_binds_to_the_instant(world: World, tmp_path: Path, seconds: float, late: bool) -> None:
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=seconds), tick=False):
        receipt = speaker.finalise(draft, attempt)
    assert receipt["state"] == ("late" if late else "in-time")
    assert Bid.objects.get().late is late


def test_only_the_last_deposit_in_time_counts(world: World, tmp_path: Path) -> None:
    consultation = world.publish()
    world.deposit(consultation, tmp_path / "first")
    world.deposit(consultation, tmp_path / "second")
    first, second = Bid.objects.order_by("received_at")
    assert (bid_state(first), bid_state(second)) == ("superseded", "deposited")


def test_a_company_does_not_see_its_rival_s_deposit(world: World, tmp_path: Path) -> None:
    consultation = world.publish()
    receipt = world.deposit(consultation, tmp_path)
    rival, _ = world.seal(consultation, tmp_path / "rival", rival=True)
    with pytest.raises(ServerRefused) as error:
        rival.get(f"/deposits/{receipt['deposit']}")
    assert error.value.status == 404


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b", "é" * 300, ""])
def test_hostile_names_never_leave_the_company(world: World, tmp_path: Path, name: str) -> None:
    from signing.errors import NameRefused

    with pytest.raises(NameRefused):
        world.seal(world.publish(), tmp_path, files={"a.txt": b"a", name: b"b"})
    assert not Attempt.objects.exists()


def test_what_is_stored_before_the_deadline_holds_no_plaintext(world: World, tmp_path: Path) -> None:
    from django.conf import settings
    from django.core.management import call_command

    world.deposit(world.publish(), tmp_path, files={"SECRET-NAME.txt": b"SECRET-CONTENT" * 100})
    dump = tmp_path / "dump.json"
    call_command("dumpdata", output=str(dump), verbosity=0)
    stored = [path for path in settings.STATE_DIR.rglob("*") if path.is_file()]
    everything = b"".join(path.read_bytes() for path in [dump, *stored])
    assert b"SECRET-NAME" not in everything
    assert b"SECRET-CONTENT" not in everything


def test_a_finalisation_cut_off_after_its_receipt_is_completed_at_its_own_instant(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dematmp.bids import services, tasks

    consultation = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    assert consultation.deadline is not None

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(services, "complete_objects", killed)
        with time_machine.travel(consultation.deadline, tick=False):
            speaker.finalise(draft, attempt)
    assert not Bid.objects.exists()
    with time_machine.travel(consultation.deadline + timedelta(minutes=5), tick=False):
        tasks.sweep()
        receipt = speaker.finalise(draft, attempt)
    bid = Bid.objects.get()
    assert (bid.received_at, bid.late, receipt["number"]) == (consultation.deadline, False, bid.number)


def test_bytes_lost_by_the_store_are_asked_for_again_and_the_loss_is_journalled(
    world: World, tmp_path: Path
) -> None:
    import shutil

    from django.conf import settings

    speaker, draft = world.seal(world.publish(), tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    shutil.rmtree(Path(settings.OBJECT_STORE["root"]) / "uploads")
    with refused("deposit.incomplete"):
        speaker.finalise(draft, attempt)
    assert Entry.objects.filter(kind="bytes-lost").count() == 1
    assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"


def test_a_deposit_is_withdrawn_until_the_deadline_and_stays_sealed(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "first")
    speaker, draft = world.seal(consultation, tmp_path / "second")
    second = speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))
    path = f"/deposits/{second['deposit']}/withdraw"
    assert speaker.post(path)["state"] == "withdrawn"
    assert speaker.post(path)["state"] == "withdrawn"
    assert Entry.objects.filter(kind="withdrawal").count() == 1
    # The one before it counts again: it is the last one received in time that was not withdrawn.
    first = Bid.objects.order_by("received_at").first()
    assert first is not None
    assert bid_state(first) == "deposited"


def test_after_the_deadline_nothing_is_withdrawn(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    receipt = world.deposit(consultation, tmp_path)
    assert consultation.deadline is not None
    speaker, _ = world.seal(consultation, tmp_path / "other")
    with (
        time_machine.travel(consultation.deadline + timedelta(milliseconds=1), tick=False),
        refused("deposit.too-late"),
    ):
        speaker.post(f"/deposits/{receipt['deposit']}/withdraw")
    assert Bid.objects.get().withdrawn_at is None


def test_a_withdrawal_through_the_page_takes_two_steps(world: World, tmp_path: Path, client: Client) -> None:
    receipt = world.deposit(world.publish(closes_in=timedelta(hours=1)), tmp_path)
    client.force_login(world.bidder)
    address = reverse("withdraw", kwargs={"deposit": receipt["deposit"]})
    assert client.get(address).status_code == 200
    assert Bid.objects.get().withdrawn_at is None
    assert client.post(address).status_code == 302
    assert Bid.objects.get().withdrawn_at is not None
    client.force_login(world.rival_bidder)
    assert client.post(address).status_code == 404
