"""A key for each lot: what the committee leaves sealed needs no share and opens with none."""

import base64
import contextlib
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
from dematmp.consultations import services
from dematmp.consultations.errors import WrongStep
from dematmp.consultations.models import Consultation
from dematmp.opening.decisions import decide, leave_sealed, next_phase, take_back, to_decide
from dematmp.opening.errors import AlreadyReleased, CeremonyRefused, DecisionRefused, ShareRefused
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpeningSession, SessionShare
from dematmp.opening.unsealing import unseal_all
from signing.ceremony import MAX_KEYS, parse_record
from signing.client import EnvelopePlan, ServerRefused
from signing.envelope import Source
from signing.keys import seal_to
from signing.sharing import session_info
from tests.opening.test_phases import open_phase
from tests.world import World, client

NAMES = ["candidature/1", "candidature/2", "offre/1", "offre/2"]


def envelopes(session: OpeningSession) -> dict[tuple[str, str], str]:
    rows = session.envelopes.select_related("envelope").order_by("pk")
    return {(row.envelope.kind, row.envelope.lot): row.state for row in rows}


def published(world: World, folder: Path, **more: object) -> Consultation:
    made = world.publish(world.draft(keys_per_lot=True, **more), closes_in=timedelta(hours=1))
    for lot in ("1", "2"):
        world.deposit(made, folder / lot, lot=lot)
    return made


@pytest.fixture
def closed(world: World, tmp_path: Path) -> Iterator[Consultation]:
    made = published(world, tmp_path)
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        yield made


def test_each_lot_has_its_keys(world: World) -> None:
    made = world.publish(world.draft(keys_per_lot=True))
    record = parse_record(bytes(made.ceremony_record or b""))
    assert sorted(record.keys) == NAMES
    assert len({keys.committee for keys in record.keys.values()}) == 4
    assert record.dealer == str(world.members[0].uuid)
    twin = parse_record(bytes(made.ceremony.twin.ceremony_record))
    assert record.twin == twin.consultation
    assert sorted(twin.keys) == ["candidature", "offre"]
    assert twin.twin == ""


def test_a_bid_sealed_to_the_key_of_another_lot_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.publish(world.draft(keys_per_lot=True))
    (tmp_path / "offre.txt").write_text("mon offre")
    speaker = client(world.bidder, world.company)
    plan = EnvelopePlan("1", "offre", [Source(tmp_path / "offre.txt", "offre.txt")])
    # A program that takes the other lot's keys: the platform looks at what the header says.
    monkeypatch.setattr("signing.client.keys_for", lambda keys, kind, lot: keys[f"{kind}/2"])
    speaker.seal_draft(str(made.uuid), [plan], tmp_path / "draft")
    with pytest.raises(ServerRefused, match="une autre clé"):
        speaker.upload(tmp_path / "draft")


def test_every_lot_opens_with_its_own_keys(world: World, closed: Consultation) -> None:
    session = open_phase(world, closed)
    assert set(envelopes(session).values()) == {"opened"}
    assert session.releases[0]["kinds"] == NAMES
    verify()


def test_a_lot_left_sealed_is_never_opened_and_the_minutes_say_why(
    world: World, closed: Consultation
) -> None:
    world.share(closed, 0)
    session = OpeningSession.objects.get(consultation=closed)
    leave_sealed(session, lot="2", reason="lot sans suite", by=world.members[0], now=timezone.now())
    # The share already brought for it is no longer there: nothing on the server could open this lot.
    assert not SessionShare.objects.filter(session=session, kind__endswith="/2").exists()
    session.refresh_from_db()
    assert session.key_names == ["candidature/1", "offre/1"]
    opened = open_phase(world, closed)
    assert envelopes(opened) == {
        ("candidature", "1"): "opened",
        ("offre", "1"): "opened",
        ("candidature", "2"): "unopened",
        ("offre", "2"): "unopened",
    }
    assert {row["kinds"][0] for row in opened.releases} == {"candidature/1"}
    said = json.loads(bytes(opened.minutes or b""))
    assert said["sealed_lots"][0]["reason"] == "lot sans suite"
    assert {row["reason"] for row in said["envelopes"] if row["lot"] == "2"} == {
        "lot laissé scellé par la commission : lot sans suite"
    }
    assert Entry.objects.filter(kind="lot-left-sealed").count() == 1
    assert b"%PDF" in bytes(opened.minutes_pdf or b"")[:8]
    with pytest.raises((DecisionRefused, AlreadyReleased)):
        take_back(opened, lot="2", by=world.members[0], now=timezone.now())


