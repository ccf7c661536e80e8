"""Whoever writes in the object store stops neither what is appended nor what is published, and is told."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from dematmp.audit import copies
from dematmp.audit.checkpoints import publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import create_keys, journal_signer
from dematmp.audit.models import Head, PublicCheckpoint
from dematmp.audit.services import append
from dematmp.audit.tasks import copy_journal
from signing import tlog
from signing.notes import Signer
from storage.objects import ObjectStore
from storage.stores import object_store
from tests.audit.test_checkpoints import alone

__all__ = ["alone"]
FIRST, SECOND = 300, 520


def written(until: int) -> None:
    with transaction.atomic():
        for number in range(Head.objects.get().size if Head.objects.exists() else 0, until):
            append("award", {"n": number}, now=timezone.now())


def _stranger(store: ObjectStore) -> None:
    text = tlog.Checkpoint(journal_signer().name, 9999, bytes(32)).text()
    store.put("journal/checkpoint", Signer(journal_signer().name, bytes(32)).sign(text).encode())


_SPOILT: dict[str, Callable[[ObjectStore], None]] = {
    "a tile that was never ours": lambda store: store.put("journal/tile/0/x999/999", bytes(8192)),
    "a name that is none": lambda store: store.put("journal/tile/0/autre", b"x"),
    "the last tile": lambda store: store.put("journal/tile/0/001.p/44", bytes(44 * 32)),
    "a full tile": lambda store: store.put("journal/tile/0/000", bytes(8192)),
    "tiles to come": lambda store: (
        [store.put(f"journal/tile/{name}", bytes(8192)) for name in ("0/001", "1/000.p/2", "entries/001")]
        and None
    ),
    "a huge tile": lambda store: store.put("journal/tile/0/002.p/8", bytes(3 * 1024**2)),
    "a huge checkpoint": lambda store: store.put("journal/checkpoint", bytes(70 * 1024**2)),
    "a checkpoint of a stranger": _stranger,
    "kept checkpoints of a stranger": lambda store: (
        [store.put(f"journal/checkpoints/{10**6 + each}", b"x") for each in range(40)] and None
    ),
}


@pytest.mark.parametrize("checkpoint", ["kept", "deleted"])
@pytest.mark.parametrize("what", list(_SPOILT))
def test_a_file_that_is_not_ours_holds_nothing_back(
    db: None, what: str, checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    create_keys(now=timezone.now())
    written(FIRST)
    copy_journal()
    store = object_store()
    if checkpoint == "deleted":
        store.delete("journal/checkpoint")
    _SPOILT[what](store)
    copies._not_before = 0.0
    written(SECOND)
    copy_journal()
    assert PublicCheckpoint.objects.filter(size=SECOND).exists()
    assert store.read("journal/checkpoint").decode() == Head.objects.get().note
    call_command("journal", "copy", stdout=io.StringIO())  # the operator's, once told
    call_command("journal", "verify", stdout=io.StringIO())
    assert any("n'est pas de n" in each.message or "copie" in each.message for each in caplog.records)
    for level, index, width in ((0, 0, 256), (0, 1, 256), (0, 2, 8), (1, 0, 2)):
        key = f"journal/{tlog.tile_path(level, index, width)}"
        assert store.read(key) == copies.stored_tile(level, index)[: width * 32]


def test_what_is_published_is_read_again_before_it_is_believed_to_be_there(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that the journal will have one day, taken by another content: put aside, not destroyed."""
    create_keys(now=timezone.now())
    written(FIRST)
    store = object_store()
    store.put("journal/tile/0/001.p/44", b"autre")
    copy_journal()
    assert store.read("journal/tile/0/001.p/44") == copies.stored_tile(0, 1)
    (aside,) = store.list("journal/aside/")
    assert store.read(aside) == b"autre"
    assert any("mis de côté" in each.message for each in caplog.records)
    assert copies.compare() == 5


def test_verify_still_tells_each_of_them(db: None) -> None:
    create_keys(now=timezone.now())
    written(FIRST)
    copy_journal()
    store = object_store()
    for key, data in (("journal/tile/0/x999/999", bytes(8192)), ("journal/tile/entries/001.p/44", b"x")):
        kept = store.read(key) if store.exists(key) else None
        store.put(key, data)
        with pytest.raises(CommandError, match="ne correspond pas"):
            call_command("journal", "verify", stdout=io.StringIO())
        store.delete(key) if kept is None else store.put(key, kept)
    call_command("journal", "verify", stdout=io.StringIO())


def test_each_checkpoint_that_the_copy_keeps_is_of_this_journal(db: None) -> None:
    """Our own key signed it, and another history: a fork, however short."""
    create_keys(now=timezone.now())
    written(FIRST)
    copy_journal()
    signer = journal_signer()
    fork = signer.sign(tlog.Checkpoint(signer.name, 40, bytes(32)).text())
    for note, words in ((fork, "ne sont pas celles"), ("rien", "n'est pas de notre clé")):
        object_store().put("journal/checkpoints/40", note.encode())
        with pytest.raises(CommandError, match=words):
            call_command("journal", "verify", stdout=io.StringIO())
    call_command("journal", "copy", stdout=io.StringIO())
    call_command("journal", "verify", stdout=io.StringIO())
    assert not object_store().exists("journal/checkpoints/40")


