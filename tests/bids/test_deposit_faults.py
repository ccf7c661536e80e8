"""One content for one part, the deadline that binds, a receipt that is reissued with its token."""

import hashlib
import io
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.bids import tasks
from dematmp.bids.attempts import receive_part
from dematmp.bids.models import Attempt, Bid, Part, SealedObject
from dematmp.consultations import errors, services
from dematmp.consultations.documents import add_version
from signing.client import ServerRefused, attempt_body, load_draft
from storage.stores import object_store
from tests.bids.test_deposit import refused
from tests.world import World


def test_a_part_never_has_two_contents(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    whole = (draft / envelope / "1.cob").read_bytes()
    other = bytes(len(whole))
    path = f"/attempts/{state['attempt']}/envelopes/{envelope}/objects/1.cob/parts/1"

    def put(data: bytes) -> None:
        speaker.send("PUT", path, content=data, headers={"X-Part-SHA256": hashlib.sha256(data).hexdigest()})

    put(whole)
    with refused("deposit.part-refused"):
        put(other)
    put(whole)
    assert Part.objects.get(object__name="1.cob", object__envelope__uuid=envelope).sha256 == (
        hashlib.sha256(whole).hexdigest()
    )


def test_a_part_that_arrived_broken_may_be_sent_again(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    whole = (draft / envelope / "1.cob").read_bytes()
    path = f"/attempts/{state['attempt']}/envelopes/{envelope}/objects/1.cob/parts/1"
    with refused("deposit.part-corrupt"):
        digest = hashlib.sha256(whole).hexdigest()
        speaker.send("PUT", path, content=bytes(len(whole)), headers={"X-Part-SHA256": digest})
    assert not Part.objects.received().exists()
    assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"


def test_a_part_is_received_even_if_the_same_one_was_cut_meanwhile(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    whole = (draft / envelope / "1.cob").read_bytes()

    class CutMeanwhile(io.BytesIO):
        """The upload is dropped, and the part with it, while this one arrives."""

        def read(self, size: int | None = -1) -> bytes:
            for part in Part.objects.all():
                Part.objects.filter(pk=part.pk, received_at=None).delete()
            return super().read(size)

    part = receive_part(
        Attempt.objects.get(),
        envelope=uuid.UUID(envelope),
        name="1.cob",
        number=1,
        stream=CutMeanwhile(whole),
        length=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        now=timezone.now(),
    )
    assert Part.objects.received().get() == part
    assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"


def test_an_extension_decided_before_the_deadline_saves_who_finalised_after_it(
    world: World, tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    assert consultation.deadline is not None
    old = consultation.deadline
    services.set_deadline(
        consultation, at=old + timedelta(days=1), by=world.agent, reason="X", now=old - timedelta(seconds=1)
    )
    with time_machine.travel(old + timedelta(milliseconds=10), tick=False):
        assert speaker.finalise(draft, attempt)["state"] == "in-time"


def test_a_receipt_issued_without_token_is_reissued_with_it(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    settings.TSA_URLS = ["http://127.0.0.1:9/tsa"]
    world.deposit(world.publish(), tmp_path)
    tasks.sweep()
    bid = Bid.objects.get()
    assert (bid.token, bid.receipt_stamped) == (None, False)
    first = bytes(bid.receipt_pdf or b"")
    assert first
    settings.TSA_URLS = ["embedded"]
    tasks.sweep()
    bid.refresh_from_db()
    assert bid.token
    assert bid.receipt_stamped
    assert bytes(bid.receipt_pdf or b"") != first


def test_a_company_whose_name_no_font_draws_gets_its_receipt(world: World, tmp_path: Path) -> None:
    world.company.name = "华为 SARL"
    world.company.save()
    world.deposit(world.publish(), tmp_path)
    tasks.sweep()
    assert bytes(Bid.objects.get().receipt_pdf or b"").startswith(b"%PDF-")


def test_nothing_changes_under_the_eyes_of_who_validates(world: World) -> None:
    draft = world.draft()
    now = timezone.now()
    services.set_deadline(draft, at=now + timedelta(days=9), by=world.agent, now=now)
    services.submit(draft, by=world.agent, now=now)
    services.validate(draft, by=world.validator, now=now)
    draft.refresh_from_db()
    with pytest.raises(errors.WrongStep, match="validation"):
        services.set_deadline(draft, at=now + timedelta(hours=1), by=world.agent, now=now)
    with pytest.raises(errors.WrongStep, match="validation"):
        add_version(draft, title="X", kind="rc", name="x.pdf", chunks=[b"%PDF-"], by=world.agent, now=now)


@pytest.mark.parametrize(
    "clock",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00", "hier", "\u0000"],
)
def test_a_clock_that_makes_no_sense_never_refuses_a_deposit(
    world: World, tmp_path: Path, clock: str
) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    speaker.post("/attempts", attempt_body(draft, load_draft(draft)) | {"client_clock": clock})
    assert Attempt.objects.get().client_clock is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/attempts", {"consultation": "x", "envelopes": []}),
        ("/attempts", {"consultation": "0" * 400, "envelopes": [{"header": "\ud800"}]}),
        ("/committee/protectors", {"label": "a\u0000", "kind": "passphrase", "public_key": ""}),
        ("/committee/protectors", {"label": "\ud800", "kind": "passphrase", "public_key": "!"}),
    ],
)
def test_malformed_json_is_explained_and_never_a_failure(
    world: World, path: str, body: dict[str, object], client: Client
) -> None:
    from dematmp.accounts.services import issue_token

    speaker, house = (world.bidder, world.company) if path == "/attempts" else (world.members[0], world.buyer)
    token = issue_token(speaker, house, label="essai", now=timezone.now())
    answer = client.post(
        f"/api/v1{path}", body, content_type="application/json", headers={"Authorization": f"Bearer {token}"}
    )
    assert 400 <= answer.status_code < 500
    assert answer.json()["message"]


def test_an_object_name_that_is_none_of_ours_is_refused(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    path = f"/attempts/{state['attempt']}/envelopes/{envelope}/objects/%00/parts/1"
    with pytest.raises(ServerRefused) as error:
        speaker.send("PUT", path, content=b"x", headers={"X-Part-SHA256": "0" * 64})
    assert 400 <= error.value.status < 500


def test_the_admin_neither_counts_nor_names_the_bids_of_an_open_consultation(
    world: World, tmp_path: Path, client: Client
) -> None:
    from dematmp.accounts.models import User
    from dematmp.audit.models import Entry

    consultation = world.publish(closes_in=timedelta(hours=1))
    receipt = world.deposit(consultation, tmp_path)
    client.force_login(User.objects.create_superuser("root@example.fr", "phrase de passe 42"))
    lists = [reverse("admin:bids_bid_changelist"), reverse("admin:audit_entry_changelist")]
    pages = [client.get(address).content.decode() for address in lists]
    one = client.get(reverse("admin:bids_bid_change", args=[Bid.objects.get().pk]), follow=True)
    everything = "".join([*pages, one.content.decode()])
    assert str(receipt["number"]) not in everything
    assert str(world.company) not in everything
    assert str(consultation.uuid) not in everything
    assert Entry.objects.filter(kind="admin-read").count() >= 3
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        client.force_login(User.objects.get(email="root@example.fr"))
        assert str(receipt["number"]) in client.get(lists[0]).content.decode()


def test_what_nobody_finalised_is_freed_a_month_after_the_deadline(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(consultation, tmp_path / "abandoned")
    speaker.upload(draft)
    world.deposit(consultation, tmp_path / "deposited")
    abandoned = Attempt.objects.get(consultation=consultation, bid=None)
    uploads = {each.upload_id for each in SealedObject.objects.filter(envelope__attempt=abandoned)}
    root = Path(object_store()._uploads)  # type: ignore[attr-defined]
    assert consultation.deadline is not None
    for days, left in ((29, True), (31, False), (32, False)):
        with time_machine.travel(consultation.deadline + timedelta(days=days)):
            tasks.expire_uploads()
        assert all((root / each).exists() is left for each in uploads)
    abandoned.refresh_from_db()
    assert abandoned.destroyed_at is not None
    assert Part.objects.received().filter(object__envelope__attempt=abandoned).exists()
    bid = Bid.objects.get(consultation=consultation)
    assert bid.attempt.destroyed_at is None
    for each in SealedObject.objects.filter(envelope__attempt=bid.attempt):
        assert object_store().size(each.key) == each.size
