"""Between the client and S3, and between the platform and S3, a network that fails: nothing is lost."""

import contextlib
import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import time_machine
from django.core.management import call_command
from pytest_django.fixtures import Settings

from dematmp.audit.services import utc_text
from dematmp.bids.models import Attempt, Bid, Part
from dematmp.bids.tasks import sweep
from deploy.services.ceph import Ceph
from signing import delivery
from signing.client import ServerRefused
from storage import breaker
from storage.errors import PartTruncated, StoreUnavailable
from storage.objects import Part as StoredPart
from storage.s3 import S3Store
from storage.stores import object_store, parse_object_store, s3_store
from tests.bids.test_deposit import refused
from tests.services.faults import FaultProxy, Faults, proxied
from tests.world import World

MIB = 1024**2


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def proxy(ceph: Ceph, faults: Faults) -> Iterator[FaultProxy]:
    with proxied(ceph.port, faults) as made:
        yield made


@pytest.fixture
def behind(ceph: Ceph, settings: Settings, proxy: FaultProxy) -> None:
    """Clients reach the store through the proxy; the platform reaches it directly."""
    name = uuid.uuid4().hex[:12]
    settings.DEPOSIT_RETENTION_DAYS = 1
    public = f"http://127.0.0.1:{proxy.port}"
    url = f"{ceph.store_url(name)}&deposits={name}-plis&public={public}"
    settings.OBJECT_STORE = parse_object_store(url)
    call_command("storage", "setup", stdout=io.StringIO())


def whole(consultation: object) -> None:
    assert Bid.objects.filter(consultation=consultation).count() == 1
    call_command("storage", "fsck", "--digests", stdout=io.StringIO())


FILES = {"grand.bin": os.urandom(20 * MIB), "petit.txt": b"x"}


@pytest.mark.usefixtures("behind")
def test_connections_reset_in_the_middle_of_parts(world: World, faults: Faults, tmp_path: Path) -> None:
    faults.reset_share, faults.reset_after = 0.5, MIB
    consultation = world.publish()
    world.deposit(consultation, tmp_path, files=FILES)
    assert "reset" in faults.seen
    whole(consultation)


def test_a_deposit_goes_straight_to_a_store_over_tls(
    world: World, ceph_tls: Ceph, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = uuid.uuid4().hex[:12]
    settings.DEPOSIT_RETENTION_DAYS = 1
    settings.OBJECT_STORE = parse_object_store(f"{ceph_tls.store_url(name)}&deposits={name}-plis")
    call_command("storage", "setup", stdout=io.StringIO())
    monkeypatch.setenv("SSL_CERT_FILE", ceph_tls.ca)  # what the company's machine trusts
    monkeypatch.setattr("dematmp.bids.attempts.receive_part", None)  # nothing passes through the platform
    consultation = world.publish()
    world.deposit(consultation, tmp_path, files=FILES)
    whole(consultation)


@pytest.mark.usefixtures("behind")
def test_a_slow_network_only_takes_longer(world: World, faults: Faults, tmp_path: Path) -> None:
    faults.latency = 0.005
    consultation = world.publish()
    world.deposit(consultation, tmp_path, files=FILES)
    assert faults.seen.count("late") > 2 * len(FILES)
    whole(consultation)


@pytest.mark.usefixtures("behind")
def test_a_store_that_is_silent_is_left_for_the_platform(
    world: World, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.silent = True
    original = delivery.Sender.__init__

    def hurried(self: delivery.Sender, *given: object, **named: object) -> None:
        original(self, *given, **{**named, "timeout": 0.5})  # type: ignore[arg-type]

    monkeypatch.setattr(delivery.Sender, "__init__", hurried)  # a minute otherwise, three times
    consultation = world.publish()
    world.deposit(consultation, tmp_path)
    assert "silent" in faults.seen
    whole(consultation)


@pytest.mark.usefixtures("behind")
def test_a_store_that_says_yes_and_keeps_nothing(world: World, faults: Faults, tmp_path: Path) -> None:
    """What answers in the store's name took the first part and threw it away: it is not received."""
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path)
    faults.lie = lambda block: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        if block.startswith(b"PUT")
        else None
    )
    with refused("deposit.part-truncated"):
        speaker.upload(draft)
    assert not Part.objects.received().exists()
    faults.lie = None
    attempt = str(speaker.upload(draft)["attempt"])
    assert speaker.finalise(draft, attempt)["state"] == "in-time"
    whole(consultation)


