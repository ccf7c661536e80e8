"""Nobody opens before the deadline, nobody opens alone; what is opened is what was sealed."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.unsealing import unseal_all
from deploy.services.clamd import EICAR, Clamd
from signing.client import ServerRefused
from signing.keys import seal_to
from signing.sharing import session_info
from storage.stores import object_store
from tests.world import World, client


@pytest.fixture
def closed(world: World, tmp_path: Path) -> Iterator[Consultation]:
    """A consultation past its deadline, with a bid of the company and one of its rival."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a", files={"offre.txt": b"mon offre", "virus.com": EICAR})
    world.deposit(consultation, tmp_path / "b", files={"prix.txt": b"1000"}, rival=True)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(milliseconds=1), tick=True):
        yield consultation


def opened(world: World, consultation: Consultation) -> OpeningSession:
    """Two members bring their shares, one opens, the process unseals."""
    session = world.share(consultation, 0)
    world.share(consultation, 2)
    path = f"/openings/{session['session']}/open"
    client(world.members[2], world.buyer).post(path, {"leave_undecided": True})
    found = OpeningSession.objects.get(consultation=consultation)
    unseal_all(found)
    found.refresh_from_db()
    return found


def test_opening_before_the_deadline_is_refused_and_journalled(world: World) -> None:
    consultation = world.publish()
    with pytest.raises(ServerRefused) as error:
        world.share(consultation, 0)
    assert error.value.reason == "opening.before-deadline"
    assert Entry.objects.filter(kind="opening-refused").count() == 1


def test_at_the_very_instant_of_the_deadline_nothing_opens(world: World) -> None:
    consultation = world.publish()
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline, tick=False), pytest.raises(ServerRefused):
        world.share(consultation, 0)


def test_one_member_alone_opens_nothing(world: World, closed: Consultation) -> None:
    session = world.share(closed, 1)
    with pytest.raises(ServerRefused) as error:
        client(world.members[1], world.buyer).post(f"/openings/{session['session']}/open")
    assert error.value.reason == "opening.quorum-missing"
    assert OpeningSession.objects.get().released_at is None


def test_a_quorum_opens_what_was_sealed(
    world: World, closed: Consultation, clamd: Clamd, settings: Settings
) -> None:
    settings.ANTIVIRUS_URL = clamd.url
    session = opened(world, closed)
    served = OpenedFile.objects.get(opened__envelope__kind="offre", name="offre.txt")
    assert served.verdict == "clean"
    assert b"".join(object_store().open(served.key)) == b"mon offre"
    assert session.state == "done"
    verify()


def test_an_infected_file_is_named_and_never_served(
    world: World, closed: Consultation, clamd: Clamd, settings: Settings
) -> None:
    settings.ANTIVIRUS_URL = clamd.url
    opened(world, closed)
    infected = OpenedFile.objects.get(opened__envelope__kind="offre", name="virus.com")
    assert (infected.verdict, infected.is_served) == ("infected", False)


def test_without_antivirus_a_file_is_never_called_clean(world: World, closed: Consultation) -> None:
    opened(world, closed)
    assert set(OpenedFile.objects.values_list("verdict", flat=True)) == {"not_scanned"}


def test_the_release_is_in_the_journal_before_anything_is_opened(world: World, closed: Consultation) -> None:
    opened(world, closed)
    kinds = list(Entry.objects.order_by("index").values_list("kind", flat=True))
    assert kinds.index("platform-release") < kinds.index("opened")


def test_the_minutes_list_every_envelope_and_give_no_key_of_the_unopened(
    world: World, tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "first")
    world.deposit(consultation, tmp_path / "second")
    late, draft = world.seal(consultation, tmp_path / "late", rival=True)
    attempt = str(late.upload(draft)["attempt"])
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        late.finalise(draft, attempt)
        session = opened(world, consultation)
    listed = json.loads(bytes(session.minutes or b""))["envelopes"]
    assert len(listed) == 6
    assert [bool(each.get("ek")) for each in listed] == [False, False, True, True, False, False]
    assert all(each["reason"] for each in listed if not each.get("ek"))


def test_running_the_opening_twice_changes_nothing(world: World, closed: Consultation) -> None:
    session = opened(world, closed)
    before = (bytes(session.minutes or b""), Entry.objects.count())
    unseal_all(OpeningSession.objects.get())
    session.refresh_from_db()
    assert (bytes(session.minutes or b""), Entry.objects.count()) == before


