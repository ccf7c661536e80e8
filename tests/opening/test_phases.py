"""Candidatures first, or offers first: what is rejected leaves the other envelope sealed."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.awards.services import AwardRefused, award
from dematmp.consultations.models import Consultation
from dematmp.consultations.rules import opening_phases
from dematmp.opening import unsealing
from dematmp.opening.decisions import decide, next_phase
from dematmp.opening.errors import DecisionRefused, OpeningError
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.rules import sealed_because
from dematmp.opening.tasks import sweep
from dematmp.opening.unsealing import unseal_all
from signing.client import EnvelopePlan, ServerRefused
from signing.envelope import Source
from signing.keys import seal_to
from signing.sharing import session_info
from tests.world import World, client

ORDERS = [("candidature", "offre"), ("offre", "candidature")]


@pytest.fixture(params=ORDERS, ids=["candidatures d'abord", "offres d'abord"])
def order(request: pytest.FixtureRequest) -> tuple[str, str]:
    first, second = request.param
    return first, second


@pytest.fixture
def closed(world: World, order: tuple[str, str], tmp_path: Path) -> Iterator[Consultation]:
    """Two companies' bids, the deadline passed."""
    consultation = world.publish(world.draft(opening_order=order[0]), closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a")
    world.deposit(consultation, tmp_path / "b", rival=True)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        yield consultation


def open_phase(world: World, consultation: Consultation) -> OpeningSession:
    session = world.share(consultation, 0)
    world.share(consultation, 1)
    client(world.members[0], world.buyer).post(f"/openings/{session['session']}/open")
    found = OpeningSession.objects.get(consultation=consultation)
    unseal_all(found)
    found.refresh_from_db()
    return found


def envelope(consultation: Consultation, bidder: object, kind: str) -> OpenedEnvelope:
    return OpenedEnvelope.objects.get(envelope__attempt__bidder=bidder, envelope__kind=kind)


@pytest.mark.parametrize(
    ("kinds", "order", "expected"),
    [
        (["candidature", "offre"], "together", [["candidature", "offre"]]),
        (["candidature", "offre"], "candidature", [["candidature"], ["offre"]]),
        (["candidature", "offre"], "offre", [["offre"], ["candidature"]]),
        (["offre"], "candidature", [["offre"]]),
        (["offre"], "offre", [["offre"]]),
    ],
)
def test_the_order_says_the_phases(kinds: list[str], order: str, expected: list[list[str]]) -> None:
    assert opening_phases(kinds, order) == expected


def test_the_other_kind_stays_sealed_until_the_committee_decided(
    world: World, closed: Consultation, order: tuple[str, str]
) -> None:
    session = open_phase(world, closed)
    assert (session.state, session.kinds, session.wrapped_seed) == ("deciding", [order[0]], None)
    assert set(OpenedEnvelope.objects.values_list("envelope__kind", flat=True)) == {order[0]}
    assert session.minutes is None
    # Neither a share nor a release nor a run of the worker goes further.
    with pytest.raises((ServerRefused, OpeningError)):
        world.share(closed, 2)
    unseal_all(session)
    sweep()
    assert OpenedEnvelope.objects.count() == 2
    with pytest.raises(DecisionRefused, match="Il reste 2"):
        next_phase(session, by=world.members[0], now=timezone.now())


def test_the_other_envelope_of_a_rejected_company_stays_sealed(
    world: World, closed: Consultation, order: tuple[str, str]
) -> None:
    session = open_phase(world, closed)
    first, second = order
    decisions = {
        str(envelope(closed, world.company, first).envelope.uuid): ("admitted", ""),
        str(envelope(closed, world.rival, first).envelope.uuid): ("rejected", "Capacités insuffisantes."),
    }
    assert decide(session, decisions, by=world.members[0], now=timezone.now()) == 2
    assert decide(session, decisions, by=world.members[0], now=timezone.now()) == 0
    next_phase(session, by=world.members[0], now=timezone.now())
    session = open_phase(world, closed)
    assert session.state == "done"
    kept, opened = envelope(closed, world.rival, second), envelope(closed, world.company, second)
    assert (kept.state, kept.ek) == ("unopened", "")
    assert kept.reason.startswith("rejetée par la commission")
    assert (opened.state, len(opened.ek)) == ("opened", 64)
    assert not OpenedFile.objects.filter(opened=kept).exists()
    said = json.loads(bytes(session.minutes or b""))
    assert [each["kinds"] for each in said["releases"]] == [[first], [second]]
    assert {row["decision"]["decision"] for row in said["envelopes"] if "decision" in row} == {
        "admitted",
        "rejected",
    }
    assert all("ek" not in row for row in said["envelopes"] if row["state"] == "unopened")
    assert Entry.objects.filter(kind="envelope-decision").count() == 2
    verify()


def test_a_rejection_has_a_reason_and_bears_on_an_opened_envelope(
    world: World, closed: Consultation, order: tuple[str, str]
) -> None:
    session = open_phase(world, closed)
    mine = str(envelope(closed, world.company, order[0]).envelope.uuid)
    for bad in (
        {mine: ("rejected", "  ")},
        {mine: ("maybe", "")},
        {"0" * 32: ("admitted", "")},
    ):
        with pytest.raises(DecisionRefused):
            decide(session, bad, by=world.members[0], now=timezone.now())
    assert not OpenedEnvelope.objects.exclude(decision="").exists()


def test_the_decisions_are_taken_on_a_page(
    world: World, closed: Consultation, order: tuple[str, str]
) -> None:
    session = open_phase(world, closed)
    browser = Client()
    browser.force_login(world.members[1])
    here = {"consultation": closed.uuid}
    page = browser.get(reverse("session", kwargs=here)).content.decode()
    assert "il reste 2 décisions à prendre" in page
    rows = {
        bidder: envelope(closed, bidder, order[0]).envelope.uuid for bidder in (world.company, world.rival)
    }
    form = {f"decision-{rows[world.company]}": "admitted", f"decision-{rows[world.rival]}": "rejected"}
    refused = browser.post(reverse("decide", kwargs=here), form)
    assert refused.status_code == 400
    assert "un rejet a un motif" in refused.content.decode()
    form[f"reason-{rows[world.rival]}"] = "Attestation absente après demande."
    assert browser.post(reverse("decide", kwargs=here), form).status_code == 302
    assert browser.post(reverse("next-phase", kwargs=here)).status_code == 302
    session.refresh_from_db()
    assert (session.phase, session.state) == (1, "waiting")
    assert browser.get(reverse("decide", kwargs=here)).status_code == 404
    stranger = Client()
    stranger.force_login(world.agent)
    assert stranger.post(reverse("next-phase", kwargs=here)).status_code == 404


def test_the_first_phase_key_opens_nothing_of_the_second(
    world: World, closed: Consultation, order: tuple[str, str]
) -> None:
    session = open_phase(world, closed)
    before = bytes(session.public_key)
    decisions = {
        str(row.envelope.uuid): ("admitted", "") for row in OpenedEnvelope.objects.select_related("envelope")
    }
    decide(session, decisions, by=world.members[0], now=timezone.now())
    next_phase(session, by=world.members[0], now=timezone.now())
    session.refresh_from_db()
    assert bytes(session.public_key) != before
    assert set(session.shares.values_list("kind", flat=True)) == {order[0]}
    # One share alone of the second kind releases nothing.
    world.share(closed, 0)
    with pytest.raises(ServerRefused) as error:
        client(world.members[0], world.buyer).post(f"/openings/{session.uuid}/open")
    assert error.value.reason == "opening.quorum-missing"


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        ({("a", "1"): "admitted"}, ""),
        ({("a", "1"): "rejected"}, "rejetée"),
        ({}, "aucune autre enveloppe"),
        ({("b", "1"): "admitted"}, "aucune autre enveloppe"),
        ({("a", "2"): "admitted"}, ""),  # one candidature for several lots
        ({("a", "2"): "admitted", ("a", "3"): "rejected"}, "aucune autre enveloppe"),
        ({("a", "1"): "admitted", ("a", "2"): "rejected"}, ""),
        ({("a", "1"): "rejected", ("a", "2"): "admitted"}, "rejetée"),
    ],
)
def test_what_is_opened_after_the_first_phase(decided: dict[tuple[str, str], str], expected: str) -> None:
    said = sealed_because(decided, bidder="a", lot="1")
    assert said.startswith(expected) if expected else said == ""