@pytest.mark.parametrize("name", ["0041", "0300", "autre"])
def test_a_name_that_is_no_size_is_told_and_put_aside(db: None, name: str) -> None:
    create_keys(now=timezone.now())
    written(FIRST)
    copy_journal()
    store = object_store()
    store.put(f"journal/checkpoints/{name}", store.read(f"journal/checkpoints/{FIRST}"))
    with pytest.raises(CommandError, match=f"checkpoints/{name} de la copie"):
        call_command("journal", "verify", stdout=io.StringIO())
    call_command("journal", "copy", stdout=io.StringIO())
    call_command("journal", "verify", stdout=io.StringIO())
    assert list(store.list("journal/checkpoints/")) == [f"journal/checkpoints/{FIRST}"]
    assert [key.endswith(f"/checkpoints/{name}") for key in store.list("journal/aside/")] == [True]


def _outrun(decoys: int) -> None:
    """The copy's checkpoint is spoilt, and a longer one of ours is kept, under others of nobody."""
    create_keys(now=timezone.now())
    written(30)
    copy_journal()
    store, signer = object_store(), journal_signer()
    longer = signer.sign(tlog.Checkpoint(signer.name, 400, bytes(32)).text())
    store.put("journal/checkpoints/400", longer.encode())
    store.put("journal/checkpoint", b"abime")
    for each in range(decoys):
        store.put(f"journal/checkpoints/{10**6 + each}", b"x")
    copies._not_before = 0.0


def test_a_longer_checkpoint_of_ours_is_not_hidden_by_those_of_nobody(db: None) -> None:
    _outrun(decoys=40)
    for refused in (lambda: publish(now=timezone.now()), copies.copy, lambda: copies.copy(again=True)):
        with pytest.raises(JournalBroken, match="400"):
            refused()
    assert object_store().read("journal/checkpoint") == b"abime"


@pytest.mark.parametrize("listed", [1000, 5])
def test_an_append_reads_few_of_them_and_says_so(
    db: None, listed: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who append wait for it. What is published, and copied, waits for none."""
    _outrun(decoys=40)
    monkeypatch.setattr(copies, "_LISTED", listed)
    read = list[str]()
    kept = copies._kept
    monkeypatch.setattr(copies, "_kept", lambda key: read.append(key) or kept(key))
    written(31)
    assert len(read) == min(listed, 16)
    assert any("ne sont pas tous lus ici" in each.message for each in caplog.records)


def test_an_append_that_reads_them_all_is_stopped_by_a_longer_one(db: None) -> None:
    _outrun(decoys=15)
    with pytest.raises(JournalBroken, match="400"):
        written(31)


def _meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, until: int, *, after: bool) -> None:
    """Another run copies a journal that has grown, once, as this one comes to that step."""
    step = getattr(copies, name)

    def crossed(*given: object, **named: object) -> object:
        monkeypatch.setattr(copies, name, step)
        found = step(*given, **named) if after else None
        written(until)
        assert copies.copy() == until
        return found if after else step(*given, **named)

    monkeypatch.setattr(copies, name, crossed)


@pytest.mark.parametrize(
    ("again", "step", "after"),
    [
        (False, "copied_checkpoint", False),
        (False, "_missing", False),
        (False, "_missing", True),
        (True, "_kept_keys", True),
        (True, "_missing_again", False),
        (True, "_missing_again", True),
    ],
)
def test_two_runs_at_once_do_no_harm(
    db: None,
    again: bool,
    step: str,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The later goes further, and ends first: its tiles are not foreign, its checkpoint is not shortened."""
    create_keys(now=timezone.now())
    written(250)
    copy_journal()
    written(260)
    store = object_store()
    _meanwhile(monkeypatch, step, 600, after=after)
    assert copies.copy(again=again) == 600
    assert not list(store.list("journal/aside")), caplog.messages
    assert store.read("journal/checkpoint").decode() == Head.objects.get().note
    call_command("journal", "verify", stdout=io.StringIO())


def test_a_name_that_nothing_reads_is_told_and_left(db: None, caplog: pytest.LogCaptureFixture) -> None:
    create_keys(now=timezone.now())
    written(FIRST)
    copy_journal()
    tiles = Path(str(settings.OBJECT_STORE["root"])) / "objects" / "journal" / "tile" / "0"
    stray = tiles / "né ailleurs"
    stray.write_bytes(b"x")
    (tiles.parent.parent / "checkpoint").write_bytes(b"abim\xc3\xa9")
    copies._not_before = 0.0
    written(SECOND)
    copy_journal()
    assert object_store().read("journal/checkpoint").decode() == Head.objects.get().note
    assert any("que rien ne lit" in each.message for each in caplog.records)
    with pytest.raises(CommandError):
        call_command("journal", "verify", stdout=io.StringIO())
    stray.unlink()
    call_command("journal", "verify", stdout=io.StringIO())
