"""What a company only tried on the backup channel is evidence on the platform too."""

import base64
import contextlib
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.services import issue_token
from dematmp.audit.keys import journal_signer, seal_anchors
from dematmp.audit.models import Entry
from dematmp.audit.services import canonical
from dematmp.bids import channel_evidence, channel_refusals, importing, visits
from dematmp.bids.channel_attempts import ChannelAttempt
from dematmp.bids.evidence import evidence
from dematmp.bids.importing import pull
from dematmp.bids.models import Attempt, Bid, ChannelVisit
from dematmp.bids.services import depositors
from dematmp.bids.start_refusals import StartRefusal
from dematmp.consultations.models import Consultation
from dematmp.opening.late_bids import branches
from signing.cli import main
from signing.client import ServerRefused, attempt_body, digests, load_draft
from signing.evidence import verify_evidence
from signing.fallback import backup_of
from signing.notes import Signer
from signing.tlog import Checkpoint, format_proof, leaf_hash, verify_proof
from tests.bids.test_backup_channel import (
    _reader,
    sealed,
    speaker,
    what_it_tells,
)
from tests.channel import Channel
from tests.fronts import answering_paths
from tests.world import World, make_world, page

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture
def live_world(transactional_db: None) -> World:
    return make_world()


def tried_there(
    world: World, server: LiveServer, channel: Channel, made: Consultation, folder: Path
) -> tuple[Path, str]:
    """Begun on the channel, with its fingerprint and nothing else: the draft, the attempt."""
    draft = sealed(world, server, channel, made, folder, {"offre.txt": b"mon offre"})
    there = backup_of(draft, timeout=20)
    assert there is not None
    state = load_draft(draft)
    attempt = str(there.post("/attempts", attempt_body(draft, state))["attempt"])
    there.post(f"/attempts/{attempt}/fingerprint", {"objects": digests(state)})
    return draft, attempt


