"""The backup channel was waived, and tells afterwards of a bid that it received in time: it is opened too."""

import io
import json
import time
import uuid
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import time_machine
from django.core.management import call_command
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.audit.models import Entry
from dematmp.audit.services import append, verify
from dematmp.awards.services import AwardRefused, award
from dematmp.bids import visits
from dematmp.bids.copies import record_copy
from dematmp.bids.errors import TooLate
from dematmp.bids.importing import pull
from dematmp.bids.models import Attempt, Bid
from dematmp.bids.services import finalise, withdraw
from dematmp.mails.models import Mail
from dematmp.opening import tasks
from dematmp.opening.decisions import decide, next_phase, to_decide
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.left_out import go_on, left_out
from dematmp.opening.models import OpenedFile, OpeningSession
from dematmp.opening.tasks import unseal_session
from signing.client import Client, ServerRefused, digests, load_draft
from signing.fallback import deposit
from storage.stores import object_store
from tests.bids.test_backup_channel import NOWHERE, SMALL, sealed, speaker
from tests.bids.test_channel_attempts import tried_there
from tests.channel import Channel
from tests.conftest import whole_matrix
from tests.opening.test_opening import opened
from tests.opening.test_phases import open_phase
from tests.web.chromium import chromium_browser, signed_in
from tests.web.test_browser import faults
from tests.world import World, client, make_world, page

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.fixture
def live_world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)  # the test unseals in this process
    monkeypatch.setattr(Client, "wait", lambda *_: None)
    monkeypatch.setattr(visits, "SETTLING", timedelta())
    return make_world()


