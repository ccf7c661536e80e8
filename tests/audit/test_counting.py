"""What the public, or a hostile witness, could read in the journal or write to it."""

import io
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import time_machine
from django.core.management import call_command
from django.db import transaction
from django.db.models import Q
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit import copies
from dematmp.audit.checkpoints import complete, publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import create_keys, journal_signer
from dematmp.audit.models import Entry, Head, PublicCheckpoint
from dematmp.audit.services import append, pad
from dematmp.consultations.models import Consultation
from dematmp.consultations.tasks import pad_journal
from signing import tlog
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


def test_what_is_dummy_grows_the_journal_as_an_attempt_alone_or_a_deposit_does() -> None:
    grown = set()
    for _ in range(120):
        before = Entry.objects.count()
        pad(now=timezone.now())
        grown.add(Entry.objects.count() - before)
    assert {1, 2, 3, 4, 5, 6, 7} <= grown <= set(range(1, 10))


def test_the_journal_grows_by_itself_while_bids_are_received(world: World) -> None:
    for _ in range(50):
        pad_journal()
    assert not Entry.objects.filter(kind="padding").exists()
    world.publish(closes_in=timedelta(minutes=30))
    before = Entry.objects.filter(kind="padding").count()
    for _ in range(300):
        pad_journal()
    assert Entry.objects.filter(kind="padding").count() > before


def test_what_is_served_between_the_entries_of_a_consultation_does_not_tell_where_they_are(
    world: World, tmp_path: Path
) -> None:
    """Until its deadline nothing after its first entry is served; then everything is."""
    consultation = world.publish(closes_in=timedelta(days=2))
    first = Entry.objects.filter(consultation=consultation.uuid).earliest("index").index
    with transaction.atomic():
        for _ in range(300 - Head.objects.get().size):
            append("award", {}, now=timezone.now())
    world.deposit(consultation, tmp_path)
    publish(now=timezone.now())
    size = Head.objects.get().published_size
    whole = "/journal/tile/entries/000"
    paths = [f"{whole}.p/{width}" for width in (first, first + 1, 255)]
    paths += [whole, f"/journal/tile/entries/001.p/{size - 256}"]
    asked = [Client().get(path).status_code for path in paths if not path.endswith("/0")]
    assert set(asked[-4:]) == {404}
    with time_machine.travel(timezone.now() + timedelta(days=3)):
        assert {Client().get(path).status_code for path in paths[1:]} == {200}


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


def test_a_copy_killed_between_two_files_is_completed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.atomic():
        for number in range(600):
            append("award", {"n": number}, now=timezone.now())
    real = FolderStore.put

    def killed(store: FolderStore, key: str, data: bytes) -> None:
        real(store, key, data)
        left.pop()

    for most in range(1, 7):
        left = list(range(most))
        with monkeypatch.context() as patched, suppress(IndexError):
            patched.setattr(FolderStore, "put", killed)
            copies.copy()
    assert copies.copy() == 600
    assert copies.compare() == 7
    object_store().delete("journal/tile/0/001")  # by hand, or of a copy made before
    copies.copy()
    with pytest.raises(JournalBroken, match="n'a plus"):
        copies.compare()
    call_command("journal", "copy", stdout=io.StringIO())
    assert copies.compare() == 7
    publish(now=timezone.now())
    for spoilt in (
        None,
        b"illisible",
    ):  # those kept under their size agree: all is read again
        object_store().delete("journal/checkpoint")
        if spoilt:
            object_store().put("journal/checkpoint", spoilt)
        object_store().delete("journal/tile/0/001")
        assert copies.copy() == 600
        assert copies.compare() == 7
    # Of a longer journal, as our key signed it, or as nobody did.
    signer = journal_signer()
    longer = signer.sign(tlog.Checkpoint(signer.name, 700, bytes(32)).text()).encode()
    for again in (False, True):
        object_store().delete("journal/checkpoint")
        object_store().put("journal/checkpoints/700", longer)
        with pytest.raises(JournalBroken, match="la base a été restaurée"):
            copies.copy(again=again)
    object_store().delete("journal/checkpoints/700")
    object_store().put("journal/tile/0/002.p/99", bytes(99 * 32))
    assert copies.copy(again=True) == 600
    assert copies.compare() == 7
    assert [each for each in object_store().list("journal/aside") if each.endswith("002.p/99")]


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