def test_an_interrupted_opening_resumes_where_it_stopped(
    world: World, closed: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dematmp.opening import unsealing

    real, calls = unsealing._open_envelope, []

    def dies_at_the_third(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(unsealing, "_open_envelope", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        opened(world, closed)
    assert OpenedEnvelope.objects.filter(state="opened").count() == 2
    browser = Client()
    browser.force_login(world.members[0])
    files = OpenedFile.objects.all()
    bar = f'<progress value="{files.exclude(done_at=None).count()}" max="{files.count()}"'
    assert bar in browser.get(reverse("session", args=[closed.uuid])).content.decode()
    monkeypatch.setattr(unsealing, "_open_envelope", real)
    unseal_all(OpeningSession.objects.get())
    assert OpenedEnvelope.objects.filter(state="opened").count() == 4


def test_a_false_share_is_refused_and_its_holder_named(world: World, closed: Consultation) -> None:
    session = world.share(closed, 0)
    liar = world.members[1]
    public = bytes(OpeningSession.objects.get().public_key)
    identifier = str(session["session"])
    shares = [
        {
            "kind": kind,
            "index": 2,
            "sealed": _b64(seal_to(public, bytes(33), session_info(identifier, kind, 2))),
        }
        for kind in closed.kinds
    ]
    speaker = client(liar, world.buyer)
    speaker.post(f"/openings/{identifier}/shares", {"shares": shares})
    speaker.post(f"/openings/{identifier}/open")
    from dematmp.opening.errors import ShareRefused

    with pytest.raises(ShareRefused, match="n° 2"):
        unseal_all(OpeningSession.objects.get())
    assert not OpenedFile.objects.exists()


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def test_a_late_extension_of_the_deadline_is_refused(world: World, closed: Consultation) -> None:

    from dematmp.consultations.errors import WrongStep
    from dematmp.consultations.services import set_deadline

    now = timezone.now()
    with pytest.raises(WrongStep):
        set_deadline(closed, at=now + timedelta(days=1), by=world.agent, reason="trop tard", now=now)


def test_nothing_opens_while_a_deposit_in_time_is_being_recorded(
    world: World, closed: Consultation, tmp_path: Path
) -> None:
    from dematmp.bids.models import Attempt, Bid
    from dematmp.bids.tasks import sweep

    speaker, draft = world.seal(closed, tmp_path / "c", rival=True)
    attempt = str(speaker.upload(draft)["attempt"])
    Attempt.objects.filter(uuid=attempt).update(finalised_at=closed.deadline, finalised_by=world.rival_bidder)
    session = world.share(closed, 0)
    world.share(closed, 2)
    with pytest.raises(ServerRefused) as error:
        client(world.members[0], world.buyer).post(f"/openings/{session['session']}/open")
    assert error.value.reason == "opening.deposits-pending"
    assert closed.deadline is not None
    with time_machine.travel(closed.deadline + timedelta(minutes=1)):
        sweep()
        assert opened(world, closed).state == "done"
    last = Bid.objects.get(attempt__uuid=attempt)
    assert set(
        OpenedEnvelope.objects.filter(envelope__attempt=last.attempt).values_list("state", flat=True)
    ) == {"opened"}


def test_a_deposit_in_time_recorded_after_the_release_is_opened_too(
    world: World, closed: Consultation, tmp_path: Path
) -> None:
    from dematmp.bids.models import Attempt
    from dematmp.bids.services import complete

    speaker, draft = world.seal(closed, tmp_path / "c", rival=True)
    attempt = str(speaker.upload(draft)["attempt"])
    session = world.share(closed, 0)
    world.share(closed, 2)
    client(world.members[2], world.buyer).post(f"/openings/{session['session']}/open")
    Attempt.objects.filter(uuid=attempt).update(finalised_at=closed.deadline, finalised_by=world.rival_bidder)
    complete(Attempt.objects.get(uuid=attempt), now=timezone.now())
    unseal_all(OpeningSession.objects.get())
    rows = OpenedEnvelope.objects.filter(envelope__attempt__bidder=world.rival).order_by("pk")
    last = [row.state for row in rows if str(row.envelope.attempt.uuid) == attempt]
    assert (set(last), len(last), [row.state for row in rows].count("unopened")) == ({"opened"}, 2, 2)
