"""Append-only, provable, copied; whatever is changed shows."""

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit import copies, ledger
from dematmp.audit.errors import JournalBroken, NotInTransaction
from dematmp.audit.keys import create_keys
from dematmp.audit.models import Entry, Head, Tile
from dematmp.audit.services import append, verify
from dematmp.audit.verifying import verify_all
from signing import tlog
from storage.stores import object_store, parse_object_store
from tests.world import make_world


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """The copy of another test is not ours."""

    def clear() -> None:
        for key in list(object_store().list("journal")):
            object_store().delete(key)
        copies._not_before = 0.0

    clear()
    yield
    clear()


@pytest.fixture
def written(db: None) -> int:
    create_keys(now=timezone.now())
    with transaction.atomic():
        for number in range(300):
            append("award", {"n": number}, now=timezone.now())
    return 300


def test_an_entry_needs_the_transaction_of_its_act(transactional_db: None) -> None:
    with pytest.raises(NotInTransaction):
        append("award", {}, now=timezone.now())


def test_an_act_that_fails_leaves_no_entry(db: None) -> None:
    create_keys(now=timezone.now())
    with pytest.raises(RuntimeError), transaction.atomic():
        append("award", {}, now=timezone.now())
        raise RuntimeError
    assert not Entry.objects.exists()


def test_it_verifies_from_its_entries(written: int) -> None:
    assert verify() == written
    call_command("journal", "verify")


@pytest.mark.parametrize(
    "change", ["record", "leaf", "removed", "tile", "no tile", "no upper tile", "head", "no head"]
)
def test_any_change_is_seen(written: int, change: str) -> None:
    entry = Entry.objects.get(index=7)
    if change == "record":
        Entry.objects.filter(pk=entry.pk).update(record=b"autre")
    elif change == "leaf":
        leaf = json.loads(bytes(entry.leaf)) | {"type": "autre"}
        Entry.objects.filter(pk=entry.pk).update(leaf=json.dumps(leaf).encode())
    elif change == "removed":
        entry.delete()
    elif change == "tile":
        Tile.objects.filter(level=0, index=0).update(hashes=bytes(8192))
    elif change in ("no tile", "no upper tile"):
        Tile.objects.filter(level=int(change == "no upper tile"), index=0).delete()
    elif change == "no head":
        Head.objects.all().delete()
    else:
        Head.objects.update(size=299)
    with pytest.raises(JournalBroken):
        verify()
    with pytest.raises(CommandError):
        call_command("journal", "verify")


def test_the_proof_given_at_the_append_verifies(db: None) -> None:
    from dematmp.audit.keys import journal_signer

    make_world()
    with transaction.atomic():
        made = append("deposit", {"a": 1}, now=timezone.now())
    index, checkpoint = tlog.verify_proof(made.proof, bytes(made.entry.leaf), journal_signer().verifier_key)
    assert index == made.entry.index
    assert checkpoint.size >= 1


def test_the_copy_holds_what_a_stranger_needs(written: int) -> None:
    assert copies.copy() == written
    assert copies.copy() == written
    assert object_store().exists("journal/tile/0/000")
    assert object_store().exists("journal/tile/entries/001.p/44")
    copied = copies.copied_checkpoint()
    assert copied is not None
    assert copied.size == written


def test_a_database_restored_from_an_old_backup_signs_nothing(written: int) -> None:
    copies.copy()
    copies._not_before = 0.0
    Head.objects.update(size=10)
    with pytest.raises(JournalBroken, match="restaurée"), transaction.atomic():
        append("award", {}, now=timezone.now())


def test_a_database_whose_past_was_rewritten_signs_nothing(written: int) -> None:
    copies.copy()
    copies._not_before = 0.0
    Tile.objects.filter(level=1, index=0).update(hashes=bytes(32))
    with pytest.raises(JournalBroken, match="ne sont pas celles"), transaction.atomic():
        append("award", {}, now=timezone.now())


def test_a_column_that_contradicts_its_leaf_is_seen(written: int) -> None:
    Entry.objects.filter(index=3).update(kind="deposit")
    with pytest.raises(JournalBroken, match="colonnes"):
        verify()


