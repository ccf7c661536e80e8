"""The backup channel: a real second platform, to which a company's program turns by itself."""

import base64
import io
import json
import os
import socket
import time
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.services import issue_token
from dematmp.audit.keys import channel_signer
from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.bids import visits
from dematmp.bids.checks import backup_role
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.importing import pull
from dematmp.bids.models import Attempt, Bid, ChannelVisit, Envelope, SealedObject
from dematmp.bids.offering import READER, offered
from dematmp.bids.visits import is_reconciled
from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedFile
from dematmp.opening.reconciliation import reconcile
from dematmp.opening.tasks import unseal_session
from signing.client import Client, ServerRefused, ServerUnreachable, digests, load_draft
from signing.fallback import backup_of, deposit, remember, went_by_backup
from signing.notes import Signer
from signing.passes import issue
from signing.receipt import verify_receipt
from storage.checks import antivirus_named
from storage.stores import object_store
from tests.channel import Channel
from tests.fronts import answering_paths
from tests.opening.test_opening import opened
from tests.world import World, make_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]
NOWHERE = "http://127.0.0.1:9"
SMALL = {"offre.txt": b"mon offre"}
FILES = {"offre.txt": b"mon offre", "plan.bin": os.urandom(9 * 1024**2)}


@pytest.fixture
def live_world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)  # the test unseals in this process
    monkeypatch.setattr(Client, "wait", lambda *_: None)
    monkeypatch.setattr(visits, "SETTLING", timedelta())  # seconds that no test waits for
    return make_world()


def sealed(
    world: World,
    server: LiveServer,
    channel: Channel,
    made: Consultation,
    folder: Path,
    files: dict[str, bytes] | None = None,
) -> Path:
    """A draft sealed while the platform answers, which remembers the channel."""
    channel.manage("backup_channel", "mirror")
    _, draft = world.seal(made, folder, files=files or FILES)
    assert remember(speaker(world, server.url), draft)
    return draft


def speaker(world: World, server: str) -> Client:
    token = issue_token(world.bidder, world.company, label="essai", now=timezone.now())
    return Client(server, token, tries=1)


