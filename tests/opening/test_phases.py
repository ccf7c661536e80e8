"""Candidatures first, or offers first: what is rejected leaves the other envelope sealed."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.consultations.models import Consultation
from dematmp.consultations.rules import opening_phases
from dematmp.opening.decisions import decide, next_phase
from dematmp.opening.errors import DecisionRefused, OpeningError
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.tasks import sweep
from dematmp.opening.unsealing import unseal_all
from signing.client import ServerRefused
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