def test_a_lot_taken_back_is_opened_with_new_shares(world: World, closed: Consultation) -> None:
    world.share(closed, 0)
    session = OpeningSession.objects.get(consultation=closed)
    leave_sealed(session, lot="2", reason="lot sans suite", by=world.members[0], now=timezone.now())
    take_back(session, lot="2", by=world.members[1], now=timezone.now())
    world.share(closed, 1)
    with pytest.raises(ServerRefused, match="Quorum incomplet : 1"):
        client(world.members[0], world.buyer).post(f"/openings/{session.uuid}/open")
    assert set(envelopes(open_phase(world, closed)).values()) == {"opened"}


def test_what_may_not_be_left_sealed(world: World, closed: Consultation) -> None:
    world.share(closed, 0)
    session, by = OpeningSession.objects.get(consultation=closed), world.members[0]
    for lot, reason in (("9", "motif"), ("1", "  ")):
        with pytest.raises(DecisionRefused):
            leave_sealed(session, lot=lot, reason=reason, by=by, now=timezone.now())
    leave_sealed(session, lot="2", reason="sans suite", by=by, now=timezone.now())
    for lot in ("1", "2"):
        with pytest.raises(DecisionRefused):
            leave_sealed(session, lot=lot, reason="sans suite", by=by, now=timezone.now())
    opened = open_phase(world, closed)
    with pytest.raises(DecisionRefused):
        leave_sealed(opened, lot="1", reason="trop tard", by=by, now=timezone.now())


def test_between_two_phases_a_lot_is_left_sealed(world: World, tmp_path: Path) -> None:
    made = published(world, tmp_path, opening_order="candidature")
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        session = open_phase(world, made)
        choices = {str(row.envelope.uuid): ("admitted", "") for row in to_decide(session)}
        decide(session, choices, by=world.members[0], now=timezone.now())
        leave_sealed(session, lot="2", reason="sans suite", by=world.members[0], now=timezone.now())
        take_back(session, lot="2", by=world.members[1], now=timezone.now())
        session.refresh_from_db()
        assert session.left_sealed == {}
        leave_sealed(session, lot="2", reason="sans suite", by=world.members[0], now=timezone.now())
        next_phase(session, by=world.members[0], now=timezone.now())
        session = open_phase(world, made)
    assert envelopes(session)["candidature", "2"] == "opened"
    assert envelopes(session)["offre", "2"] == "unopened"
    assert envelopes(session)["offre", "1"] == "opened"
    assert [row["kinds"] for row in session.releases] == [["candidature/1", "candidature/2"], ["offre/1"]]


def test_without_keys_of_its_own_a_lot_is_left_sealed_too(world: World, tmp_path: Path) -> None:
    made = world.publish(world.draft(), closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path / "1", lot="1")
    world.deposit(made, tmp_path / "2", lot="2")
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        world.share(made, 0)
        session = OpeningSession.objects.get(consultation=made)
        leave_sealed(session, lot="1", reason="sans suite", by=world.members[0], now=timezone.now())
        opened = open_phase(world, made)
    assert envelopes(opened)["offre", "1"] == "unopened"
    assert envelopes(opened)["offre", "2"] == "opened"


def test_pages_leave_a_lot_sealed_and_take_it_back(world: World, closed: Consultation) -> None:
    member, stranger = Client(), Client()
    member.force_login(world.members[0])
    stranger.force_login(world.bidder)
    session, leave = (
        reverse("session", args=[closed.uuid]),
        reverse("leave-sealed", args=[closed.uuid, "2"]),
    )
    assert stranger.get(leave).status_code in (403, 404)
    assert "Laisser scellé" in member.get(session).content.decode()
    assert member.post(leave, {"reason": ""}).status_code == 400
    assert member.get(reverse("leave-sealed", args=[closed.uuid, "9"])).status_code == 404
    assert member.post(leave, {"reason": "lot sans suite"}).status_code == 302
    page = member.get(session).content.decode()
    assert "lot sans suite" in page
    assert "L'ouvrir finalement" in page
    back = reverse("take-back", args=[closed.uuid, "2"])
    assert member.get(back).status_code == 405
    assert member.post(back).status_code == 302
    assert OpeningSession.objects.get(consultation=closed).sealed_lots == []


