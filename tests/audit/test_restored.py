"""A database of before, on another machine: the copy betrays it, even without its checkpoint."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from dematmp.audit import copies, mark
from dematmp.audit.checkpoints import publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import create_keys, journal_signer
from dematmp.audit.models import Entry, Head, PublicCheckpoint, Tile
from dematmp.audit.services import append
from dematmp.audit.tasks import copy_journal
from signing.notes import Signer
from storage.stores import object_store
from tests.audit.test_checkpoints import alone

__all__ = ["alone"]
_ROWS = (Entry, Tile, Head)


def _written(count: int, what: str = "n") -> None:
    with transaction.atomic():
        for number in range(count):
            append("award", {what: number}, now=timezone.now())


def _restore(saved: list[list[dict[str, object]]]) -> None:
    """The database is that of before, and this machine saw nothing."""
    PublicCheckpoint.objects.all().delete()
    for model, rows in zip(_ROWS, saved, strict=True):
        model.objects.all().delete()
        model.objects.bulk_create([model(**row) for row in rows])
    mark._path().unlink(missing_ok=True)
    copies._not_before = 0.0


def _spoil(how: str) -> None:
    """The copy's checkpoint is lost, spoilt, or of another key."""
    store, key = object_store(), "journal/checkpoint"
    if how == "deleted":
        store.delete(key)
    elif how == "garbage":
        store.put(key, b"illisible")
    elif how == "other key":
        text = store.read(key).decode().split("\n\n")[0] + "\n"
        store.put(key, Signer(journal_signer().name, bytes(32)).sign(text).encode())


@pytest.mark.parametrize("first", [20, 300])
@pytest.mark.parametrize("how", ["none", "garbage", "deleted", "other key"])
def test_no_other_history_is_signed_nor_published(db: None, how: str, first: int) -> None:
    create_keys(now=timezone.now())
    _written(first)
    saved = [list(model.objects.values()) for model in _ROWS]
    _written(20, "later")
    copy_journal()
    size = Head.objects.get().published_size
    _restore(saved)
    _spoil(how)
    with pytest.raises(JournalBroken):
        publish(now=timezone.now())
    copy_journal()
    assert not PublicCheckpoint.objects.exists()
    with pytest.raises(JournalBroken):
        _written(1, "fork")
    with pytest.raises(CommandError):
        call_command("journal", "verify", stdout=io.StringIO())
    # A fork as long as what was lost, made while the store did not answer.
    copies._not_before = float("inf")
    _written(size - first, "fork")
    copies._not_before = 0.0
    with pytest.raises(JournalBroken):
        _written(1, "fork")
    with pytest.raises(JournalBroken):
        publish(now=timezone.now())


@pytest.mark.parametrize("how", ["garbage", "deleted", "other key"])
def test_an_unreadable_copy_of_the_same_journal_holds_nothing_back(db: None, how: str) -> None:
    create_keys(now=timezone.now())
    _written(300)
    copy_journal()
    _spoil(how)
    copies._not_before = 0.0
    _written(1)
    kept = publish(now=timezone.now())
    assert kept is not None
    assert kept.size == 301