def test_an_attempt_of_the_channel_alone_has_its_dossier_here(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish(live_world.draft(fingerprint_first=True))
    draft, attempt = tried_there(live_world, live_server, channel, made, tmp_path)
    assert depositors(made) == []
    for _ in range(2):
        assert pull(now=timezone.now()) == 0
    assert depositors(made) == [live_world.bidder.email]  # told of an extension
    kept = ChannelAttempt.objects.get()
    assert (str(kept.uuid), kept.bidder, kept.consultation) == (attempt, live_world.company, made)
    assert Entry.objects.filter(kind="attempt-imported", subject=kept.uuid).count() == 1
    assert not Attempt.objects.filter(consultation=made).exists()
    browser = page(live_world.bidder)
    assert "Tentatives au canal de secours" in browser.get(reverse("deposits")).content.decode()
    rival = page(live_world.rival_bidder)
    assert rival.get(reverse("channel-evidence", args=[attempt, "json"])).status_code == 404
    for form in ("json", "pdf"):
        path = tmp_path / f"preuve.{form}"
        path.write_bytes(browser.get(reverse("channel-evidence", args=[attempt, form])).content)
        key = settings.BACKUP_CHANNEL["journal_key"]
        said = verify_evidence(path, journal_key=key, ca_pem=None, seal_pem=seal_anchors())
        assert (said.attempt, said.waiting, said.received) == (attempt, 0, "")
        assert any("empreinte reçue avant" in each for each in said.checked)
    # It goes on there: what is kept follows.
    there = backup_of(draft, timeout=20)
    assert there is not None
    there.upload(draft)
    pull(now=timezone.now())
    kept.refresh_from_db()
    assert kept.evidence["received"]["parts"] == kept.evidence["announced"]["parts"]
    # Deposited here at last: its dossier shows both.
    main = speaker(live_world, live_server.url)
    main.finalise(draft, str(main.upload(draft)["attempt"]))
    both = evidence(Bid.objects.get(consultation=made).attempt, now=timezone.now())
    assert both["backup_channel"] == kept.evidence
    assert "Tentatives au canal de secours" not in browser.get(reverse("deposits")).content.decode()
    path = tmp_path / "les-deux.pdf"
    path.write_bytes(browser.get(reverse("evidence", args=[both["deposit"], "pdf"])).content)
    said = verify_evidence(
        path, journal_key=journal_signer().verifier_key, ca_pem=None, seal_pem=seal_anchors()
    )
    assert any("canal de secours" in each for each in said.checked)
    shown = browser.get(reverse("deposit", args=[both["deposit"]])).content.decode()
    assert reverse("channel-evidence", args=[attempt, "json"]) in shown


def test_what_the_channel_refused_at_the_start_is_evidence_here(
    live_world: World,
    live_server: LiveServer,
    channel: Channel,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel_refusals, "MAX_STARTS", 2)
    made = live_world.publish(live_world.draft(limits={"files": 1}))
    draft = sealed(live_world, live_server, channel, made, tmp_path, {"a": b"a", "b": b"b"})
    there = backup_of(draft, timeout=20)
    assert there is not None
    for _ in range(2):
        with pytest.raises(ServerRefused):
            there.post("/attempts", attempt_body(draft, load_draft(draft)))
    told, true = what_it_tells(channel), settings.BACKUP_CHANNEL
    listed = told["refusals"]
    first, second = (
        httpx.get(f"{channel.url}/api/v1/channel/refusals/{each['index']}", headers=_reader()).json()
        for each in listed
    )
    for given in ([], {**first, "nonce": "00" * 32}, {**first, "proof": None}, second, {"record": "W10="}):

        def answer(asked: str, given: object = given) -> bytes:
            said = {**told, "refusals": listed[:1], "now": timezone.now().isoformat()}
            return json.dumps(given if "/refusals/" in asked else said).encode()

        with answering_paths(answer, content_type="application/json") as hostile:
            settings.BACKUP_CHANNEL = {**true, "url": hostile}
            assert pull(now=timezone.now()) == 0
        assert not StartRefusal.objects.exists(), given
    settings.BACKUP_CHANNEL = true
    StartRefusal.objects.create(  # of before, which the channel itself keeps no more
        consultation=made,
        bidder=live_world.company,
        by=live_world.bidder,
        at=timezone.now(),
        journal_index=10**6,
        channel_key=true["journal_key"],
    )
    for _ in range(2):
        pull(now=timezone.now())
    kept = StartRefusal.objects.order_by("at")
    assert [(each.bidder, each.code) for each in kept] == 2 * [(live_world.company, "deposit.limit-exceeded")]
    assert Entry.objects.filter(kind="refusal-imported").count() == 2
    assert depositors(made) == [live_world.bidder.email]
    browser = page(live_world.bidder)
    assert "journal du canal de secours" in browser.get(reverse("deposits")).content.decode()
    where = reverse("refusals-evidence", args=[live_world.company.uuid, "json"])
    said = browser.get(where).json()[0]
    record, nonce = base64.b64decode(said["entry"]["record"]), bytes.fromhex(said["entry"]["nonce"])
    leaf = {
        "consultation": str(made.uuid),
        "digest": hashlib.sha256(nonce + record).hexdigest(),
        "time": said["entry"]["time"],
        "type": "attempt-refused",
    }
    assert verify_proof(said["entry"]["proof"], canonical(leaf), said["channel_key"])[0] in {
        each.journal_index for each in kept
    }
    pdf = browser.get(reverse("refusals-evidence", args=[live_world.company.uuid, "pdf"]))
    assert pdf.content.startswith(b"%PDF")
    token = tmp_path / "token"
    token.write_text(issue_token(live_world.bidder, live_world.company, label="essai", now=timezone.now()))
    assert main(["--server", live_server.url, "--token-file", str(token), "evidence", str(draft)]) == 0
    for name, count in (("envois-refuses", 2), ("envois-refuses-secours", 2)):  # each server says its own
        assert len(json.loads((draft / f"{name}.json").read_text())) == count


def test_no_dossier_is_asked_for_of_whom_nobody_knows_here(
    live_world: World, channel: Channel, settings: Settings
) -> None:
    made, unknown = live_world.publish(), str(uuid.uuid4())
    parties = [
        {"consultation": str(made.uuid), "bidder": unknown},
        {"consultation": unknown, "bidder": str(live_world.company.uuid)},
        {"consultation": str(made.uuid), "bidder": str(live_world.company.uuid)},
    ]
    asked_for, told = list[str](), what_it_tells(channel)

    def answer(asked: str) -> bytes:
        if asked.rpartition("/")[2] != "deposits":
            asked_for.append(asked)
            return b"{}"
        attempts = [{"attempt": str(uuid.uuid4()), "changed": "x", **each} for each in parties]
        refusals = [{"index": 1, **each} for each in parties]
        said = {**told, "attempts": attempts, "refusals": refusals, "now": timezone.now().isoformat()}
        return json.dumps(said).encode()

    with answering_paths(answer, content_type="application/json") as elsewhere:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": elsewhere}
        pull(now=timezone.now())
    assert sorted(each.split("/")[-2] for each in asked_for) == ["attempts", "refusals"]


def test_a_fingerprint_of_the_channel_counts_for_a_late_bid(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    made = live_world.publish(live_world.draft(fingerprint_first=True), closes_in=timedelta(seconds=16))
    draft, _ = tried_there(live_world, live_server, channel, made, tmp_path)
    while timezone.now() <= (made.deadline or timezone.now()):
        time.sleep(0.1)  # the channel is another process, with the real clock
    main = speaker(live_world, live_server.url)
    main.finalise(draft, str(main.upload(draft)["attempt"]))
    bid = Bid.objects.get(consultation=made)
    assert bid.late
    assert "fingerprint" not in [each.code for each in branches(bid, now=timezone.now())]
    pull(now=timezone.now())
    assert "fingerprint" in [each.code for each in branches(bid, now=timezone.now())]


def test_a_dossier_that_the_channel_s_journal_does_not_prove_is_left_and_stops_nothing(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish(live_world.draft(fingerprint_first=True))
    _, attempt = tried_there(live_world, live_server, channel, made, tmp_path)
    told, true = what_it_tells(channel), settings.BACKUP_CHANNEL
    path = f"{channel.url}/api/v1/channel/attempts/{attempt}"
    dossier = httpx.get(path, headers=_reader()).json()
    journal = dossier["journal"]
    first, second = journal["entries"]
    bends: list[object] = [
        [],
        {**dossier, "journal": {**journal, "entries": [second]}},
        {**dossier, "journal": {**journal, "entries": [{**first, "nonce": "00" * 32}, second]}},
        {**dossier, "journal": {**journal, "entries": [first, {**second, "proof": None}]}},
        {**dossier, "deposit": str(made.uuid)},
        {**dossier, "consultation": {**dossier["consultation"], "uuid": attempt}},
        {name: value for name, value in dossier.items() if name != "received"},
    ]

    def pulled(listed: object, given: object) -> None:
        said = {**told, "attempts": listed, "now": timezone.now().isoformat()}

        def answer(asked: str) -> bytes:
            return json.dumps(given if "/attempts/" in asked else said).encode()

        with answering_paths(answer, content_type="application/json") as hostile:
            settings.BACKUP_CHANNEL = {**true, "url": hostile}
            assert pull(now=timezone.now()) == 0

    for bend in bends:
        pulled([{"attempt": attempt, "changed": "x"}], bend)
        assert not ChannelAttempt.objects.exists(), bend
    for listed in ({}, [3], [{"attempt": "x"}], [{"attempt": str(made.uuid), "changed": "x"}]):
        pulled(listed, dossier)
    assert not ChannelAttempt.objects.exists()
    assert ChannelVisit.objects.filter(consultation=made).exists()
    pulled([{"attempt": attempt, "changed": "x"}], dossier)
    kept = ChannelAttempt.objects.get()
    # Proven beside that of its beginning: a postponement is told all the same.
    others = [{**first, "record": base64.b64encode(each).decode()} for each in (b"[3]", b"3", b"{}", b"{")]
    kept.evidence["journal"]["entries"] = [*others, first, second]
    kept.save()
    assert depositors(made) == [live_world.bidder.email]


def test_a_proven_record_that_is_no_object_is_left_and_stops_nothing(
    live_world: World, settings: Settings
) -> None:
    made, attempt = live_world.publish(), str(uuid.uuid4())
    theirs = Signer("canal-de-secours", os.urandom(32))
    record, about = b"[3]", {"uuid": str(made.uuid)}
    leaf = {"digest": hashlib.sha256(record).hexdigest(), "time": "2026-01-01T00:00:00Z", "type": "attempt"}
    root = leaf_hash(canonical({**leaf, "consultation": about["uuid"]}))
    proof = format_proof(0, [], theirs.sign(Checkpoint(theirs.name, 1, root).text()))
    entry = {**leaf, "record": base64.b64encode(record).decode(), "nonce": "", "proof": proof}
    dossier = {"journal": {"entries": [entry]}, "consultation": about, "deposit": attempt}
    told = {"key": theirs.verifier_key, "now": timezone.now().isoformat(), "pending": [], "deposits": []}
    listed = {**told, "attempts": [{"attempt": attempt, "changed": "x"}]}

    def answer(asked: str) -> bytes:
        return json.dumps(dossier if "/attempts/" in asked else listed).encode()

    with answering_paths(answer, content_type="application/json") as hostile:
        settings.BACKUP_CHANNEL = {
            **settings.BACKUP_CHANNEL,
            "url": hostile,
            "journal_key": theirs.verifier_key,
        }
        assert pull(now=timezone.now()) == 0
    assert ChannelVisit.objects.filter(consultation=made).exists()
    assert not ChannelAttempt.objects.exists()


@contextlib.contextmanager
def slow_dossiers(channel: Channel, settings: Settings, *, count: int) -> Iterator[list[str]]:
    """What the real channel tells, and attempts whose dossiers do not come: those asked for."""
    listed = [{"attempt": str(uuid.uuid4()), "changed": "x"} for _ in range(count)]
    told, asked_for, over = what_it_tells(channel), list[str](), threading.Event()

    def answer(asked: str) -> bytes:
        if "/attempts/" in asked:
            asked_for.append(asked)
            over.wait(20)
        return json.dumps({**told, "attempts": listed, "now": timezone.now().isoformat()}).encode()

    with answering_paths(answer, content_type="application/json") as slow:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": slow}
        try:
            yield asked_for
        finally:
            over.set()


def test_an_opening_waits_for_no_dossier(
    live_world: World, channel: Channel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "SETTLING", timedelta())
    made = live_world.publish(closes_in=timedelta(hours=1))
    made.deadlines.update(at=timezone.now())
    closed = Consultation.objects.get(pk=made.pk)
    with slow_dossiers(channel, settings, count=1) as asked_for:
        visits.reconcile_channel(closed, now=timezone.now())
    assert visits.is_reconciled(closed)
    assert asked_for == []


def test_a_visit_is_written_before_its_dossiers_and_gives_them_a_bounded_time(
    live_world: World, channel: Channel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_evidence, "_SECONDS", 1.0, raising=False)
    made = live_world.publish()
    seen: list[bool] = []
    take = importing.take_attempts

    def taking(*args: Any, **said: Any) -> int:
        seen.append(ChannelVisit.objects.filter(consultation=made).exists())
        return take(*args, **said)

    monkeypatch.setattr(importing, "take_attempts", taking)
    with slow_dossiers(channel, settings, count=3) as asked_for:
        assert pull(now=timezone.now()) == 0
    assert seen == [True]
    assert len(asked_for) == 1


def test_a_visit_asks_for_so_many_dossiers_and_the_next_one_for_others(
    live_world: World, channel: Channel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_evidence, "_DOSSIERS", 2, raising=False)
    monkeypatch.setattr(channel_evidence, "_SILENCE", 0.2, raising=False)
    with slow_dossiers(channel, settings, count=4) as asked_for:
        pull(now=timezone.now())
        assert len(asked_for) == 2
        while len(set(asked_for)) < 4:
            pull(now=timezone.now())