def test_a_store_that_does_not_answer_blocks_no_entry(written: int, settings: Settings) -> None:
    settings.OBJECT_STORE = parse_object_store("s3://k:s@127.0.0.1:9/b?tls=0")
    copies._not_before = 0.0
    started = time.monotonic()
    for _ in range(3):
        with transaction.atomic():
            append("award", {}, now=timezone.now())
    assert copies._not_before > started


@pytest.mark.django_db(transaction=True)
def test_appends_of_several_threads_make_one_log() -> None:
    make_world()
    failures: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(10):
                with transaction.atomic():
                    append("award", {}, now=timezone.now())
        except Exception as failed:  # noqa: BLE001  (reported by the thread that waits)
            failures.append(failed)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] or all("locked" in str(each) for each in failures)
    assert verify() == Entry.objects.count()


def test_the_programs_of_the_pages_are_told_once_and_each_time_they_change(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dematmp.web import tasks

    create_keys(now=timezone.now())
    tasks.journal_client_code()
    tasks.journal_client_code()
    assert Entry.objects.filter(kind="client-code").count() == 1
    monkeypatch.setattr(tasks, "sha256_of", lambda name: "0" * 64)
    tasks.journal_client_code()
    assert Entry.objects.filter(kind="client-code").count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_database_restored_to_a_few_seconds_ago_signs_nothing() -> None:
    """No copy was made of the last entries; this machine saw them committed."""
    create_keys(now=timezone.now())
    for number in range(5):
        with transaction.atomic():
            append("award", {"n": number}, now=timezone.now())
        if number == 2:
            before = Head.objects.get()
            tiles = [(tile.pk, bytes(tile.hashes)) for tile in Tile.objects.all()]
    with pytest.raises(RuntimeError), transaction.atomic():
        append("award", {"never": "committed"}, now=timezone.now())
        raise RuntimeError
    assert verify() == 5
    Entry.objects.filter(index__gte=3).delete()
    before.save()
    for pk, hashes in tiles:
        Tile.objects.filter(pk=pk).update(hashes=hashes)
    with pytest.raises(JournalBroken, match="cette machine en a vu 5"), transaction.atomic():
        append("award", {"n": "other"}, now=timezone.now())
    with pytest.raises(CommandError, match="cette machine en a vu 5"):
        call_command("journal", "verify")
    assert Entry.objects.count() == 3
    (configured.SECRETS_DIR / "journal.seen").write_text("half of a checkp")
    with transaction.atomic():
        append("award", {"n": "a power cut left half of the mark"}, now=timezone.now())
    assert verify() == 4


@pytest.mark.django_db(transaction=True)
def test_it_verifies_while_others_append() -> None:
    make_world()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with transaction.atomic():
                append("award", {}, now=timezone.now())
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [verify_all().size for _ in range(20)]
    finally:
        stop.set()
        writer.join()
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 256**3 + 1])
def test_what_is_read_with_the_lock_is_the_edge_of_the_journal(db: None, size: int) -> None:
    """On PostgreSQL by one message, whose second statement finds the tiles by itself."""
    level, count = 0, size
    while count:
        for index in {(count - 1) // 256, max(0, (count - 1) // 256 - 1)}:
            Tile.objects.create(level=level, index=index, hashes=b"%d %d" % (level, index))
        level, count = level + 1, count // 256
    Head.objects.update_or_create(pk=1, defaults={"size": size})
    with transaction.atomic():
        found = ledger.locked_edge(256)
    assert found == (size, ledger.edge(size, 256))
    assert len(found[1]) == level


def test_an_append_waits_for_few_answers_of_the_database(written: int) -> None:
    """Each one is waited for under the head's lock, by all who append."""
    asked: list[str] = []

    def count(execute: Callable[..., object], sql: str, *rest: object) -> object:
        asked.append(sql)
        return execute(sql, *rest)

    with transaction.atomic(), connection.execute_wrapper(count):
        append("award", {"n": 1}, now=timezone.now())
    assert len(asked) == (2 if connection.vendor == "postgresql" else 5)
    assert verify() == written + 1
