"""A late bid: the buyer admits or rejects it for a reason, before the opening and never after."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.models import Entry
from dematmp.bids.models import BackupCopy, Bid, LateDecision, Probe
from dematmp.consultations import trial
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.late_bids import branches, decide_late
from dematmp.opening.models import OpenedEnvelope, OpeningSession
from signing.client import ServerRefused
from tests.opening.test_opening import opened
from tests.world import World, client, page

SECOND = timedelta(seconds=1)


@pytest.fixture
def late(world: World, tmp_path: Path) -> Bid:
    """Begun before the deadline, finalised after it; one in time of the same company before."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    (tmp_path / "first").mkdir()
    world.deposit(consultation, tmp_path / "first", files={"premiere.txt": b"prix 1"})
    speaker, draft = world.seal(consultation, tmp_path, files={"seconde.txt": b"prix 2"})
    attempt = str(speaker.upload(draft)["attempt"])
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + SECOND):
        speaker.finalise(draft, attempt)
    return Bid.objects.get(late=True)


def after(consultation: Consultation) -> time_machine.travel:
    assert consultation.deadline is not None
    return time_machine.travel(consultation.deadline + timedelta(minutes=5))


def states(session: OpeningSession) -> set[tuple[bool, str]]:
    """Whether each envelope's bid was late, and what became of it."""
    rows = OpenedEnvelope.objects.filter(session=session).select_related("envelope__attempt__bid")
    return {(row.envelope.attempt.bid.late, row.state) for row in rows}


def page_of(world: World, late: Bid) -> tuple[Client, str]:
    agent = Client()
    agent.force_login(world.agent)
    return agent, reverse("late-bid", args=[late.consultation.uuid, late.uuid])


def test_an_admitted_bid_is_opened_in_place_of_the_one_before(world: World, late: Bid) -> None:
    with after(late.consultation):
        agent, page = page_of(world, late)
        shown = agent.get(page).content.decode()
        assert "R2151-5" in shown
        assert agent.post(page, {"decision": "admitted", "reason": " "}).status_code == 400
        assert not LateDecision.objects.exists()
        reason = "La plateforme était interrompue à 11 h 58."
        assert agent.post(page, {"decision": "admitted", "reason": reason}).status_code == 302
        agent.post(page, {"decision": "admitted", "reason": reason})  # twice is once
        registers = agent.get(reverse("buyer-registers", args=[late.consultation.uuid])).content.decode()
        assert "hors délai, admis" in registers
        session = opened(world, late.consultation)
        assert states(session) == {(True, "opened"), (False, "unopened")}
        said = json.loads(bytes(session.minutes or b""))
        assert {each["late"]["reason"] for each in said["envelopes"] if "late" in each} == {reason}
        assert session.minutes_pdf
        # After the opening nothing changes any more.
        refused = agent.post(page, {"decision": "rejected", "reason": "Tout compte fait."})
        assert refused.status_code == 400
        assert "ont été ouverts" in refused.content.decode()
    assert Entry.objects.filter(kind="late-decision", subject=late.uuid).count() == 1
    assert LateDecision.objects.get().decision == "admitted"
    assert Mail.objects.filter(subject__contains="hors délai : admis").count() == 1


def test_a_rejected_bid_stays_sealed_and_its_company_reads_why(world: World, late: Bid) -> None:
    with after(late.consultation):
        agent, page = page_of(world, late)
        reason = "Premier envoi quatre minutes avant la limite."
        assert agent.post(page, {"decision": "rejected", "reason": reason}).status_code == 302
        mail = Mail.objects.get(subject__contains="hors délai : écarté")
        assert (mail.to, f"Motif : {reason}" in mail.body) == (late.attempt.by.email, True)
        bidder = Client()
        bidder.force_login(world.bidder)
        told = bidder.get(reverse("deposit", args=[late.uuid])).content.decode()
        assert "écarté" in told
        assert reason in told
        session = opened(world, late.consultation)
        assert states(session) == {(True, "unopened"), (False, "opened")}
        rows = OpenedEnvelope.objects.filter(session=session, envelope__attempt=late.attempt)
        assert rows.count() == rows.filter(reason__contains=reason).count() > 0


def test_opening_waits_for_the_decision_or_for_an_explicit_word(world: World, late: Bid) -> None:
    consultation = late.consultation
    words = "1 dépôt hors délai attend une décision"
    with after(consultation):
        session = world.share(consultation, 0)
        world.share(consultation, 2)
        member = client(world.members[2], world.buyer)
        with pytest.raises(ServerRefused, match="Une fois les plis ouverts") as refused:
            member.post(f"/openings/{session['session']}/open")
        assert refused.value.reason == "opening.late-undecided"
        assert not OpeningSession.objects.get().releases
        committee = page(world.members[2]).get(reverse("session", args=[consultation.uuid]))
        assert words in committee.content.decode()
        assert 'name="leave_undecided"' in committee.content.decode()
        agent, address = page_of(world, late)
        buyer = reverse("buyer-consultation", args=[consultation.uuid])
        shown = agent.get(buyer).content.decode()
        assert words in shown
        assert f'href="{address}"' in shown
        member.post(f"/openings/{session['session']}/open", {"leave_undecided": True})
        assert OpeningSession.objects.get().releases
        assert words not in agent.get(buyer).content.decode()


