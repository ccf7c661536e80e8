"""A canary deposited each minute before a deadline: what it finds, what the buyer sees and may decide."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.audit.models import Entry
from dematmp.bids.checks import probe_has_where_to_deposit
from dematmp.bids.models import Bid, Probe
from dematmp.bids.probe import (
    availability,
    is_watched,
    measured,
    measured_since,
    probe,
    proposed_deadline,
    tell_outages,
)
from dematmp.bids.tasks import watch
from dematmp.consultations import services, trial
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from dematmp.opening.late_bids import branches, decide_late
from tests.world import World, make_world

T = datetime(2026, 12, 1, 11, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def row(minute: float, *, good: bool = True) -> Probe:
    return Probe(at=T + minute * MINUTE, succeeded=good, seconds=0.5)


def test_an_outage_goes_from_its_first_failure_to_the_next_success() -> None:
    rows = [row(n, good=n not in (3, 4, 9)) for n in range(10)]
    found = availability(rows, T, T + 10 * MINUTE)
    assert found.outages == [(T + 3 * MINUTE, T + 5 * MINUTE), (T + 9 * MINUTE, T + 10 * MINUTE)]
    assert (found.probes, found.succeeded) == (10, 7)
    assert found.down == 3 * MINUTE
    assert found.unmeasured == timedelta()


def test_a_silence_is_told_apart_from_an_outage() -> None:
    found = availability([row(0), row(1), row(20), row(21)], T, T + 40 * MINUTE)
    assert found.outages == []
    assert found.unmeasured == 19 * MINUTE + 19 * MINUTE
    nothing = availability([], T, T + 40 * MINUTE)
    assert nothing.unmeasured == 40 * MINUTE


@pytest.mark.parametrize(("gap", "suspect"), [(110, False), (111, True)])
def test_a_stop_just_before_the_deadline_is_not_certified_away(gap: int, *, suspect: bool) -> None:
    """One is due each minute and lasts fifty seconds at most: in a longer silence, one is missing."""
    last, until = T + 10 * MINUTE, T + 10 * MINUTE + timedelta(seconds=gap)
    found = availability([row(n) for n in range(11)], T, until)
    assert found.silences == ([(last, until)] if suspect else [])
    assert (found.at_the_end, found.last) == (suspect, last)
    middle = availability([row(0), row(gap / 60)], T, until - 9 * MINUTE)
    assert bool(middle.silences) == suspect


def test_the_proposal_gives_back_the_time_lost() -> None:
    deadline = T + timedelta(minutes=7)
    short = availability([row(0), row(1, good=False), row(2)], T, deadline)
    assert proposed_deadline(deadline, short) == T + timedelta(hours=2, minutes=15)
    long = availability([row(0, good=False), row(119, good=False)], T, T + timedelta(hours=2))
    assert proposed_deadline(T + timedelta(hours=2), long) == T + timedelta(hours=6)
    assert proposed_deadline(deadline, availability([row(n) for n in range(8)], T, deadline)) is None
    # Nothing measured for twenty minutes of forty: proposed all the same, and no minute is counted twice.
    silent = availability([row(n) for n in [*range(10), *range(30, 40)]], T, T + 40 * MINUTE)
    assert (silent.outages, silent.down) == ([], 21 * MINUTE)
    assert proposed_deadline(T + 40 * MINUTE, silent) == T + timedelta(hours=2, minutes=45)
    # 22:00 in Paris and two hours more would be midnight, which no deadline may be.
    evening = T.replace(hour=21)
    assert proposed_deadline(evening, short) == evening + timedelta(hours=2, minutes=15)


@pytest.fixture
def live_world(transactional_db: None, settings: Settings, live_server: LiveServer) -> World:
    settings.PROBE_URL = live_server.url
    made = make_world()
    trial.ensure(now=timezone.now())
    return made


def test_the_canary_is_deposited_by_http_and_told_in_the_journal(live_world: World) -> None:
    live_world.publish(closes_in=timedelta(hours=1))
    assert is_watched(now=timezone.now())
    mails = Mail.objects.count()
    watch()
    watch()  # at once: the second changes nothing
    (found,) = Probe.objects.all()
    assert found.succeeded, found.code
    assert Bid.objects.filter(consultation__trial=True).count() == 1
    assert Mail.objects.count() == mails
    assert Entry.objects.filter(kind="probe").count() == 1
    probe(now=timezone.now() + MINUTE)
    assert Probe.objects.filter(succeeded=True).count() == 2


def test_a_platform_that_does_not_answer_is_told_so(live_world: World, settings: Settings) -> None:
    settings.PROBE_URL = "http://127.0.0.1:9"
    found = probe(now=timezone.now())
    assert found is not None
    assert (found.succeeded, found.code) == (False, "client.server-unreachable")


def test_nothing_is_probed_far_from_a_deadline(world: World) -> None:
    consultation = world.publish(closes_in=timedelta(hours=5))
    watch()
    assert not Probe.objects.exists()
    assert measured(consultation, now=timezone.now()) is None


def test_without_a_test_consultation_nothing_is_probed(world: World) -> None:
    world.publish(closes_in=timedelta(hours=1))
    watch()
    assert not Probe.objects.exists()


@pytest.fixture
def troubled(world: World) -> Consultation:
    """Closes in an hour; the last ten minutes had an outage of two."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    now = timezone.now()
    Consultation.objects.filter(pk=consultation.pk).update(published_at=now - timedelta(days=1))
    for ago in range(12, 0, -1):
        Probe.objects.create(at=now - ago * MINUTE, succeeded=ago not in (5, 6), seconds=0.4)
    consultation.refresh_from_db()
    return consultation


