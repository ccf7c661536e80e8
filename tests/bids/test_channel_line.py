"""What the backup channel answers has so many bytes, and so many seconds in all: an opening never hangs."""

import threading
import time

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.bids import importing
from dematmp.bids.channel_line import visiting
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.importing import pull
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