def test_a_bid_begun_after_the_deadline_is_never_admitted(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + SECOND):
        world.deposit(consultation, tmp_path)
        bid = Bid.objects.get()
        with pytest.raises(DecisionRefused, match="commencé après la date limite"):
            decide_late(bid, "admitted", "parce que", by=world.agent, now=timezone.now())
        agent, page = page_of(world, bid)
        assert "commencé après la date limite" in agent.get(page).content.decode()


def test_nobody_else_decides_and_nobody_learns_of_it_before_the_deadline(world: World, late: Bid) -> None:
    bidder = Client()
    bidder.force_login(world.bidder)
    agent, page = page_of(world, late)
    with after(late.consultation):
        assert bidder.get(page).status_code in (403, 404)
        dossier = agent.get(reverse("late-evidence", args=[late.consultation.uuid, late.uuid, "json"]))
        assert json.loads(dossier.content)["receipt"]["late"] is True
        pdf = agent.get(reverse("late-evidence", args=[late.consultation.uuid, late.uuid, "pdf"]))
        assert pdf.content.startswith(b"%PDF")
    assert agent.get(page).status_code == 404  # still open: its deadline was not reached by this clock


def test_the_session_that_began_without_quorum_still_hears_the_decision(world: World, late: Bid) -> None:
    with after(late.consultation):
        world.share(late.consultation, 0)
        assert OpeningSession.objects.exists()
        decide_late(late, "admitted", "Panne mesurée.", by=world.agent, now=timezone.now())
        session = opened(world, late.consultation)
        assert (True, "opened") in states(session)


def test_a_bid_finalised_after_the_opening_is_never_admitted(world: World, tmp_path: Path) -> None:
    """Begun in time, its parts kept, finalised once the prices of the others are known: no row names it."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    (tmp_path / "first").mkdir()
    world.deposit(consultation, tmp_path / "first", files={"premiere.txt": b"prix 1"})
    speaker, draft = world.seal(consultation, tmp_path, files={"seconde.txt": b"prix 2"})
    attempt = str(speaker.upload(draft)["attempt"])
    with after(consultation):
        session = opened(world, consultation)
        speaker.finalise(draft, attempt)
        late = Bid.objects.get(late=True)
        assert not OpenedEnvelope.objects.filter(envelope__attempt=late.attempt).exists()
        with pytest.raises(DecisionRefused, match="ont été ouverts"):
            decide_late(late, "admitted", "Panne mesurée.", by=world.agent, now=timezone.now())
        agent, page = page_of(world, late)
        assert "ont été ouverts" in agent.get(page).content.decode()
        assert (False, "opened") in states(session)
    assert not LateDecision.objects.exists()
    assert not Entry.objects.filter(kind="late-decision").exists()


def test_only_what_happened_between_the_first_byte_and_the_deadline_opens_a_branch(
    world: World, late: Bid
) -> None:
    """A copy that came too late, and an outage that was over before it began, excuse nothing."""
    consultation, started = late.consultation, late.attempt.started_at
    Consultation.objects.filter(pk=consultation.pk).update(published_at=started - timedelta(days=1))
    trial.ensure(now=timezone.now())
    minutes = [started + timedelta(minutes=each) for each in range(-59, 60)]
    for at in minutes:
        Probe.objects.create(at=at, succeeded=at > started - timedelta(minutes=30), seconds=0.4)
    copy = BackupCopy.objects.create(
        consultation=consultation,
        company=late.bidder.name,
        siret=late.bidder.siret or "",
        received_at=late.deadline + SECOND,
        recorded_by=world.agent,
        recorded_at=late.deadline + SECOND,
    )

    def codes() -> list[str]:
        found = Bid.objects.get(pk=late.pk)
        return [each.code for each in branches(found, now=late.deadline + timedelta(minutes=1))]

    assert codes() == ["eliminated"]
    BackupCopy.objects.filter(pk=copy.pk).update(received_at=late.deadline)
    assert codes() == ["backup-copy"]
    BackupCopy.objects.filter(pk=copy.pk).delete()
    Probe.objects.filter(at__gt=started, at__lte=started + timedelta(minutes=3)).update(succeeded=False)
    assert codes() == ["incident"]
    # The last canary is missing: nobody proves that the platform worked until its deadline.
    Probe.objects.filter(at__gt=started).update(succeeded=True)
    assert codes() == ["eliminated"]
    Probe.objects.filter(at__gt=late.deadline - timedelta(seconds=110)).delete()
    assert codes() == ["unproven"]


def test_of_two_admitted_bids_each_letter_says_which_one_is_opened(
    world: World, late: Bid, tmp_path: Path
) -> None:
    (tmp_path / "third").mkdir()
    with time_machine.travel(late.deadline - SECOND):
        speaker, draft = world.seal(late.consultation, tmp_path / "third")
        attempt = str(speaker.upload(draft)["attempt"])
    with after(late.consultation):
        speaker.finalise(draft, attempt)
        last = Bid.objects.latest("received_at")

        def admit(bid: Bid) -> str:
            decide_late(bid, "admitted", "motif", by=world.agent, now=timezone.now())
            return Mail.objects.filter(subject__contains=bid.number).latest("pk").body

        assert f"À sa place, {Bid.objects.get(late=False).number} n'est plus ouvert" in admit(late)
        assert f"À sa place, {late.number} n'est plus ouvert" in admit(last)
        decide_late(late, "rejected", "motif", by=world.agent, now=timezone.now())
        assert "Un dépôt plus récent" in admit(late)
