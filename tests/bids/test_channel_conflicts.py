"""What the backup channel tells, and what the platform knows: the first instant, one id, who withdraws."""

import io
import json
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import Membership, User
from dematmp.accounts.services import issue_token, take_role
from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.bids import visits
from dematmp.bids.errors import ChannelRefused, WaiverRefused
from dematmp.bids.importing import pull
from dematmp.bids.models import Bid, ChannelVisit, RefusedImport, SealedObject
from dematmp.bids.receipts import receipt
from dematmp.bids.rules import decision_path
from dematmp.bids.services import bid_state
from dematmp.bids.verification import check_bids
from dematmp.bids.visits import is_reconciled, waive
from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from dematmp.opening.late_bids import branches
from signing import client as signing_client
from signing import envelope as sealing
from signing.client import Client, EnvelopePlan, attempt_body, digests, load_draft
from signing.envelope import Source
from signing.fallback import deposit, remember
from signing.receipt import verify_receipt
from storage.stores import object_store
from tests.bids.test_backup_channel import NOWHERE, SMALL, live_world, lying, sealed, speaker, what_it_tells
from tests.channel import Channel
from tests.conftest import whole_matrix
from tests.fronts import answering_paths
from tests.opening.test_opening import opened
from tests.world import World, page, person

__all__ = ["live_world"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


def closed(made: Consultation) -> None:
    """The channel is another process, with the real clock."""
    deadline = made.deadlines.order_by("version")[0].at
    while timezone.now() <= deadline + timedelta(seconds=0.5):
        time.sleep(0.1)


def employed(world: World, server: LiveServer, name: str) -> tuple[User, Client]:
    """Somebody who bids for the company, and its program."""
    made = person(name, world.company, "bidder")
    token = issue_token(made, world.company, label="essai", now=timezone.now())
    return made, Client(server.url, token, tries=1)


@pytest.mark.parametrize("begun_here", [True, False])
def test_sent_once_more_after_the_deadline_it_keeps_the_instant_of_the_channel(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path, begun_here: bool
) -> None:
    made = live_world.publish(closes_in=timedelta(seconds=16))
    draft = sealed(live_world, live_server, channel, made, tmp_path, SMALL)
    main = speaker(live_world, live_server.url)
    if begun_here:
        main.upload(draft)
    first = deposit(speaker(live_world, NOWHERE), draft).receipt
    closed(made)
    second = deposit(main, draft).receipt
    assert first is not None
    assert second is not None
    assert (first["state"], second["state"]) == ("in-time", "late")
    kept = json.loads((draft / f"accuse-{first['number']}" / "receipt.json").read_text())
    assert kept["number"] == first["number"]
    assert json.loads((draft / "receipt.json").read_text())["number"] == second["number"]

    pull(now=timezone.now())
    bid = Bid.objects.get(consultation=made)
    assert (bid.late, bid.number, bid_state(bid)) == (False, first["number"], "deposited")
    said = json.loads(bytes(Entry.objects.get(kind="deposit-imported").record))
    assert said["replaces"]["number"] == second["number"]
    verify()
    check_bids()
    session = opened(live_world, made)
    assert {row.state for row in session.envelopes.order_by("pk")} == {"opened"}


def test_who_left_the_company_withdraws_nothing(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    made = live_world.publish()
    gone, main = employed(live_world, live_server, "ancien")
    given = main.post("/channel/pass")
    take_role(Membership.objects.get(user=gone, role="bidder"), by=live_world.bidder, now=timezone.now())
    draft = sealed(live_world, live_server, channel, made, tmp_path, SMALL)
    done = deposit(speaker(live_world, NOWHERE), draft).receipt
    assert done is not None
    Client(str(given["url"]), str(given["pass"]), tries=1).post(f"/deposits/{done['deposit']}/withdraw")
    for _ in range(2):
        pull(now=timezone.now())
    assert bid_state(Bid.objects.get(consultation=made)) == "deposited"
    said = json.loads(bytes(Entry.objects.get(kind="withdrawal-refused").record))
    assert said["by"] == str(gone.uuid)
    assert Mail.objects.filter(to=live_world.bidder.email, subject__endswith="retrait refusé").count() == 1


def test_a_withdrawal_without_its_proof_is_not_believed(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish()
    done = deposit(
        speaker(live_world, NOWHERE), sealed(live_world, live_server, channel, made, tmp_path, SMALL)
    )
    assert done.receipt is not None
    pull(now=timezone.now())
    done.speaker.post(f"/deposits/{done.receipt['deposit']}/withdraw")
    said = what_it_tells(channel)
    (told,) = said["deposits"]
    withdrawal = told["withdrawal"]
    assert isinstance(withdrawal, dict)
    for bend in (
        {"withdrawal": None},
        {"withdrawal": withdrawal | {"nonce": "00" * 32}},
        {"withdrawn": "hier"},
    ):
        with lying(channel, {**said, "deposits": [told | bend]}) as hostile:
            settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": hostile}
            with pytest.raises(ChannelRefused):
                pull(now=timezone.now())
        assert Bid.objects.get(consultation=made).withdrawn_at is None
    settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": channel.url}
    pull(now=timezone.now())
    assert Bid.objects.get(consultation=made).withdrawn_at is not None
    assert Mail.objects.filter(to=live_world.bidder.email, subject__endswith="retiré").exists()
    assert not RefusedImport.objects.standing().exists()


def test_a_fingerprint_of_other_bytes_is_said(
    live_world: World,
    live_server: LiveServer,
    channel: Channel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the company can seal other bytes under the same header: it keeps the key."""
    made = live_world.publish(live_world.draft(fingerprint_first=True), closes_in=timedelta(seconds=16))
    channel.manage("backup_channel", "mirror")
    main, kept, key = speaker(live_world, live_server.url), dict[str, bytes](), sealing._ek

    def keep(header: bytes, one: bytes, other: bytes) -> bytes:
        return kept.setdefault("ek", key(header, one, other))

    plain, draft = tmp_path / "prix.txt", tmp_path / "draft"
    plain.write_bytes(b"prix provisoire: 999 999")
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "_ek", keep)
        main.seal_draft(str(made.uuid), [EnvelopePlan("1", "offre", [Source(plain, "prix.txt")])], draft)
    assert remember(main, draft)
    state = load_draft(draft)
    attempt = main.post("/attempts", attempt_body(draft, state))
    main.post(f"/attempts/{attempt['attempt']}/fingerprint", {"objects": digests(state)})
    closed(made)
    (envelope,) = state["envelopes"]  # type: ignore[misc]
    folder = draft / str(envelope["envelope"])
    header = sealing.header_hash((folder / "header.json").read_bytes())
    fresh = sealing._write_sealed(folder / "1.cob", kept["ek"], header, 1, [b"prix definitif : 123 456"], 24)
    next(each for each in envelope["objects"] if each["name"] == "1.cob")["sha256"] = fresh.sha256
    (draft / "draft.json").write_text(json.dumps(state))
    deposit(speaker(live_world, NOWHERE), draft)
    pull(now=timezone.now())

    bid = Bid.objects.get(consultation=made)
    codes = [each.code for each in branches(bid, now=timezone.now())]
    assert "fingerprint" not in codes
    assert "fingerprint-other" in codes
    assert json.loads(bytes(Entry.objects.get(kind="deposit-imported").record))["fingerprint"] == "other"


def _same_id(world: World, draft: Path, made: Consultation, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Another draft of the same deposit: ids are the client's choice."""
    ids = signing_client.uuid.uuid4
    chosen = [str(load_draft(draft)["deposit"])]
    patch.setattr(signing_client.uuid, "uuid4", lambda: chosen.pop() if chosen else ids())
    _, other = world.seal(made, folder, files=SMALL)
    patch.undo()
    return other


@pytest.mark.parametrize("late", [True, pytest.param(False, marks=whole_matrix)])
def test_a_company_that_gives_one_id_to_two_deposits_holds_back_no_opening(
    live_world: World,
    live_server: LiveServer,
    channel: Channel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    late: bool,
) -> None:
    made = live_world.publish(closes_in=timedelta(seconds=20))
    live_world.deposit(made, tmp_path / "honest", rival=True)
    draft = sealed(live_world, live_server, channel, made, tmp_path / "one", SMALL)
    main = speaker(live_world, live_server.url)
    main.post("/attempts", attempt_body(draft, load_draft(draft)))
    with monkeypatch.context() as patch:
        other = _same_id(live_world, draft, made, tmp_path / "two", patch)
    assert remember(main, other)
    if late:
        closed(made)
    deposit(speaker(live_world, NOWHERE), other)
    closed(made)
    opened(live_world, made)
    (kept,) = RefusedImport.objects.standing()
    assert (kept.consultation, kept.bidder, kept.holds_back) == (made, live_world.company, False)
    shown = page(live_world.agent).get(reverse("buyer-registers", args=[made.uuid])).content.decode()
    assert kept.number in shown
    assert "mis de côté" in shown
    assert Mail.objects.filter(to=live_world.bidder.email, subject__contains=kept.number).count() == 1


def test_who_left_the_company_holds_back_no_opening_and_fills_no_store(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    made = live_world.publish(closes_in=timedelta(seconds=20))
    live_world.deposit(made, tmp_path / "honest", rival=True)
    gone, main = employed(live_world, live_server, "ancien")
    channel.manage("backup_channel", "mirror")
    file, draft = tmp_path / "f", tmp_path / "draft"
    file.write_bytes(b"offre")
    main.seal_draft(str(made.uuid), [EnvelopePlan("1", "offre", [Source(file, "o.txt")])], draft)
    assert remember(main, draft)
    main.post("/attempts", attempt_body(draft, load_draft(draft)))
    Membership.objects.filter(user=gone).delete()
    deposit(speaker(live_world, NOWHERE), draft)
    for _ in range(2):
        assert pull(now=timezone.now()) == 0
    mine = SealedObject.objects.filter(envelope__attempt__by=gone)
    assert not any(object_store().exists(each.key) for each in mine)
    assert Entry.objects.filter(kind="channel-refused").count() == 1
    closed(made)
    opened(live_world, made)


def test_who_leaves_after_the_deposit_does_not_take_it_away(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    made = live_world.publish()
    gone, main = employed(live_world, live_server, "partant")
    channel.manage("backup_channel", "mirror")
    file, draft = tmp_path / "f", tmp_path / "draft"
    file.write_bytes(b"offre")
    main.seal_draft(str(made.uuid), [EnvelopePlan("1", "offre", [Source(file, "o.txt")])], draft)
    assert remember(main, draft)
    deposit(speaker(live_world, NOWHERE), draft)
    take_role(Membership.objects.get(user=gone, role="bidder"), by=live_world.bidder, now=timezone.now())
    assert pull(now=timezone.now()) == 1


def test_other_bytes_than_the_record_s_are_fetched_once(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish()
    draft = sealed(live_world, live_server, channel, made, tmp_path, SMALL)
    deposit(speaker(live_world, NOWHERE), draft)
    asked: list[str] = []
    said = what_it_tells(channel)

    def answer(path: str) -> bytes:
        if "/objects/" not in path:
            return json.dumps({**said, "now": timezone.now().isoformat()}).encode()
        asked.append(path)
        _, envelope, name = path.rsplit("/", 2)
        return bytes(SealedObject.objects.get(envelope__uuid=envelope, name=name).size)

    with answering_paths(answer, content_type="application/json") as hostile:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": hostile}
        for _ in range(2):
            with pytest.raises(ChannelRefused):
                pull(now=timezone.now())
    assert len(asked) == len(set(asked)) == 6
    assert RefusedImport.objects.standing().get().holds_back
    settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": channel.url}
    assert pull(now=timezone.now(), again=True) == 1
    assert not RefusedImport.objects.standing().exists()


def test_the_receipt_says_what_the_channel_s_journal_proves(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    """Extended here and not there: late by its receipt, in time by the platform, which writes to say so."""
    made = live_world.publish(closes_in=timedelta(seconds=14))
    draft = sealed(live_world, live_server, channel, made, tmp_path, SMALL)
    later = timezone.now().replace(microsecond=0) + timedelta(hours=3)
    services.set_deadline(made, at=later, by=live_world.agent, reason="panne", now=timezone.now())
    closed(made)
    deposit(speaker(live_world, NOWHERE), draft)
    pull(now=timezone.now())
    bid = Bid.objects.get(consultation=made)
    assert (bid.late, bid.deadline) == (False, later)
    path = tmp_path / "accuse.json"
    path.write_text(json.dumps(receipt(bid)))
    assert verify_receipt(path, journal_key=channel.key, ca_pem=None).late
    mail = Mail.objects.get(to=live_world.bidder.email, subject__contains="dans les délais")
    assert "reportée" in mail.body
    shown = page(live_world.bidder).get(reverse("deposit", args=[bid.uuid])).content.decode()
    assert "L&#x27;accusé le dit hors délai" in shown
    assert "du canal de secours" in shown


def test_nobody_does_without_the_channel_before_the_deadline_nor_for_another_one(
    live_world: World, settings: Settings
) -> None:
    settings.BACKUP_CHANNEL = {"url": NOWHERE, "journal_key": "x", "origins": []}
    made = live_world.publish(closes_in=timedelta(hours=1))
    assert made.deadline is not None

    def decide(now: datetime) -> None:
        waive(made, why="canal perdu", by=live_world.agent, now=now)

    for before in (-60, 0):
        with pytest.raises(WaiverRefused):
            decide(made.deadline + timedelta(seconds=before))
    decide(made.deadline + timedelta(seconds=1))
    assert is_reconciled(made)
    at = made.deadline + timedelta(hours=1)
    now = made.deadline - timedelta(seconds=1)  # decided in time, written after
    services.set_deadline(made, at=at, by=live_world.agent, reason="panne", now=now)
    assert not is_reconciled(Consultation.objects.get(pk=made.pk))


def test_an_answer_of_the_channel_ends_what_was_answered_for(
    live_world: World, live_server: LiveServer, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = live_world.publish(closes_in=timedelta(seconds=3))
    closed(made)
    why = ["--by", live_world.agent.email, "--why", "canal en panne"]
    call_command("backup_channel", "waive", str(made.uuid), *why, stdout=io.StringIO())
    pull(now=timezone.now())
    assert ChannelVisit.objects.get(consultation=made).waived_by is None
    monkeypatch.setattr(visits, "SETTLING", timedelta(hours=1))
    assert not is_reconciled(made)


@pytest.mark.parametrize(("seconds", "believed"), [(-9, False), (-4, True), (4, True), (3600, False)])
def test_a_channel_whose_clock_is_not_ours_is_not_believed_about_the_deadline(
    live_world: World,
    live_server: LiveServer,
    channel: Channel,
    settings: Settings,
    seconds: int,
    believed: bool,
) -> None:
    made = live_world.publish()
    said = what_it_tells(channel)
    now = timezone.now()
    with lying(channel, {**said, "now": (now + timedelta(seconds=seconds)).isoformat()}) as hostile:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": hostile}
        if believed:
            pull(now=now)
        else:
            with pytest.raises(ChannelRefused, match="horloge"):
                pull(now=now)
    assert ChannelVisit.objects.filter(consultation=made).exists() == believed


def test_a_fingerprint_of_other_bytes_is_no_proof() -> None:
    start = datetime.fromisoformat("2026-11-28T10:00:00+00:00")
    path = decision_path(
        started=start,
        received=start + timedelta(hours=2),
        deadline=start + timedelta(hours=1),
        fingerprint_of_others=True,
    )
    assert [each.code for each in path] == ["eliminated", "fingerprint-other"]