def test_before_the_deadline_no_lot_is_chosen(world: World, tmp_path: Path) -> None:
    made = published(world, tmp_path)
    member = Client()
    member.force_login(world.members[0])
    url = reverse("leave-sealed", args=[made.uuid, "2"])
    assert member.post(url, {"reason": "trop tôt"}).status_code == 404
    assert "Lots à ouvrir" not in member.get(reverse("session", args=[made.uuid])).content.decode()


def test_lots_do_not_change_once_they_have_keys(world: World) -> None:
    made = world.draft(keys_per_lot=True)
    world.keys(made)
    said: dict[str, object] = {
        "reference": made.reference,
        "title": made.title,
        "object": made.object,
        "procedure": made.procedure,
        "cpv": made.cpv,
        "keys_per_lot": True,
    }
    same = [{"number": "1", "title": "Autre intitulé"}, {"number": "2", "title": "Peinture"}]
    services.correct_consultation(made, **said, lots=same)  # type: ignore[arg-type]
    with pytest.raises(WrongStep, match="lots choisis"):
        services.correct_consultation(made, **said, lots=same[:1])  # type: ignore[arg-type]
    made.refresh_from_db()
    assert made.lots.count() == 2


def test_too_many_lots_for_a_key_each(world: World) -> None:
    lots = [{"number": str(number), "title": "Lot"} for number in range(1, MAX_KEYS // 2 + 2)]
    made = world.draft(keys_per_lot=True, lots=lots)
    for user in world.members:
        world.protectors(user)
    with pytest.raises(CeremonyRefused, match="trop de lots"):
        start_ceremony(made, members=world.members, threshold=2, by=world.agent, now=timezone.now())


def test_only_the_member_named_for_it_deals(world: World) -> None:
    made = world.draft()
    for user in world.members:
        world.protectors(user)
    start_ceremony(
        made,
        members=world.members,
        threshold=2,
        dealer=world.members[1],
        by=world.agent,
        now=timezone.now(),
    )
    with pytest.raises(ServerRefused, match="membre2 Essai répartit"):
        client(world.members[0], world.buyer).deal(str(made.uuid))
    speaker = client(world.members[1], world.buyer)
    record = parse_record(speaker.deal(str(made.uuid)))
    assert record.dealer == str(world.members[1].uuid)
    assert speaker.dealer(str(made.uuid)) == "membre2 Essai"
    outsider = world.agent
    with pytest.raises(CeremonyRefused, match="l'un des détenteurs"):
        start_ceremony(
            made, members=world.members, threshold=2, dealer=outsider, by=world.agent, now=timezone.now()
        )


@pytest.mark.parametrize("per_lot", [False, True])
def test_a_lot_left_sealed_after_a_false_share_stays_sealed(
    world: World, tmp_path: Path, per_lot: bool
) -> None:
    """The false share put the session back to waiting, with its envelopes already listed."""
    made = world.publish(world.draft(keys_per_lot=per_lot), closes_in=timedelta(hours=1))
    for lot in ("1", "2"):
        world.deposit(made, tmp_path / lot, lot=lot)
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        world.share(made, 0)
        session = OpeningSession.objects.get()
        ident, public = str(session.uuid), bytes(session.public_key)
        false = [
            {
                "kind": name,
                "index": 2,
                "sealed": base64.b64encode(seal_to(public, bytes(33), session_info(ident, name, 2))).decode(),
            }
            for name in session.key_names
        ]
        liar = client(world.members[1], world.buyer)
        liar.post(f"/openings/{ident}/shares", {"shares": false})
        liar.post(f"/openings/{ident}/open")
        session = OpeningSession.objects.get()
        with contextlib.suppress(ShareRefused):
            unseal_all(session)
        session = OpeningSession.objects.get()
        assert session.state == "waiting"
        leave_sealed(session, lot="2", reason="lot sans suite", by=world.members[0], now=timezone.now())
        world.share(made, 0)
        world.share(made, 1)
        client(world.members[0], world.buyer).post(f"/openings/{ident}/open")
        session = OpeningSession.objects.get()
        if session.finished_at is None:
            unseal_all(session)
        found = envelopes(session)
        assert {lot: found["offre", lot] for lot in ("1", "2")} == {"1": "opened", "2": "unopened"}
        said = json.loads(bytes(OpeningSession.objects.get().minutes or b""))["envelopes"]
        assert not [each for each in said if each["lot"] == "2" and each.get("ek")]