@pytest.fixture
def session(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> OpeningSession:
    """Opened without the channel's word, which then tells of one more bid."""
    made = live_world.publish(closes_in=timedelta(seconds=20))
    live_world.deposit(made, tmp_path / "rival", rival=True)
    draft = sealed(live_world, live_server, channel, made, tmp_path / "mine", SMALL)
    deposit(speaker(live_world, NOWHERE), draft)
    true, settings.BACKUP_CHANNEL = settings.BACKUP_CHANNEL, {**settings.BACKUP_CHANNEL, "url": NOWHERE}
    while timezone.now() <= (made.deadline or timezone.now()):
        time.sleep(0.1)  # the channel is another process, with the real clock
    why = ["--by", live_world.agent.email, "--why", "canal injoignable"]
    call_command("backup_channel", "waive", str(made.uuid), *why, stdout=io.StringIO())
    done = opened(live_world, made)
    assert (left_out(done), json.loads(bytes(done.minutes or b""))["former"]) == ([], [])
    settings.BACKUP_CHANNEL = true
    assert pull(now=timezone.now()) == 1
    return OpeningSession.objects.get(pk=done.pk)


def test_the_committee_is_told_and_opens_it_too(live_world: World, session: OpeningSession) -> None:
    made, bid = session.consultation, Bid.objects.exclude(channel_key="").get()
    assert not bid.late
    assert {each.attempt for each in left_out(session)} == {bid.attempt}
    for _ in range(2):
        tasks.sweep()
    assert Entry.objects.filter(kind="bid-left-out", subject=bid.uuid).count() == 1
    told = Mail.objects.filter(subject__contains="n'a pas été ouverte")
    assert {mail.to for mail in told} == {user.email for user in [live_world.agent, *live_world.members]}
    assert told.count() == 4

    member = page(live_world.members[1])
    where = reverse("session", args=[made.uuid])
    shown = member.get(where).content.decode()
    assert bid.number in shown
    assert "Reprendre la séance" in shown
    assert "Clore sans ouvrir cette offre" in shown
    first = bytes(session.minutes or b"")
    assert member.post(reverse("go-on", args=[made.uuid])).status_code == 302
    member.post(reverse("go-on", args=[made.uuid]))  # twice is once
    shown = member.get(where).content.decode()
    assert "Procès-verbal antérieur" in shown
    assert "La séance a repris" in shown
    # The rival's offer for this lot is open: the only one that is not cannot be left sealed.
    assert reverse("leave-sealed", args=[made.uuid, "1"]) not in shown
    singled = member.post(reverse("leave-sealed", args=[made.uuid, "1"]), {"reason": "lot sans suite"})
    assert (singled.status_code, "sont ouverts" in singled.content.decode()) == (400, True)
    again = opened(live_world, made)
    assert again.finished_at is not None
    assert left_out(again) == []
    mine = OpenedFile.objects.filter(opened__envelope__attempt=bid.attempt)
    assert {row.name: b"".join(object_store().open(row.key)) for row in mine} == SMALL
    said = json.loads(bytes(again.minutes or b""))
    assert len(said["releases"]) == 2
    assert {each["receipt"] for each in said["envelopes"] if each["state"] == "opened"} == {
        each.number for each in made.bids.all()
    }
    (kept,) = again.former_minutes.all()
    assert bytes(kept.minutes) == first
    assert again.minutes_pdf
    old = member.get(reverse("former-minutes", args=[made.uuid, kept.pk, "json"]))
    assert old.content == first
    assert "Reprendre la séance" not in member.get(where).content.decode()
    assert member.post(reverse("go-on", args=[made.uuid])).status_code == 409
    verify()


@whole_matrix
def test_closed_minutes_stay_closed_and_the_page_says_what_the_law_leaves(
    live_world: World, session: OpeningSession
) -> None:
    OpeningSession.objects.update(closed_at=timezone.now(), closed_by=live_world.members[0])
    member = page(live_world.members[1])
    shown = member.get(reverse("session", args=[session.consultation.uuid])).content.decode()
    assert "Reprendre la séance" not in shown
    assert "R2185-1" in shown
    refused = member.post(reverse("go-on", args=[session.consultation.uuid]))
    assert refused.status_code in (400, 409)
    assert "R2185-1" in refused.content.decode()
    tasks.sweep()
    assert "R2185-1" in Mail.objects.filter(to=live_world.agent.email).latest("pk").body


def test_a_bid_left_out_goes_through_both_phases(world: World, tmp_path: Path) -> None:
    """Candidatures first: known while the offers of the others are opened, it is judged as they were."""
    made = world.publish(world.draft(opening_order="candidature"), closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path / "rival", rival=True)
    speaker_, draft = world.seal(made, tmp_path / "mine")
    attempt = Attempt.objects.get(uuid=str(speaker_.upload(draft)["attempt"]))
    assert made.deadline is not None
    in_time, by = made.deadline - timedelta(minutes=1), world.members[0]
    said = {
        (uuid.UUID(str(each["envelope"])), str(each["name"])): str(each["sha256"])
        for each in digests(load_draft(draft))
    }

    def admit(session: OpeningSession) -> None:
        rows = {str(row.envelope.uuid): ("admitted", "") for row in to_decide(session)}
        decide(session, rows, by=by, now=timezone.now())
        next_phase(session, by=by, now=timezone.now())

    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        admit(open_phase(world, made))
        finalise(attempt, digests=said, by=world.bidder, now=in_time)
        first = open_phase(
            world, made
        )  # its candidature is written as known too late, its offer stays sealed
        assert first.state == "done"
        assert {each.kind for each in left_out(first)} == {"candidature"}
        Bid.objects.filter(attempt=attempt).update(channel_key="k")  # as when the channel tells of it
        tasks.sweep()
        told = Mail.objects.filter(subject__contains="n'a pas été ouverte")
        assert told.count() == 4
        assert "Le canal de secours a reçu dans les délais" in told[0].body  # nothing had replaced it
        lot = made.lots.get(number="1")
        terms = {"amount": Decimal(1), "reasons": "", "by": world.validator, "now": timezone.now()}
        with pytest.raises(AwardRefused, match="reprend la séance"):
            award(lot, company=world.rival, **terms)
        go_on(first, by=by, now=timezone.now())
        deciding = open_phase(world, made)
        theirs = deciding.envelopes.get(envelope__kind="candidature", envelope__attempt__bidder=world.rival)
        late = {str(theirs.envelope.uuid): ("rejected", "leur prix nous gêne")}
        with pytest.raises(DecisionRefused, match="ne change plus"):
            decide(deciding, late, by=by, now=timezone.now())
        admit(deciding)
        again = open_phase(world, made)
        assert (again.state, left_out(again)) == ("done", [])
    rows = json.loads(bytes(again.minutes or b""))["envelopes"]
    assert len(rows) == 4
    assert {row["state"] for row in rows} == {"opened"}
    verify()


def test_minutes_say_which_offer_counts_of_a_company_whose_last_one_was_left_out(
    world: World, tmp_path: Path
) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    first = world.deposit(made, tmp_path / "first")
    speaker_, draft = world.seal(made, tmp_path / "last")
    attempt = Attempt.objects.get(uuid=str(speaker_.upload(draft)["attempt"]))
    assert made.deadline is not None
    said = {
        (uuid.UUID(str(each["envelope"])), str(each["name"])): str(each["sha256"])
        for each in digests(load_draft(draft))
    }
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        done = opened(world, made)
        in_time = made.deadline - timedelta(milliseconds=1)
        last = finalise(attempt, digests=said, by=world.bidder, now=in_time)
        go_on(done, by=world.members[0], now=timezone.now())
        again = opened(world, made)
        with pytest.raises(TooLate):  # whatever instant its request claims
            withdraw(last, by=world.bidder, now=in_time)
    rows = json.loads(bytes(again.minutes or b""))["envelopes"]
    assert {(row["receipt"], row.get("superseded", False)) for row in rows} == {
        (first["number"], True),
        (last.number, False),
    }
    assert again.minutes_pdf


def test_a_bid_that_a_withdrawal_brings_back_is_told_and_opened(world: World, tmp_path: Path) -> None:
    """Withdrawn on the channel in time, and told once the others were open."""
    made = world.publish(closes_in=timedelta(hours=1))
    first = world.deposit(made, tmp_path / "first")
    last = Bid.objects.get(number=str(world.deposit(made, tmp_path / "last")["number"]))
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        done = opened(world, made)
        tasks.sweep()
        assert not Mail.objects.filter(subject__contains="n'a pas été ouverte").exists()
        with transaction.atomic():  # as the channel's proven word writes it
            Bid.objects.filter(pk=last.pk).update(withdrawn_at=made.deadline - timedelta(seconds=9))
            append("withdrawal", {}, consultation=made.uuid, subject=last.uuid, now=timezone.now())
        for _ in range(2):
            tasks.sweep()
        mails = Mail.objects.filter(subject__contains="n'a pas été ouverte")
        assert {mail.to for mail in mails} == {user.email for user in [world.agent, *world.members]}
        assert mails.count() == 4
        assert f"L'offre {first['number']} de" in mails[0].body
        assert "compte de nouveau" in mails[0].body
        outsider, member = client(world.agent, world.buyer), client(world.members[0], world.buyer)
        with pytest.raises(ServerRefused):
            outsider.post(f"/openings/{done.uuid}/resume")
        for _ in range(2):
            assert member.post(f"/openings/{done.uuid}/resume")["state"] == "waiting"
        again = opened(world, made)
        with pytest.raises(ServerRefused) as refused:
            member.post(f"/openings/{done.uuid}/resume")
    assert "Tous les plis qui comptent ont été ouverts." in str(refused.value)
    said = json.loads(bytes(again.minutes or b""))
    assert first["number"] in {each["receipt"] for each in said["envelopes"] if each["state"] == "opened"}


@whole_matrix
@pytest.mark.browser
def test_what_came_by_the_channel_is_told_on_accessible_pages(
    live_world: World,
    live_server: LiveServer,
    session: OpeningSession,
    channel: Channel,
    chromium: str,
    tmp_path: Path,
) -> None:
    made, bid = session.consultation, Bid.objects.exclude(channel_key="").get()
    other = live_world.publish(live_world.draft("2026-02", fingerprint_first=True))
    tried_there(live_world, live_server, channel, other, tmp_path / "tried")
    pull(now=timezone.now())
    arrived = {"company": "Maçonnerie du Val", "siret": "", "medium": "paper", "lots": "lot 1"}
    assert made.published_at is not None
    record_copy(made, **arrived, received_at=made.published_at, by=live_world.agent, now=timezone.now())
    base, found = live_server.url, list[str]()
    with chromium_browser(chromium) as browser:
        member, bidder, agent = (
            signed_in(browser, live_server, user).new_page()
            for user in (live_world.members[1], live_world.bidder, live_world.agent)
        )
        found += faults(member, base + reverse("session", args=[made.uuid]))
        found += faults(bidder, base + reverse("deposits"))
        found += faults(bidder, base + reverse("deposit", args=[bid.uuid]))
        found += faults(agent, base + reverse("buyer-registers", args=[made.uuid]))
        page(live_world.members[1]).post(reverse("go-on", args=[made.uuid]))
        found += faults(member, base + reverse("session", args=[made.uuid]))
    assert found == []