def one_kind(world: World, consultation: Consultation, folder: Path, kind: str) -> None:
    """The rival deposits one kind of envelope only."""
    speaker = client(world.rival_bidder, world.rival)
    folder.mkdir()
    (folder / "f").write_bytes(b"seul")
    plan = EnvelopePlan("2", kind, [Source(folder / "f", "seul.txt")])
    speaker.seal_draft(str(consultation.uuid), [plan], folder / "draft")
    speaker.finalise(folder / "draft", str(speaker.upload(folder / "draft")["attempt"]))


def admit_all(session: OpeningSession, by: User) -> None:
    rows = OpenedEnvelope.objects.filter(session=session, decision="").exclude(state="unopened")
    said = {str(row.envelope.uuid): ("admitted", "") for row in rows.select_related("envelope")}
    decide(session, said, by=by, now=timezone.now())


def test_an_envelope_that_nothing_admits_stays_sealed(world: World, tmp_path: Path) -> None:
    consultation = world.publish(world.draft(opening_order="candidature"), closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a")
    one_kind(world, consultation, tmp_path / "b", "offre")
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        admit_all(open_phase(world, consultation), world.members[0])
        next_phase(OpeningSession.objects.get(), by=world.members[0], now=timezone.now())
        open_phase(world, consultation)
    alone = OpenedEnvelope.objects.get(envelope__attempt__bidder=world.rival)
    assert (alone.state, alone.ek) == ("unopened", "")
    assert alone.reason.startswith("aucune autre enveloppe admise")


def test_what_was_received_in_time_and_recorded_since_is_opened_with_its_phase(
    world: World, closed: Consultation, order: tuple[str, str], tmp_path: Path
) -> None:
    from dematmp.bids.models import Attempt
    from dematmp.bids.services import complete

    speaker, draft = world.seal(closed, tmp_path / "c", rival=True, lot="2")
    attempt = str(speaker.upload(draft)["attempt"])
    admit_all(open_phase(world, closed), world.members[0])
    # Its finalisation was received in time, and a stalled process records it only now.
    Attempt.objects.filter(uuid=attempt).update(finalised_at=closed.deadline, finalised_by=world.rival_bidder)
    complete(Attempt.objects.get(uuid=attempt), now=timezone.now())
    session = OpeningSession.objects.get()
    next_phase(session, by=world.members[0], now=timezone.now())
    session.refresh_from_db()
    assert (session.phase, session.state) == (0, "waiting")
    session = open_phase(world, closed)
    assert (session.phase, session.state) == (0, "deciding")
    assert OpenedEnvelope.objects.filter(envelope__kind=order[0], state="opened").count() == 3
    admit_all(session, world.members[0])
    next_phase(session, by=world.members[0], now=timezone.now())
    assert open_phase(world, closed).state == "done"
    assert OpenedEnvelope.objects.filter(state="opened").count() == 6


def test_a_company_that_the_committee_rejected_is_awarded_nothing(world: World, tmp_path: Path) -> None:
    consultation = world.publish(world.draft(opening_order="offre"), closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a")
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        session = open_phase(world, consultation)
        row = OpenedEnvelope.objects.get()
        said = {str(row.envelope.uuid): ("rejected", "Offre irrégulière.")}
        decide(session, said, by=world.members[0], now=timezone.now())
        next_phase(session, by=world.members[0], now=timezone.now())
        open_phase(world, consultation)
        with pytest.raises(AwardRefused, match="a rejeté"):
            award(
                consultation.lots.get(number="1"),
                company=world.company,
                amount=Decimal(1),
                reasons="x",
                by=world.validator,
                now=timezone.now(),
            )


def test_a_false_share_of_the_second_phase_leaves_the_first_in_the_minutes(
    world: World, closed: Consultation, order: tuple[str, str]
) -> None:
    session = open_phase(world, closed)
    admit_all(session, world.members[0])
    next_phase(session, by=world.members[0], now=timezone.now())
    session.refresh_from_db()
    false = seal_to(
        bytes(session.public_key), bytes(32) + b"\x02", session_info(str(session.uuid), order[1], 2)
    )
    world.share(closed, 0)
    shares = [{"kind": order[1], "index": 2, "sealed": base64.b64encode(false).decode()}]
    client(world.members[1], world.buyer).post(f"/openings/{session.uuid}/shares", {"shares": shares})
    client(world.members[0], world.buyer).post(f"/openings/{session.uuid}/open")
    session.refresh_from_db()
    with pytest.raises(OpeningError, match="n° 2"):
        unseal_all(session)
    assert session.shares.filter(holder__index=2, kind=order[0]).exists()
    assert not session.shares.filter(holder__index=2, kind=order[1]).exists()
    session = open_phase(world, closed)
    assert (session.state, len(session.releases)) == ("done", 2)


def test_a_run_that_comes_late_changes_nothing(world: World, closed: Consultation) -> None:
    stale = open_phase(world, closed)
    admit_all(stale, world.members[0])
    next_phase(stale, by=world.members[0], now=timezone.now())
    session = open_phase(world, closed)
    unsealing._back_to_waiting(stale, "trop tard")
    unsealing._back_to_waiting(session, "trop tard")
    session.refresh_from_db()
    assert (session.state, len(session.releases), session.problem) == ("done", 2, "")