def test_the_buyer_s_agents_are_told_of_an_interruption_once(world: World, troubled: Consultation) -> None:
    now = timezone.now()
    tell_outages(now=now)
    tell_outages(now=now)
    (told,) = Mail.objects.filter(subject__contains="interrompue")
    assert told.to == world.agent.email
    assert f"/acheteur/consultations/{troubled.uuid}/" in told.body
    # Another one begins: nothing yet at its first failure, a mail once it has lasted a minute.
    Probe.objects.create(at=now, succeeded=False, seconds=20)
    tell_outages(now=now)
    assert Mail.objects.filter(subject__contains="interrompue").count() == 1
    Probe.objects.create(at=now + MINUTE, succeeded=False, seconds=20)
    tell_outages(now=now + MINUTE)
    assert Mail.objects.filter(subject__contains="interrompue").count() == 2


def test_the_buyer_extends_in_one_click(world: World, troubled: Consultation) -> None:
    browser = Client()
    browser.force_login(world.agent)
    page = browser.get(reverse("buyer-consultation", args=[troubled.uuid])).content.decode()
    assert "10 dépôts d'essai réussis sur 12" in page
    assert "?proposer=1" in page
    url = reverse("buyer-deadline", args=[troubled.uuid]) + "?proposer=1"
    form = browser.get(url).context["form"]
    assert "Indisponibilité de la plateforme, mesurée de " in form.initial["reason"]
    values = {
        "date": form.initial["date"].isoformat(),
        "time": form.initial["time"].isoformat(),
        "reason": form.initial["reason"],
    }
    assert browser.post(url, values).status_code == 302
    before, after = troubled.deadlines.order_by("version")
    assert after.at >= before.at + timedelta(hours=2)
    assert after.reason.startswith("Indisponibilité")


def test_the_attestation_comes_after_the_deadline(world: World, troubled: Consultation) -> None:
    browser, stranger = Client(), Client()
    browser.force_login(world.agent)
    stranger.force_login(world.bidder)
    url = reverse("attestation", args=[troubled.uuid])
    assert browser.get(url).status_code == 404
    assert troubled.deadline is not None
    with time_machine.travel(troubled.deadline + timedelta(minutes=5)):
        browser.force_login(world.agent)
        answer = browser.get(url)
        assert answer.status_code == 200
        told = drawn(answer.content)
        assert "Des interruptions ou des périodes sans mesure" in told
        assert "12, dont 10 réussis" in told
        page = browser.get(reverse("buyer-consultation", args=[troubled.uuid])).content.decode()
        assert "Attestation (PDF)" in page
        assert "Une partie de cette période n'a pas été mesurée" in page
        stranger.force_login(world.bidder)
        assert stranger.get(url).status_code in (403, 404)


def test_the_attestation_of_a_platform_that_never_failed_says_so(world: World) -> None:
    consultation = world.publish(closes_in=timedelta(hours=3))
    assert consultation.deadline is not None
    Probe.objects.bulk_create(
        Probe(at=consultation.deadline - ago * MINUTE, succeeded=True, seconds=0.4) for ago in range(121)
    )
    with time_machine.travel(consultation.deadline + timedelta(minutes=5)):
        browser = Client()
        browser.force_login(world.agent)
        told = drawn(browser.get(reverse("attestation", args=[consultation.uuid])).content)
    assert "La plateforme recevait des dépôts" in told
    last = timezone.localtime(consultation.deadline)
    assert f"d’essai, commencé le {last:%d/%m/%Y à %H:%M:%S}" in told
    assert "121, dont 121 réussis" in told
    assert "Aucune." in told


