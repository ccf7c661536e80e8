"""The authorities of time that the settings name: one that is mistyped stops nothing, and is said."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.checks import timestamp_authorities
from dematmp.audit.keys import create_keys, timestamp_anchors
from dematmp.audit.models import EntryToken, PublicCheckpoint
from dematmp.audit.services import append
from dematmp.audit.stamping import EMBEDDED, ask_others, ask_token
from dematmp.audit.tasks import copy_journal
from dematmp.bids.models import Bid
from dematmp.bids.tasks import stamp_bid
from signing import timestamps
from signing.authority import Authority
from signing.cosigning import split
from signing.errors import ClockDisagrees
from signing.timestamps import verify_token
from storage.stores import object_store
from tests.audit.test_checkpoints import alone
from tests.world import World
from tests.world import page as _page

__all__ = ["alone"]

WRONG = (
    "https://tsa.example:80a/",
    "http://[::1",
    "http://tsa.example:99999/",
    "ftp://tsa.example/",
    "tsa.example",
    "http://tsa .example/",
)


@pytest.mark.parametrize("url", WRONG)
def test_a_mistyped_address_is_told_at_start_and_the_next_authority_asked(
    db: None,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    monkeypatch.setattr(timestamps, "_resting", timestamps.Resting())
    create_keys(now=timezone.now())
    settings.TSA_URLS = [url, "embedded"]
    settings.TSA_TRUST = [str(Path(settings.SECRETS_DIR) / "pki" / "ca.pem")]
    assert [each.id for each in timestamp_authorities(None)] == ["audit.E005"]
    assert ask_token(b"fait", now=timezone.now())[0].authority == "embedded"
    assert any(url in each.message for each in caplog.records)
    settings.TSA_URLS = ["https://tsa.example:8080/tsa?a=b", "embedded"]
    assert timestamp_authorities(None) == []


def test_a_mistyped_address_stops_neither_receipts_nor_the_copy(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    consultation = world.publish()
    settings.TSA_URLS, settings.WITNESSES = [WRONG[0], "embedded"], [f"{WRONG[0]} temoin+1+1"]
    world.deposit(consultation, tmp_path)
    bid = Bid.objects.get()
    stamp_bid(bid.pk)
    bid.refresh_from_db()
    assert bid.token
    assert bid.receipt_pdf
    copy_journal()
    assert object_store().exists("journal/checkpoint")
    assert EntryToken.objects.exists()
    assert not PublicCheckpoint.objects.filter(token=None).exists()


def test_the_copy_is_made_before_any_authority_is_asked(
    db: None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dematmp.audit import tasks

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    world.publish()
    monkeypatch.setattr(tasks, "complete", killed)
    with pytest.raises(SystemExit):
        copy_journal()
    assert object_store().read("journal/checkpoint").decode() == PublicCheckpoint.objects.get().note


@contextmanager
def two_authorities(folder: Path, *, slow_ahead: timedelta, asleep: float) -> Iterator[tuple[str, str]]:
    """A quick one whose clock is ours, and one that answers later by its own."""
    authority = Authority(
        *((Path(configured.SECRETS_DIR) / "pki" / name).read_bytes() for name in ("tsa.pem", "tsa.key")),
        folder / "elsewhere.state",
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            now = timezone.now()
            if self.path == "/lente":
                threading.Event().wait(asleep)
                now += slow_ahead
            answer = authority.respond(asked, now=now)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tuple(f"http://127.0.0.1:{server.server_port}/{name}" for name in ("vite", "lente"))  # type: ignore[misc]
        server.shutdown()


@pytest.mark.parametrize("quick_first", [True, False])
def test_an_opening_hears_the_slower_authority_too(
    db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_first: bool
) -> None:
    monkeypatch.setattr(timestamps, "_resting", timestamps.Resting())
    create_keys(now=timezone.now())
    settings.TSA_TRUST = [str(Path(settings.SECRETS_DIR) / "pki" / "ca.pem")]
    for ahead, holds in ((timedelta(0), False), (timedelta(minutes=5), True)):
        with two_authorities(tmp_path, slow_ahead=ahead, asleep=0.5) as (quick, slow):
            settings.TSA_URLS = [quick, slow] if quick_first else [slow, quick]
            if holds:
                with pytest.raises(ClockDisagrees, match="lente"):
                    ask_others(b"cle", now=timezone.now())
            else:
                assert ask_others(b"cle", now=timezone.now())[0].disagreed == ()


def test_what_our_authority_alone_stamped_is_under_a_later_token_of_another(
    world: World, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outside authority was away at the deposit: once back it stamps the journal, which is told."""
    monkeypatch.setattr(timestamps, "_resting", timestamps.Resting())
    world.deposit(world.publish(), tmp_path / "draft")
    bid = Bid.objects.get()
    stamp_bid(bid.pk)
    copy_journal()
    page, words = reverse("deposit", args=[bid.uuid]), "Horodatage du journal"
    said = _page(world.bidder).get(page).content.decode()
    assert (EMBEDDED in said, words in said) == (True, False)
    settings.TSA_TRUST = [str(Path(settings.SECRETS_DIR) / "pki" / "ca.pem")]
    with two_authorities(tmp_path, slow_ahead=timedelta(0), asleep=0) as (outside, _):
        settings.TSA_URLS = [outside, "embedded"]
        with transaction.atomic():
            append("award", {}, now=timezone.now())
        copy_journal()
    said = _page(world.bidder).get(page).content.decode()
    assert f"{outside} : " in said.split(words)[1]
    where = re.findall(r'href="(/journal/checkpoints/\d+(?:\.tsr)?)"', said)
    note, token = (Client().get(each).content for each in where)
    digest = hashlib.sha256(split(note.decode())[0].encode()).digest()
    assert verify_token(token, digest=digest, ca_pem=timestamp_anchors())
    assert int(where[0].rsplit("/", 1)[1]) > bid.journal_index