def test_a_store_that_lies_about_completion(ceph: Ceph, faults: Faults, proxy: FaultProxy) -> None:
    options = parse_object_store(ceph.url)
    store = s3_store({**options, "endpoint": f"http://127.0.0.1:{proxy.port}"})
    key = f"sealed/{uuid.uuid4()}/0.cob"
    upload, data = store.begin(key), b"abc"
    part = StoredPart(1, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    stream = io.BytesIO(data)
    store.put_part(key, upload, 1, stream, size=3, part_bytes=3, sha256=part.sha256)
    body = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    faults.lie = lambda block: head + body if block.startswith(b"POST") else None
    with pytest.raises(PartTruncated, match="n'a pas"):
        store.complete(key, upload, [part])
    assert "lie" in faults.seen
    store.put(key, b"abd")  # something of the same length is there already
    with pytest.raises(PartTruncated, match="n'a pas"):
        store.complete(key, upload, [part])
    faults.lie = None
    store.complete(key, upload, [part])
    assert store.read(key) == data


@pytest.fixture
def through(ceph: Ceph, proxy: FaultProxy) -> S3Store:
    """The platform's own store, reached through the proxy."""
    return s3_store({**parse_object_store(ceph.url), "endpoint": f"http://127.0.0.1:{proxy.port}"})


def test_a_reading_that_is_cut_is_taken_up_where_it_stopped(through: S3Store, faults: Faults) -> None:
    key, data = f"opened/{uuid.uuid4()}/1", os.urandom(20 * MIB)
    through.put_stream(key, [data])
    faults.cut_after = 3 * MIB
    assert b"".join(through.open(key)) == data
    assert b"".join(through.open(key, 5 * MIB, 9 * MIB)) == data[5 * MIB : 14 * MIB]
    assert faults.seen.count("answer cut") > 5
    faults.cut_after = 1  # not one byte of the object passes: it ends
    with pytest.raises(StoreUnavailable):
        b"".join(through.open(key))
    faults.cut_after = 3 * MIB
    reading = through.open(key)
    read = next(reading)
    faults.cut_after = 0
    through.put_stream(key, [data[::-1]])  # what is begun in one object is not ended in another
    faults.cut_after = 3 * MIB
    with pytest.raises(StoreUnavailable):
        for block in reading:
            read += block
    assert data.startswith(read)


def test_calls_that_are_cut_are_made_again(through: S3Store, faults: Faults) -> None:
    faults.cut_share = 0.2
    data = os.urandom(1000)
    for number in range(20):
        key = f"opened/{uuid.uuid4()}/{number}"
        through.put(key, data)
        assert through.read(key) == data
    assert faults.seen.count("cut") > 3


def test_a_stream_that_the_store_did_not_keep_is_told(through: S3Store, faults: Faults) -> None:
    body = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    faults.lie = lambda block: head + body if block.startswith(b"POST") and b"uploads" not in block else None
    with pytest.raises(StoreUnavailable, match="n'a pas gardé"):
        through.put_stream(f"opened/{uuid.uuid4()}/1", [b"abc"])


def test_a_platform_cut_from_its_store_says_so_and_finishes_later(
    world: World,
    ceph: Ceph,
    settings: Settings,
    faults: Faults,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Every part is there when the store goes: the finalisation's time is kept, and finished later."""
    options = parse_object_store(ceph.url)
    through = {**options, "endpoint": f"http://127.0.0.1:{proxy.port}", "public": ceph.endpoint}
    settings.OBJECT_STORE = through
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    faults.reset_share, faults.reset_after = 1.0, 0
    told: list[str] = []
    monkeypatch.setattr(speaker, "tries", 2)
    monkeypatch.setattr(speaker, "told", told.append)
    with pytest.raises(ServerRefused) as error:
        speaker.finalise(draft, attempt)
    assert (error.value.status, error.value.reason) == (503, "deposit.store-away")
    said = Attempt.objects.get(uuid=attempt)
    assert said.finalised_at is not None
    # What the company fears is answered: it was received, and when.
    assert error.value.facts["received"] == utc_text(said.finalised_at)
    assert told == [str(error.value)]
    assert "Finalisation reçue le" in told[0]
    assert not Bid.objects.filter(attempt=said).exists()
    faults.reset_share = 0.0
    settings.OBJECT_STORE = options  # the network is back, by the door or by another
    receipt = speaker.finalise(draft, attempt)
    assert receipt["state"] == "in-time"
    sweep()
    assert Bid.objects.get(attempt=said).received_at == said.finalised_at


def test_a_store_that_fails_again_and_again_is_left_alone_a_moment(
    ceph: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_store({**parse_object_store(ceph.url), "endpoint": "http://127.0.0.1:9"})
    monkeypatch.setattr(breaker, "REST_SECONDS", 0.3)
    for _ in range(breaker.FAILURES):
        with pytest.raises(StoreUnavailable, match="ne répond pas"):
            store.call("head_bucket", bucket="x")
    with pytest.raises(StoreUnavailable, match="au repos"):
        store.call("head_bucket", bucket="x")
    assert object_store() is not store


def test_a_store_that_came_back_is_tried_by_one_call_then_by_all(
    through: S3Store, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST_SECONDS", 0.3)
    through.put("opened/retour/1", b"x")
    faults.reset_share = 1.0
    for _ in range(breaker.FAILURES):
        with pytest.raises(StoreUnavailable, match="ne répond pas"):
            through.size("opened/retour/1")
    faults.reset_share = 0.0
    with pytest.raises(StoreUnavailable, match="au repos"):
        through.size("opened/retour/1")
    until, sizes = time.monotonic() + 10, []
    while not sizes and time.monotonic() < until:
        with contextlib.suppress(StoreUnavailable):
            sizes.append(through.size("opened/retour/1"))
    assert sizes + [through.size("opened/retour/1") for _ in range(2)] == [1, 1, 1]


def test_an_address_that_expired_is_refused_and_another_one_is_given(ceph: Ceph) -> None:
    store, data = s3_store(parse_object_store(ceph.url)), b"the announced bytes"
    key, sha256 = f"sealed/{uuid.uuid4()}/0.cob", hashlib.sha256(data).hexdigest()
    upload = store.begin(key)

    def send() -> int:
        target = store.target(key, upload, 1, size=len(data), sha256=sha256)
        return httpx.put(target.url, content=data, headers=dict(target.headers)).status_code

    with time_machine.travel(datetime.now(UTC) - timedelta(minutes=16)):
        assert send() == 403
    assert store.held(key, upload, 1) is None
    assert send() == 200
    assert store.held(key, upload, 1) == len(data)
