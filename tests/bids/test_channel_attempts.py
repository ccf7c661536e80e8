"""What a company only tried on the backup channel is evidence on the platform too."""

import json
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.audit.keys import journal_signer, seal_anchors
from dematmp.audit.models import Entry
from dematmp.bids.channel_attempts import ChannelAttempt
from dematmp.bids.evidence import evidence
from dematmp.bids.importing import pull
from dematmp.bids.models import Attempt, Bid, ChannelVisit
from dematmp.consultations.models import Consultation
from dematmp.opening.late_bids import branches
from signing.client import attempt_body, digests, load_draft
from signing.evidence import verify_evidence
from signing.fallback import backup_of
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
    for _ in range(2):
        assert pull(now=timezone.now()) == 0
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
    assert ChannelAttempt.objects.exists()