def test_a_bid_sent_while_the_platform_is_down_is_opened_with_the_others(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish(closes_in=timedelta(seconds=45))
    draft = sealed(live_world, live_server, channel, made, tmp_path)
    turned: list[bool] = []
    done = deposit(speaker(live_world, NOWHERE), draft, turning=lambda: turned.append(True))
    assert turned == [True]
    assert done.by_backup and done.receipt is not None
    assert str(done.receipt["number"]).startswith("ARS-")
    assert went_by_backup(draft)
    done.speaker.collect(str(done.receipt["deposit"]), draft, wait=0)
    assert verify_receipt(draft, journal_key=settings.BACKUP_CHANNEL["journal_key"], ca_pem=None).sealed_here
    assert not Bid.objects.filter(consultation=made).exists()
    assert pull(now=timezone.now()) == 1
    assert pull(now=timezone.now()) == 0
    bid = Bid.objects.get(consultation=made)
    assert (bid.number, bid.late) == (done.receipt["number"], False)
    assert Entry.objects.filter(kind="deposit-imported").count() == 1
    verify()
    assert not is_reconciled(made)
    while timezone.now() <= (made.deadline or timezone.now()):
        time.sleep(0.2)  # the channel is another process, with the real clock
    opened(live_world, made)
    found = {row.name: b"".join(object_store().open(row.key)) for row in OpenedFile.objects.all()}
    assert found == FILES
    assert is_reconciled(made)
    assert [each for each in reconcile(digests=True) if str(made.uuid) in each.key] == []


def test_what_the_platform_had_begun_to_receive_is_the_same_deposit(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    made = live_world.publish()
    draft = sealed(live_world, live_server, channel, made, tmp_path)
    main = speaker(live_world, live_server.url)
    begun = Attempt.objects.get(uuid=str(main.upload(draft)["attempt"]))
    done = deposit(speaker(live_world, NOWHERE), draft)
    assert pull(now=timezone.now()) == 1
    bid = Bid.objects.get(consultation=made)
    assert bid.attempt == begun
    again = main.finalise(draft, str(begun.uuid))  # the platform is back, and the company tries once more
    assert done.receipt is not None
    assert again["number"] == done.receipt["number"] == bid.number
    assert [each for each in reconcile(digests=True) if str(made.uuid) in each.key] == []


def test_a_deposit_received_by_both_counts_once_at_the_platform_s_instant(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    made = live_world.publish()
    draft = sealed(live_world, live_server, channel, made, tmp_path)
    main = speaker(live_world, live_server.url)
    first = main.finalise(draft, str(main.upload(draft)["attempt"]))  # and its answer is lost
    deposit(speaker(live_world, NOWHERE), draft)
    assert pull(now=timezone.now()) == 0
    assert Bid.objects.get(consultation=made).number == first["number"]


def test_the_platform_s_deadline_decides_and_a_withdrawal_there_holds_here(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    """Extended while the channel could not know it: its receipt says late, the platform says in time."""
    made = live_world.publish(closes_in=timedelta(seconds=20))
    draft = sealed(live_world, live_server, channel, made, tmp_path)
    later = timezone.now().replace(microsecond=0) + timedelta(hours=3)
    services.set_deadline(made, at=later, by=live_world.agent, reason="panne", now=timezone.now())
    while timezone.now() <= made.deadlines.order_by("version")[0].at:
        time.sleep(0.2)  # the channel is another process, with the real clock
    done = deposit(speaker(live_world, NOWHERE), draft)
    assert done.receipt is not None
    assert done.receipt["state"] == "late"
    assert pull(now=timezone.now()) == 1
    assert not Bid.objects.get(consultation=made).late
    channel.manage("backup_channel", "mirror")
    done.speaker.post(f"/deposits/{done.receipt['deposit']}/withdraw")
    pull(now=timezone.now())
    assert Bid.objects.get(consultation=made).withdrawn_at is not None


def test_nothing_opens_without_the_channel_s_word_unless_somebody_answers_for_it(
    live_world: World, live_server: LiveServer, settings: Settings, tmp_path: Path
) -> None:
    settings.BACKUP_CHANNEL = {"url": NOWHERE, "journal_key": "x", "origins": []}
    made = live_world.publish(closes_in=timedelta(seconds=8))
    live_world.deposit(made, tmp_path)
    while timezone.now() <= (made.deadline or timezone.now()):
        time.sleep(0.1)  # the clock of the deadline
    with pytest.raises(ServerRefused) as error:
        opened(live_world, made)
    assert error.value.reason == "channel.unreachable"
    why = ["--by", live_world.agent.email, "--why", "canal détruit"]
    call_command("backup_channel", "waive", str(made.uuid), *why, stdout=io.StringIO())
    opened(live_world, made)
    assert Entry.objects.filter(kind="channel-waived").count() == 1


def _reader() -> dict[str, str]:
    text = issue(channel_signer(), READER, {}, now=timezone.now(), lasts=timedelta(minutes=5))
    return {"Authorization": f"Bearer {text}"}


def what_it_tells(channel: Channel) -> dict[str, list[dict[str, object]]]:
    said: dict[str, list[dict[str, object]]] = httpx.get(
        f"{channel.url}/api/v1/channel/deposits", headers=_reader()
    ).json()
    return said


def lying(channel: Channel, said: object) -> AbstractContextManager[str]:
    """A channel that tells this, and gives the objects of the true one."""
    reader = _reader()

    def answer(path: str) -> bytes:
        if "/objects/" in path:
            return httpx.get(f"{channel.url}{path}", headers=reader).content
        return json.dumps(said).encode()

    return answering_paths(answer, content_type="application/json")


def test_what_the_channel_s_journal_does_not_prove_is_refused(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish()
    deposit(speaker(live_world, NOWHERE), sealed(live_world, live_server, channel, made, tmp_path, SMALL))
    said = what_it_tells(channel)
    (told,) = said["deposits"]
    envelope, *rest = told["envelopes"]
    other = {**told, "consultation": str(live_world.publish(live_world.draft("2026-02")).uuid)}
    bends: list[dict[str, object]] = [
        {"proof": told["proof"].replace("secours.example", "ailleurs.example")},
        {"record": base64.b64encode(b"{}").decode()},
        {"nonce": "00" * 32},
        {"deposit": "00000000-0000-4000-8000-000000000000"},
        {"consultation": other["consultation"]},
        {"envelopes": []},
        {"envelopes": rest},
        {"envelopes": [envelope, *rest, *rest]},
        {"envelopes": [envelope | {"header": base64.b64encode(b"{}").decode()}, *rest]},
        {"envelopes": [envelope | {"keys": ""}, *rest]},
        {"envelopes": [envelope | {"envelope": "plus d'un"}, *rest]},
        {"announced_bytes": "beaucoup"},
        {"announced_bytes": 10**30},
        {"started": "hier"},
        {"by": "personne"},
        {"attempt": None},
        {"number": "x" * 10_000},
        {"index": -1},
        {"token_at": "jamais"},
    ]
    forms: list[dict[str, object]] = [{"deposits": [told | bend]} for bend in bends] + [
        {"deposits": {}},
        {"deposits": [[]]},
        {"now": "hier"},
        {"pending": None},
        {"pending": ["x"]},
    ]
    for gone in ("record", "by", "envelopes", "token", "withdrawn"):
        forms.append({"deposits": [{key: value for key, value in told.items() if key != gone}]})
    for form in forms:
        with lying(channel, {**said, **form}) as hostile:
            settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": hostile}
            with pytest.raises(ChannelRefused):
                pull(now=timezone.now())
        assert not Bid.objects.exclude(channel_key="").exists(), form
        assert not ChannelVisit.objects.filter(consultation=made).exists(), form
        SealedObject.objects.filter(envelope__attempt__consultation=made).delete()
        Envelope.objects.filter(attempt__consultation=made).delete()
        Attempt.objects.filter(consultation=made).delete()  # the next is read from its first field


def test_one_bad_deposit_does_not_stop_the_others(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish()
    deposit(speaker(live_world, NOWHERE), sealed(live_world, live_server, channel, made, tmp_path, SMALL))
    said = what_it_tells(channel)
    (told,) = said["deposits"]
    other = live_world.publish(live_world.draft("2026-02"))
    bad = {**told, "consultation": str(other.uuid), "record": base64.b64encode(b"{}").decode()}

    with lying(channel, {**said, "deposits": [bad, told]}) as hostile:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": hostile}
        with pytest.raises(ChannelRefused, match="1 dépôt"):
            pull(now=timezone.now())
    assert Bid.objects.exclude(channel_key="").get().consultation == made
    assert ChannelVisit.objects.filter(consultation=made).exists()
    assert not ChannelVisit.objects.filter(consultation=other).exists()


def test_what_is_over_for_three_months_is_offered_no_more(
    live_world: World, live_server: LiveServer, tmp_path: Path
) -> None:
    made = live_world.publish()
    live_world.deposit(made, tmp_path)
    assert made.deadline is not None

    def is_told(days: int) -> bool:
        return str(made.uuid) in json.dumps(offered(now=timezone.now() + timedelta(days=days)))

    assert [is_told(days) for days in (0, 100, 112)] == [True, True, False]
    Bid.objects.update(withdrawn_at=timezone.now() + timedelta(days=111))
    assert is_told(112)


def test_who_may_come_to_the_channel(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    made = live_world.publish()
    draft = sealed(live_world, live_server, channel, made, tmp_path)
    kept = load_draft(draft)["backup"]
    assert isinstance(kept, dict)
    now = timezone.now()
    forger = Signer(channel_signer().name, os.urandom(32))
    reader = issue(channel_signer(), READER, {}, now=now, lasts=timedelta(minutes=1))
    old = issue(channel_signer(), READER, {}, now=now - timedelta(days=2), lasts=timedelta(hours=1))
    forged = issue(forger, READER, {}, now=now, lasts=timedelta(minutes=1))
    api = f"{channel.url}/api/v1"

    def status(path: str, text: str) -> int:
        return httpx.get(f"{api}{path}", headers={"Authorization": f"Bearer {text}"}).status_code

    assert status("/channel/deposits", reader) == 200
    for wrong in (old, forged, str(kept["pass"]), "pass1.", "x"):
        assert status("/channel/deposits", wrong) == 401
    assert status("/me", str(kept["pass"])) == 200
    assert status("/me", reader) == 401
    assert httpx.get(f"{live_server.url}/api/v1/channel/deposits").status_code == 401
    for page in ("/", "/acheteur/", "/admin/", "/api/v1/channel/consultations"):
        assert httpx.get(channel.url + page).status_code == 404
    assert httpx.get(f"{api}/consultations/{made.uuid}/ceremony").status_code == 404
    asked = {"Origin": live_server.url, "Access-Control-Request-Method": "PUT"}
    allowed = httpx.options(f"{api}/me", headers=asked).headers
    assert allowed["Access-Control-Allow-Origin"] == live_server.url
    other = httpx.options(f"{api}/me", headers={**asked, "Origin": "http://ailleurs.example"}).headers
    assert "Access-Control-Allow-Origin" not in other


def test_the_role_needs_its_platform_and_no_antivirus(settings: Settings) -> None:
    settings.ANTIVIRUS_URL, settings.MAIN = "", {"url": "", "key": "k"}
    assert ([each.id for each in antivirus_named(None)], backup_role(None)) == (["storage.E001"], [])
    settings.BACKUP_DEPOSIT = True
    (said,) = backup_role(None)
    assert "DEMATMP_MAIN_URL" in said.msg
    assert antivirus_named(None) == []


def test_without_a_channel_nothing_changes(
    live_world: World, live_server: LiveServer, tmp_path: Path
) -> None:
    made = live_world.publish()
    _, draft = live_world.seal(made, tmp_path)
    assert not remember(speaker(live_world, live_server.url), draft)
    assert backup_of(draft, timeout=1) is None
    with pytest.raises(ServerUnreachable):
        deposit(speaker(live_world, NOWHERE), draft)
    assert pull(now=timezone.now()) == 0


def test_a_channel_that_is_away_is_said(live_world: World, settings: Settings) -> None:
    settings.BACKUP_CHANNEL = {"url": NOWHERE, "journal_key": "x", "origins": []}
    with pytest.raises(ChannelUnreachable):
        pull(now=timezone.now())


def test_a_finalisation_whose_body_is_held_back_is_late_at_a_real_gunicorn(
    live_world: World, live_server: LiveServer, channel: Channel, tmp_path: Path
) -> None:
    """Its head and half of its body come in time; its last byte does not."""
    made = live_world.publish(closes_in=timedelta(seconds=25))
    draft = sealed(live_world, live_server, channel, made, tmp_path)
    backup = backup_of(draft, timeout=20)
    assert backup is not None
    attempt, kept = backup.upload(draft), load_draft(draft)["backup"]
    assert isinstance(kept, dict)
    body = json.dumps({"objects": digests(load_draft(draft))}).encode()
    where = urlsplit(channel.url)
    head = (
        f"POST /api/v1/attempts/{attempt['attempt']}/finalise HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Authorization: Bearer {kept['pass']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    assert made.deadline is not None
    assert timezone.now() < made.deadline
    with socket.create_connection((str(where.hostname), where.port or 80), timeout=60) as raw:
        raw.sendall(head.encode() + body[:40])
        while timezone.now() <= made.deadline:
            time.sleep(0.1)  # gunicorn is another process, with the real clock
        raw.sendall(body[40:])
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    receipt = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert receipt["state"] == "late"
    assert datetime.fromisoformat(receipt["received"]) > made.deadline
