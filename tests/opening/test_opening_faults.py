"""Nothing that goes wrong on one bid, one file or one machine keeps the others sealed."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.accounts.models import Membership
from dematmp.accounts.services import give_role, take_role
from dematmp.audit.models import Entry
from dematmp.bids.tasks import sweep as stamp_bids
from dematmp.consultations import errors as consultation_errors
from dematmp.consultations import services as consultations
from dematmp.consultations.models import Consultation
from dematmp.opening import services, unsealing
from dematmp.opening.errors import BeforeDeadline, OpeningError, QuorumMissing
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.unsealing import unseal_all
from signing.client import ServerRefused
from storage.stores import object_store
from tests.opening.test_opening import closed, opened
from tests.signing.authority import Issuer, serving
from tests.world import World, client, organisation

__all__ = ["closed"]


def _released(world: World, consultation: Consultation) -> OpeningSession:
    session = world.share(consultation, 0)
    world.share(consultation, 2)
    client(world.members[2], world.buyer).post(f"/openings/{session['session']}/open")
    return OpeningSession.objects.get()


def test_a_share_taken_away_while_the_authority_is_asked_is_missed(
    world: World, closed: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.share(closed, 0)
    world.share(closed, 2)
    session = OpeningSession.objects.get()

    def slow(*_: object, **__: object) -> None:
        session.shares.filter(holder__index=3).delete()

    monkeypatch.setattr(services, "ask_others", slow)
    with pytest.raises(QuorumMissing):
        services.release(session, by=world.members[0], now=timezone.now())
    session.refresh_from_db()
    assert session.released_at is None


@pytest.mark.parametrize("urls", [["/tsa"], ["/tsa", "embedded"], ["/tsa", "/other", "embedded"]])
def test_an_outside_authority_holds_the_bids_of_a_clock_that_runs_ahead(
    world: World, tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture, urls: list[str]
) -> None:
    """Our own authority, asked after it, has our own clock; nor does one that is wrong too make it right."""
    root, ahead = Issuer.root(), timedelta(hours=3)
    (tmp_path / "root.pem").write_bytes(root.identity.pem)
    true, other = root.authority(tmp_path), root.authority(tmp_path, "Autre")
    consultation = world.publish(closes_in=timedelta(hours=2))
    answers = {
        "/tsa": lambda body: true.respond(body, now=timezone.now() - ahead),
        "/other": lambda body: other.respond(body, now=timezone.now()),
    }
    with serving(answers) as base, time_machine.travel(timezone.now() + ahead, tick=True):
        settings.TSA_TRUST = [str(tmp_path / "root.pem")]
        settings.TSA_URLS = [base + each if each.startswith("/") else each for each in urls]
        world.share(consultation, 0)
        world.share(consultation, 2)
        for _ in range(5):  # whoever insists does not make it rest
            with pytest.raises(BeforeDeadline, match="une minute"):
                services.release(OpeningSession.objects.get(), by=world.members[0], now=timezone.now())
    assert OpeningSession.objects.get().released_at is None
    assert Entry.objects.filter(kind="opening-refused").exists()
    assert any("contredit l'horloge" in each.message for each in caplog.records)


def test_without_an_answer_from_outside_the_deadline_passed_by_our_clock_alone(
    world: World, closed: Consultation, settings: Settings
) -> None:
    settings.TSA_URLS, settings.TSA_TRUST = ["http://127.0.0.1:9/", "embedded"], []
    _released(world, closed)
    release = Entry.objects.get(kind="platform-release")
    assert json.loads(bytes(release.record))["authority_time"] is None


def test_fewer_shares_than_the_quorum_never_read_as_unreadable_bids(
    world: World, closed: Consultation
) -> None:
    session = _released(world, closed)
    session.shares.filter(holder__index=3).delete()
    with pytest.raises(OpeningError, match="Quorum incomplet"):
        unseal_all(session)
    session.refresh_from_db()
    assert (session.released_at, bool(session.wrapped_seed)) == (None, True)
    assert not OpenedEnvelope.objects.filter(state="refused").exists()
    world.share(closed, 1)
    assert opened(world, closed).state == "done"


@pytest.mark.parametrize("name", ["devis 华为 한글 😀.txt", "devis \u0378.txt"])
def test_a_name_that_no_font_draws_is_opened_and_minuted(world: World, tmp_path: Path, name: str) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path, files={name: b"prix"})
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        session = opened(world, consultation)
    assert name in bytes(session.minutes or b"").decode()
    assert bytes(session.minutes_pdf or b"").startswith(b"%PDF-")


def test_envelopes_changed_after_the_holders_were_named_are_refused_in_time(world: World) -> None:
    draft = world.draft()
    world.keys(draft)
    other = world.draft("2026-02")
    start_ceremony(other, members=world.members, threshold=2, by=world.agent, now=timezone.now())
    values = {"reference": "2026-02", "title": "T", "object": "O", "procedure": "MAPA-O", "cpv": "45233140"}
    consultations.correct_consultation(other, **values, kinds=["offre"])  # type: ignore[arg-type]
    with pytest.raises(ServerRefused) as error:
        client(world.members[0], world.buyer).deal(str(other.uuid))
    assert error.value.reason == "ceremony.refused"


def test_a_lost_object_keeps_no_other_bid_sealed_and_its_key_is_in_the_minutes(
    world: World, closed: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsealing, "MAX_TRIES", 2)
    session = _released(world, closed)
    lost = services.envelope_states(closed)
    envelope = next(iter(lost))
    object_store().delete(f"sealed/{closed.uuid}/{envelope}/1.cob")
    with pytest.raises(OpeningError, match="1 pli"):
        unseal_all(session)
    assert OpenedEnvelope.objects.filter(state="opened").count() == 3
    unseal_all(OpeningSession.objects.get())
    session.refresh_from_db()
    row = next(
        each
        for each in json.loads(bytes(session.minutes or b""))["envelopes"]
        if each["envelope"] == envelope
    )
    assert row["state"] == "incident"
    assert len(row["ek"]) == 64
    assert "incident technique" in row["reason"]


def test_bytes_altered_in_the_store_are_not_held_against_the_bidder(
    world: World, closed: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsealing, "MAX_TRIES", 1)
    session = _released(world, closed)
    envelope = next(iter(services.envelope_states(closed)))
    key = f"sealed/{closed.uuid}/{envelope}/1.cob"
    data = bytearray(object_store().read(key))
    data[-1] ^= 1
    object_store().put(key, bytes(data))
    unseal_all(session)
    row = OpenedEnvelope.objects.get(envelope__uuid=envelope)
    assert row.state == "incident"
    assert "Le stockage ne rend pas les octets reçus" in row.reason


def test_files_of_an_envelope_that_is_not_opened_are_not_served(world: World, closed: Consultation) -> None:
    opened(world, closed)
    file = OpenedFile.objects.filter(opened__envelope__kind="offre").first()
    assert file is not None
    assert file.is_served
    OpenedEnvelope.objects.filter(pk=file.opened.pk).update(state="refused")
    file = OpenedFile.objects.get(pk=file.pk)
    assert not file.is_served


def test_a_member_who_left_this_buyer_s_committee_sees_nothing_any_more(
    world: World, closed: Consultation, client: Client
) -> None:
    from tests.world import client as command_line

    session = opened(world, closed)
    leaver = world.members[0]
    now = timezone.now()
    take_role(Membership.objects.get(user=leaver), by=world.agent, now=now)
    other = organisation("buyer", 21340199)
    give_role(leaver, other, "member", now=now)
    for buyer in (other, world.buyer):
        with pytest.raises(ServerRefused) as error:
            command_line(leaver, buyer).fetch(f"/openings/{session.uuid}/minutes.json")
        assert error.value.status in (401, 404)
    client.force_login(leaver)
    assert client.get(reverse("session", kwargs={"consultation": closed.uuid})).status_code == 404


def test_the_token_of_another_buyer_opens_nothing_here(world: World, closed: Consultation) -> None:
    other = organisation("buyer", 21340199)
    give_role(world.members[0], other, "member", now=timezone.now())
    with pytest.raises(ServerRefused) as error:
        client(world.members[0], other).start_opening(str(closed.uuid))
    assert error.value.status == 404


def test_no_extension_once_the_opening_began(world: World, closed: Consultation) -> None:
    assert closed.deadline is not None
    just_before = closed.deadline - timedelta(milliseconds=10)
    world.share(closed, 0)
    with pytest.raises(consultation_errors.WrongStep, match="ouverture"):
        consultations.set_deadline(
            closed, at=closed.deadline + timedelta(days=1), by=world.agent, reason="X", now=just_before
        )


def test_keys_tokens_and_roles_are_in_the_journal(world: World, closed: Consultation) -> None:
    opened(world, closed)
    stamp_bids()
    kinds = set(Entry.objects.values_list("kind", flat=True))
    assert {"keys", "timestamp", "role-given", "ceremony", "session-key", "share-received"} <= kinds


def test_holders_are_reminded_a_week_before_and_the_day_before_once_each(world: World) -> None:
    from dematmp.mails.models import Mail
    from dematmp.opening.tasks import remind_holders

    consultation = world.publish(closes_in=timedelta(days=20))
    assert consultation.deadline is not None

    def reminders() -> list[str]:
        remind_holders()
        remind_holders()
        mails = Mail.objects.filter(subject__contains="vérifiez votre part").order_by("pk")
        return [mail.subject[-5:] for mail in mails]

    assert reminders() == []
    with time_machine.travel(consultation.deadline - timedelta(days=6)):
        assert reminders() == ["(J-7)"] * 3
    with time_machine.travel(consultation.deadline - timedelta(hours=20)):
        assert reminders() == ["(J-7)"] * 3 + ["(J-1)"] * 3
    with time_machine.travel(consultation.deadline + timedelta(hours=1)):
        assert len(reminders()) == 6


def test_the_page_is_red_when_nobody_may_be_missing(world: World, client: Client) -> None:
    tight = world.draft()
    world.keys(tight, threshold=3)
    client.force_login(world.agent)
    address = reverse("buyer-consultation", kwargs={"consultation": tight.uuid})
    assert "une seule phrase oubliée perdrait les offres" in client.get(address).content.decode()
    other = world.draft("2026-02")
    world.keys(other, threshold=2)
    address = reverse("buyer-consultation", kwargs={"consultation": other.uuid})
    assert "3 personnes peuvent ouvrir, il en faut 2" in client.get(address).content.decode()
