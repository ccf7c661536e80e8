"""What the backup channel answers has so many bytes, and so many seconds in all: an opening never hangs."""

import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.bids import importing
from dematmp.bids.alone import alone
from dematmp.bids.channel_line import visiting
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.importing import pull
from dematmp.bids.models import Bid, ChannelVisit
from dematmp.consultations.models import Consultation
from signing.fallback import deposit
from tests.bids.test_backup_channel import NOWHERE, SMALL, _reader, sealed, speaker, what_it_tells
from tests.channel import Channel
from tests.fronts import answering_paths, dripping
from tests.world import World, make_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture
def live_world(transactional_db: None) -> World:
    return make_world()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_an_answer_that_drips_is_given_up(live_world: World, settings: Settings, head: bytes) -> None:
    with dripping(head) as slow:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": slow}
        with pytest.raises(ChannelUnreachable), visiting(now=timezone.now()) as line:
            assert line.json("/deposits", max_bytes=10, seconds=5) == {}
            began = time.monotonic()
            try:
                line.json("/deposits", max_bytes=1000, seconds=1)
            finally:
                assert time.monotonic() - began < 10


def test_what_the_channel_tells_has_so_many_seconds_in_all(
    live_world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LIST_SECONDS", 1.0)
    over = threading.Event()

    def never(_: str) -> bytes:
        over.wait(20)
        return b"{}"

    with answering_paths(never, content_type="application/json") as silent:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": silent}
        try:
            with pytest.raises(ChannelUnreachable):
                pull(now=timezone.now())
        finally:
            over.set()


def test_an_answer_too_long_is_not_read_whole(live_world: World, settings: Settings) -> None:
    with answering_paths(lambda _: bytes(2000), content_type="application/json") as long:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": long}
        with pytest.raises(ChannelRefused), visiting(now=timezone.now()) as line:
            line.json("/deposits", max_bytes=1000, seconds=5)


def test_a_long_answer_has_so_many_seconds_for_each_of_its_blocks(
    live_world: World, settings: Settings
) -> None:
    with answering_paths(lambda _: bytes(3 * 1024**2)) as long:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": long}
        with visiting(now=timezone.now()) as line:
            came = 0
            for block in line.slow_blocks("/objects/x", seconds=1):
                if not came:
                    time.sleep(1.2)  # our own store is slow
                came += len(block)
    assert came == 3 * 1024**2
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") as slow:
        settings.BACKUP_CHANNEL = {**settings.BACKUP_CHANNEL, "url": slow}
        began = time.monotonic()
        with pytest.raises(ChannelUnreachable), visiting(now=timezone.now()) as line:
            assert list(line.slow_blocks("/objects/x", seconds=1)) == [b"{}"]
            list(line.slow_blocks("/objects/x", seconds=1))
    assert time.monotonic() - began < 10


def test_a_deposit_whose_bytes_do_not_come_waits_alone(
    live_world: World, live_server: LiveServer, channel: Channel, settings: Settings, tmp_path: Path
) -> None:
    waiting, other = live_world.publish(), live_world.publish(live_world.draft("2026-02"))
    for made in (waiting, other):
        draft = sealed(live_world, live_server, channel, made, tmp_path / str(made.uuid), SMALL)
        deposit(speaker(live_world, NOWHERE), draft)
    told, true, reader = what_it_tells(channel), settings.BACKUP_CHANNEL, _reader()
    (cut,) = [each for each in told["deposits"] if each["consultation"] == str(waiting.uuid)]
    envelopes = cut["envelopes"]
    assert isinstance(envelopes, list)

    def visited() -> set[Consultation]:
        visits = ChannelVisit.objects.filter(consultation__in=[waiting, other])
        return {each.consultation for each in visits.select_related("consultation")}

    for end in (slice(-1), slice(None)):  # a byte less, then as many again

        def answer(path: str, end: slice = end) -> bytes:
            if "/objects/" not in path:
                said = {**told, "deposits": sorted(told["deposits"], key=lambda each: each is not cut)}
                return json.dumps({**said, "now": timezone.now().isoformat()}).encode()
            data = httpx.get(f"{channel.url}{path}", headers=reader).content
            short = any(str(each["envelope"]) in path for each in envelopes)
            return (data[end] if end.stop else 2 * data) if short else data

        with answering_paths(answer, content_type="application/json") as cutting:
            settings.BACKUP_CHANNEL = {**true, "url": cutting}
            with pytest.raises(ChannelUnreachable, match="1 dépôt"):
                pull(now=timezone.now())
        assert Bid.objects.exclude(channel_key="").get().consultation == other
        assert visited() == {other}  # the opening of the first one waits
    settings.BACKUP_CHANNEL = true
    with alone("import", UUID(str(cut["deposit"]))):  # as another visit that lasts
        assert pull(now=timezone.now()) == 0
    assert visited() == {other}
    after = timezone.now() + timedelta(hours=1)
    ChannelVisit.objects.filter(consultation=other).update(at=after)  # as one that began later, and is done
    assert pull(now=timezone.now()) == 1
    assert visited() == {waiting, other}
    assert ChannelVisit.objects.get(consultation=other).at == after