def drawn(pdf: bytes) -> str:
    """The words of a PDF, on one line."""
    return " ".join("".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


def test_a_silence_of_the_platform_is_told_and_proposed(world: World) -> None:
    """The worse the failure, the less it measures: who cannot prove that it worked is told so, once."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    now = timezone.now()
    Consultation.objects.filter(pk=consultation.pk).update(published_at=now - timedelta(days=1))
    consultation.refresh_from_db()
    for ago in (58, 59, 60, 1, 2):
        Probe.objects.create(at=now - ago * MINUTE, succeeded=True, seconds=0.4)
    said = measured(consultation, now=now)
    assert said is not None
    assert not said.suspect, "nobody measures without a test consultation"
    assert said.unmeasured > timedelta(minutes=50)
    trial.ensure(now=now)
    tell_outages(now=now)
    tell_outages(now=now)
    (told,) = Mail.objects.filter(body__contains="n'a rien mesuré, et était peut-être arrêtée")
    assert told.to == world.agent.email
    browser = Client()
    browser.force_login(world.agent)
    page = browser.get(reverse("buyer-consultation", args=[consultation.uuid])).content.decode()
    assert "la plateforme était peut-être arrêtée" in page
    url = reverse("buyer-deadline", args=[consultation.uuid]) + "?proposer=1"
    form = browser.get(url).context["form"]
    assert form.initial["reason"].startswith("Indisponibilité possible de la plateforme")


@pytest.mark.parametrize("stopped", [10, 1])
def test_an_outage_that_lasts_past_the_deadline_is_told_all_the_same(
    world: World, tmp_path: Path, stopped: int
) -> None:
    """The platform stops some minutes before, and is back ten minutes after: nobody could begin in time."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    Consultation.objects.filter(pk=consultation.pk).update(published_at=timezone.now() - timedelta(days=1))
    consultation.refresh_from_db()
    trial.ensure(now=timezone.now())
    deadline = consultation.deadline
    assert deadline is not None
    for ago in range(119, stopped, -1):
        Probe.objects.create(at=deadline - ago * MINUTE, succeeded=True, seconds=0.4)
    with time_machine.travel(deadline + 10 * MINUTE):
        watch()
        watch()
        (told,) = Mail.objects.filter(body__contains="ne se reporte plus")
        assert told.to == world.agent.email
        assert len(told.subject) < 120
        world.deposit(consultation, tmp_path)
        bid = Bid.objects.get(consultation=consultation)
        assert [each.code for each in branches(bid, now=timezone.now())] == ["prevented"]
        decide_late(bid, "admitted", "La plateforme était arrêtée.", by=world.agent, now=timezone.now())


def test_an_interruption_before_an_extension_is_not_forgotten(world: World, tmp_path: Path) -> None:
    """Who began before it, and is late at the extended deadline, met it all the same."""
    trial.ensure(now=timezone.now())
    made = world.publish(closes_in=timedelta(hours=3))
    first = made.deadline
    assert first is not None
    second = first + timedelta(hours=5)
    for n in range(111):
        at = first - (120 - n) * MINUTE
        Probe.objects.create(at=at, succeeded=not 60 <= n < 80, seconds=0.5, code="")
    for n in range(121):
        Probe.objects.create(at=second - (120 - n) * MINUTE, succeeded=True, seconds=0.5, code="")
    with time_machine.travel(first - 65 * MINUTE):
        speaker, draft = world.seal(made, tmp_path)
        attempt = str(speaker.upload(draft)["attempt"])
    with time_machine.travel(first - 10 * MINUTE):
        services.set_deadline(made, at=second, by=world.agent, reason="panne", now=timezone.now())
    with time_machine.travel(second + timedelta(seconds=20)):
        speaker.finalise(draft, attempt)
        bid = Bid.objects.get()
        assert [each.code for each in branches(bid, now=timezone.now())] == ["incident"]
        found = measured_since(made, since=bid.attempt.started_at, now=timezone.now())
        assert found is not None
        assert found.outages == [(first - 60 * MINUTE, first - 40 * MINUTE)]
        answer = Client()
        answer.force_login(world.agent, backend="allauth.account.auth_backends.AuthenticationBackend")
        told = drawn(answer.get(reverse("attestation", args=[made.uuid])).content)
    assert " ; du " in told
    begun, end = (timezone.localtime(first - n * MINUTE).strftime("%H:%M:%S") for n in (60, 40))
    assert begun in told
    assert end in told


def test_a_clock_that_was_ahead_stops_no_probe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.ensure(now=timezone.now())
    monkeypatch.setattr("dematmp.bids.probe.deposit_canary", lambda *_, **__: None)
    now = timezone.now()
    assert probe(now=now + timedelta(hours=1)) is not None
    assert [probe(now=now + n * MINUTE) is not None for n in range(3)] == [True, True, True]
    assert probe(now=now + 2 * MINUTE + timedelta(seconds=10)) is None


def test_a_platform_without_a_test_consultation_says_that_it_measures_nothing(
    world: World, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    agent = Client()
    agent.force_login(world.agent)
    where = reverse("buyer-consultation", args=[made.uuid])
    (said,) = probe_has_where_to_deposit(None)
    assert "trial_consultation" in (said.hint or "")
    watch()
    assert "trial_consultation" in caplog.text
    assert "Rien n'est mesuré" in agent.get(where).content.decode()
    settings.BACKUP_DEPOSIT = True
    assert probe_has_where_to_deposit(None) == []
    settings.BACKUP_DEPOSIT = False
    trial.ensure(now=timezone.now())
    assert probe_has_where_to_deposit(None) == []
    assert "Rien n'est mesuré" not in agent.get(where).content.decode()
