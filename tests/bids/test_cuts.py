"""Hundreds of uploads open at once, one request in ten cut at random: what is stored is what was sealed."""

import hashlib
import io
import random
import uuid
from collections import Counter
from pathlib import Path

import httpx
import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.accounts.services import issue_token
from dematmp.bids.models import Bid, SealedObject
from deploy.services.ceph import Ceph
from signing.client import EnvelopePlan
from signing.committee import Committee
from signing.envelope import Source
from storage.stores import object_store, parse_object_store
from tests.services.faults import Faults, proxied
from tests.world import World, application

SEED = 20261126


class Cut(httpx.WSGITransport):
    """The platform in this process, behind a network that cuts one request in ten, or its answer."""

    def __init__(self, seed: int) -> None:
        super().__init__(app=application())
        self.random, self.seen = random.Random(seed), Counter[str]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fate = self.random.random()
        if fate >= 0.1:
            return super().handle_request(request)
        body = request.read()
        if fate < 0.05 and body:  # the platform receives a part of it
            self.seen["body"] += 1
            short = body[: self.random.randrange(len(body))]
            cut = httpx.Request(request.method, request.url, headers=request.headers, content=short)
            cut.headers["Content-Length"] = str(len(body))
            answer = super().handle_request(cut)
            assert answer.status_code < 500, answer.read()
            raise httpx.WriteError("cut in the middle of the body")
        super().handle_request(request)
        self.seen["answer"] += 1
        raise httpx.ReadError("cut before the answer")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signing.client.Client.wait", lambda *_: None)  # a quarter of a second, each time


def deposit(world: World, folder: Path, transport: httpx.BaseTransport, *, files: int) -> Bid:
    """So many files of a few KiB, sent and finalised."""
    consultation = world.publish(world.draft(kinds=["offre"]))
    dice, sources = random.Random(SEED), []
    for number in range(files):
        path = folder / str(number)
        path.write_bytes(dice.randbytes(dice.randrange(1, 4096)))
        sources.append(Source(path, f"piece-{number}.bin"))
    token = issue_token(world.bidder, world.company, label="essai", now=timezone.now())
    speaker = Committee("http://127.0.0.1", token, transport=transport, tries=50)
    speaker.seal_draft(str(consultation.uuid), [EnvelopePlan("1", "offre", sources)], folder / "draft")
    attempt = str(speaker.upload(folder / "draft")["attempt"])
    speaker.finalise(folder / "draft", attempt)
    return Bid.objects.get(consultation=consultation)


def same(bid: Bid, draft: Path) -> int:
    """How many objects the store gives back, each with the SHA-256 of what was sealed."""
    count = 0
    for each in SealedObject.objects.filter(envelope__attempt=bid.attempt).select_related(
        "envelope__attempt"
    ):
        sealed = (draft / str(each.envelope.uuid) / each.name).read_bytes()
        stored = object_store().read(each.key)
        assert hashlib.sha256(stored).digest() == hashlib.sha256(sealed).digest()
        count += 1
    call_command("storage", "fsck", "--digests", "--recent", stdout=io.StringIO())
    return count


@pytest.mark.usefixtures("impatient")
def test_through_the_platform_into_a_folder(world: World, settings: Settings, tmp_path: Path) -> None:
    settings.OBJECT_STORE = parse_object_store(f"folder://{tmp_path}/objects")
    (tmp_path / "bid").mkdir()
    network = Cut(SEED)
    bid = deposit(world, tmp_path / "bid", network, files=298)
    assert same(bid, tmp_path / "bid" / "draft") == 300
    assert network.seen["body"] > 8
    assert network.seen["answer"] > 8


@pytest.mark.usefixtures("impatient")
def test_straight_to_a_store_in_s3(world: World, ceph: Ceph, settings: Settings, tmp_path: Path) -> None:
    """Between the company and the store, a proxy cuts one request in ten; between it and the platform too."""
    name, faults = uuid.uuid4().hex[:12], Faults(cut_share=0.1)
    settings.DEPOSIT_RETENTION_DAYS = 1
    with proxied(ceph.port, faults) as proxy:
        public = f"http://127.0.0.1:{proxy.port}"
        url = f"{ceph.store_url(name)}&deposits={name}-plis&public={public}"
        settings.OBJECT_STORE = parse_object_store(url)
        call_command("storage", "setup", stdout=io.StringIO())
        bid = deposit(world, tmp_path, Cut(SEED), files=98)
    assert same(bid, tmp_path / "draft") == 100
    assert faults.seen.count("cut") > 4
