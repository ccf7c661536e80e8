"""What the public, or a hostile witness, could read in the journal or write to it."""

from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit import copies
from dematmp.audit.checkpoints import complete, publish
from dematmp.audit.keys import create_keys, journal_signer
from dematmp.audit.models import Entry, PublicCheckpoint
from dematmp.audit.services import append
from dematmp.consultations.models import Consultation
from dematmp.consultations.tasks import pad_journal
from signing.cosigning import Cosigner
from storage.folder import FolderStore
from storage.stores import object_store
from tests.world import World


@pytest.fixture(autouse=True)
def alone(db: None) -> Iterator[None]:
    """The copy of another test is not ours."""

    def clear() -> None:
        for key in list(object_store().list("journal")):
            object_store().delete(key)
        copies._not_before = 0.0

    clear()
    create_keys(now=timezone.now())
    yield
    clear()


def test_an_entry_that_would_count_the_bids_comes_with_others_at_random() -> None:
    with transaction.atomic():
        for number in range(60):
            append("deposit", {"n": number}, now=timezone.now())
    assert 20 < Entry.objects.filter(kind="padding").count() < 100
    with transaction.atomic():
        before = Entry.objects.count()
        append("award", {}, now=timezone.now())
    assert Entry.objects.count() == before + 1


def test_the_journal_grows_by_itself_while_bids_are_received(world: World) -> None:
    for _ in range(50):
        pad_journal()
    assert not Entry.objects.filter(kind="padding").exists()
    world.publish(closes_in=timedelta(minutes=30))
    before = Entry.objects.filter(kind="padding").count()
    for _ in range(300):
        pad_journal()
    assert Entry.objects.filter(kind="padding").count() > before


def test_a_draft_that_nobody_published_holds_its_neighbours_back_for_a_year(world: World) -> None:
    draft = world.draft()
    world.keys(draft)  # a rehearsal, on its twin
    now = timezone.now()
    of = Consultation.every.filter(Q(pk=draft.pk) | Q(twin_of=draft))
    assert of.count() >= 2
    assert of.withheld(now=now).count() == of.count()
    assert not of.withheld(now=now + timedelta(days=366)).exists()


def test_the_copy_is_written_before_what_attests_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in between leaves the former checkpoint, still true."""
    with transaction.atomic():
        for number in range(300):
            append("award", {"n": number}, now=timezone.now())
    written: list[str] = []
    real = FolderStore.put

    def noted(store: FolderStore, key: str, data: bytes) -> None:
        written.append(key)
        real(store, key, data)

    monkeypatch.setattr(FolderStore, "put", noted)
    copies.copy()
    assert len(written) > 3
    assert written.index("journal/checkpoint") == len(written) - 1


def test_a_line_that_a_witness_did_not_sign_is_not_published(settings: Settings) -> None:
    with transaction.atomic():
        append("award", {}, now=timezone.now())
    honest = Cosigner("temoin.example", bytes(32))

    class Liar(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            line = "— temoin.example AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(line)))
            self.end_headers()
            self.wfile.write(line)

        def log_message(self, *_: object) -> None:
            pass

    kept = publish(now=timezone.now())
    assert kept is not None
    with HTTPServer(("127.0.0.1", 0), Liar) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        settings.WITNESSES = [f"http://127.0.0.1:{server.server_port} {honest.verifier_key}"]
        complete(kept, now=timezone.now())
        server.shutdown()
    note = PublicCheckpoint.objects.get().note
    assert "temoin.example" not in note
    assert journal_signer().name in note
