"""What a company, a network or the store may try against a deposit: each is refused, or costs nothing."""

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client as Browser
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.accounts.services import issue_token
from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.bids import destroying, probe, services, tasks
from dematmp.bids.assembly import parts_of
from dematmp.bids.attempts import forget_upload
from dematmp.bids.errors import AlreadyDeposited
from dematmp.bids.models import Attempt, Bid, Part, SealedObject
from dematmp.consultations.models import Consultation
from dematmp.opening.reconciliation import reconcile
from signing.ceremony import parse_record
from signing.client import Client, attempt_body, load_draft
from storage.s3 import S3Store
from storage.stores import object_store
from tests.bids.test_deposit import refused
from tests.bids.test_direct import store
from tests.fronts import answering
from tests.world import World

__all__ = ["store"]  # a fixture


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The deposit's id is the first that a client draws: a hostile one chooses it."""
    real, original = uuid.uuid4, Client.seal_draft

    def chosen(deposit: str) -> None:
        def first() -> uuid.UUID:
            monkeypatch.setattr("signing.client.uuid.uuid4", real)
            return uuid.UUID(deposit)

        def seal(self: Client, *args: object, **kwargs: object) -> object:
            monkeypatch.setattr("signing.client.uuid.uuid4", first)
            return original(self, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(Client, "seal_draft", seal)

    return chosen


def test_two_deposits_with_ids_alike_are_both_received(
    world: World, tmp_path: Path, choose: Callable[[str], None]
) -> None:
    """Their receipts' numbers would have been one, and the second deposit would have blocked the opening."""
    consultation = world.publish()
    for count in (1, 2):
        choose(f"abcdef01-23{count:02d}-4000-8000-000000000000")
        speaker, draft = world.seal(consultation, tmp_path / str(count))
        assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"
    numbers = list(Bid.objects.order_by("pk").values_list("number", flat=True))
    assert numbers[0].endswith("-ABCDEF0123")
    assert numbers[1] == f"{numbers[0]}-{Bid.objects.latest('pk').journal_index}"
    assert not Attempt.objects.being_recorded().exists()


def test_an_empty_file_is_refused_before_any_byte(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path, files={"dc1.txt": b"dc1", "prix.txt": b""})
    with refused("deposit.envelope-refused"):
        speaker.upload(draft)
    assert not Attempt.objects.exists()


def test_an_id_that_is_another_things_gives_nothing_of_it(
    world: World, tmp_path: Path, choose: Callable[[str], None]
) -> None:
    consultation = world.publish()
    ceremony = parse_record(bytes(consultation.ceremony_record or b"")).ceremony
    assert Entry.objects.filter(subject=ceremony).exists()
    choose(ceremony)
    speaker, draft = world.seal(consultation, tmp_path)
    state = speaker.upload(draft)
    speaker.finalise(draft, str(state["attempt"]))
    said = speaker.get(f"/attempts/{state['attempt']}/evidence.json")
    journal = said["journal"]
    assert isinstance(journal, dict)
    kinds = [each["type"] for each in journal["entries"]]
    assert set(kinds) == {"attempt", "deposit", "timestamp"}


def test_an_address_signed_for_other_bytes_never_replaces_what_was_acknowledged(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    """Announce A, give it up by sending it altered, announce B: A's address would still be good."""
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    sealed = SealedObject.objects.get(name="1.cob", envelope__kind="offre")
    good = (draft / str(sealed.envelope.uuid) / "1.cob").read_bytes()
    other = bytes(len(good))
    path = f"/attempts/{state['attempt']}"
    part = {"envelope": str(sealed.envelope.uuid), "name": "1.cob", "number": 1}
    a, b = (hashlib.sha256(each).hexdigest() for each in (other, good))
    speaker.post(f"{path}/parts", {"parts": [{**part, "sha256": a}]})
    put = f"{path}/envelopes/{sealed.envelope.uuid}/objects/1.cob/parts/1"
    with refused("deposit.part-corrupt"):
        speaker.send("PUT", put, content=good, headers={"X-Part-SHA256": a})
    with refused("deposit.part-refused"):
        speaker.post(f"{path}/parts", {"parts": [{**part, "sha256": b}]})
    assert "different" not in [each.kind for each in reconcile(digests=True)]


def test_a_request_held_back_while_the_parts_arrive_is_not_on_time(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    speaker, draft = world.seal(consultation, tmp_path)
    with time_machine.travel(consultation.deadline - timedelta(seconds=2), tick=True):
        began = timezone.now()  # the head of « finalise » arrives, its body does not
        speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    with time_machine.travel(consultation.deadline + timedelta(seconds=5), tick=True):
        speaker.upload(draft)
        attempt = Attempt.objects.get()
        digests = {
            (each.envelope.uuid, each.name): parts_of(each)[1]
            for each in SealedObject.objects.select_related("envelope")
        }
        bid = services.finalise(attempt, digests=digests, by=world.bidder, now=began)
    assert bid.late
    last = Part.objects.order_by("received_at").last()
    assert last is not None
    assert bid.received_at == last.received_at


def test_one_object_lost_costs_that_one_only(world: World, store: S3Store, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path, files={"f": b"x" * 1000, "g": b"y" * 9_000_000})
    attempt = str(speaker.upload(draft)["attempt"])
    first = SealedObject.objects.order_by("pk")[0]
    store.abort(first.key, first.upload_id)
    with refused("deposit.incomplete"):
        speaker.finalise(draft, attempt)
    lost = json.loads(bytes(Entry.objects.get(kind="bytes-lost").record))
    assert lost["objects"] == [first.key]
    assert not Part.objects.filter(object=first).exists()
    assert Part.objects.received().exists()
    speaker.upload(draft)
    assert speaker.finalise(draft, attempt)["state"] == "in-time"
    assert "different" not in [each.kind for each in reconcile(digests=True)]


def test_a_part_that_ends_after_the_deposit_effaces_nothing(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    """A slow copy of a part finds its upload completed: the store's « no such upload » is not a loss."""
    speaker, draft = world.seal(world.publish(), tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    stale = list(SealedObject.objects.select_related("envelope__attempt__consultation"))
    speaker.finalise(draft, attempt)
    parts = Part.objects.received().count()
    for each in stale:
        assert isinstance(forget_upload(each, now=timezone.now()), AlreadyDeposited)
    assert Part.objects.received().count() == parts
    assert not Entry.objects.filter(kind="bytes-lost").exists()


def test_an_attempt_begun_long_after_the_deadline_is_not_effaced_at_once(
    world: World, tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(days=31), tick=True):
        speaker, draft = world.seal(consultation, tmp_path)
        attempt = str(speaker.upload(draft)["attempt"])
        tasks.expire_uploads()
        assert speaker.finalise(draft, attempt)["state"] == "late"


def test_what_is_still_being_sent_is_not_effaced(world: World, tmp_path: Path) -> None:
    """Begun long ago, its last part came an hour ago: its company is at it."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    later = consultation.deadline + timedelta(days=31)
    Part.objects.filter(pk=Part.objects.latest("pk").pk).update(received_at=later - timedelta(hours=1))
    with time_machine.travel(later, tick=True):
        tasks.expire_uploads()
        assert Attempt.objects.get().destroyed_at is None
        assert speaker.finalise(draft, attempt)["state"] == "late"


def test_a_finalisation_after_the_parts_were_effaced_asks_for_them_again(
    world: World, tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    with time_machine.travel(consultation.deadline + timedelta(days=31), tick=True):
        stale = Attempt.objects.get()
        tasks.expire_uploads()
        assert not any(object_store().exists(each.key) for each in SealedObject.objects.all())
        with refused("deposit.incomplete"):
            speaker.finalise(draft, attempt)
        speaker.upload(draft)
        assert speaker.finalise(draft, attempt)["state"] == "late"
        destroying.expire(stale, now=timezone.now())
        assert all(object_store().exists(each.key) for each in SealedObject.objects.all())
    verify()


@pytest.mark.parametrize("body", [b"<html>entretien</html>", b'{"hello": 1}', b"[]"])
def test_a_maintenance_page_is_an_outage(world: World, settings: Settings, body: bytes) -> None:
    """A front that answers 200 with something else."""
    Consultation.objects.filter(pk=world.publish().pk).update(trial=True)
    with answering(lambda _: body) as front:
        settings.PROBE_URL = front
        made = probe.probe(now=timezone.now())
    assert made is not None
    assert not made.succeeded


@pytest.mark.parametrize("length", ["²", "1" * 5000, "", "-1"])
def test_a_length_that_is_no_length_is_a_refusal(world: World, tmp_path: Path, length: str) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    sealed = SealedObject.objects.get(name="1.cob", envelope__kind="offre")
    path = f"/api/v1/attempts/{state['attempt']}/envelopes/{sealed.envelope.uuid}/objects/1.cob/parts/1"
    token = issue_token(world.bidder, world.company, label="test", now=timezone.now())
    head = {"Authorization": f"Bearer {token}"}
    answer = Browser().generic("PUT", path, b"x", headers=head, CONTENT_LENGTH=length)
    assert 400 <= answer.status_code < 500


def test_a_company_has_only_so_many_deposits_begun(
    world: World, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it may not begin costs it nothing: those begun are resumed, and others begin theirs."""
    monkeypatch.setitem(settings.DEPOSIT_LIMITS, "attempts", 2)
    consultation = world.publish()
    drafts = [world.seal(consultation, tmp_path / str(count)) for count in range(3)]
    attempts = [
        str(speaker.post("/attempts", attempt_body(draft, load_draft(draft)))["attempt"])
        for speaker, draft in drafts[:2]
    ]
    speaker, draft = drafts[2]
    with refused("deposit.too-many-begun"):
        speaker.upload(draft)
    rival, theirs = world.seal(consultation, tmp_path / "rival", rival=True)
    assert rival.upload(theirs)
    first, begun = drafts[0]
    assert first.upload(begun)["attempt"] == attempts[0]
    assert first.finalise(begun, attempts[0])["state"] == "in-time"
    assert speaker.upload(draft)
