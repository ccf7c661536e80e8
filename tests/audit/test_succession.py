"""A journal that lost entries is succeeded by another: one name never has two histories."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit import copies, keys, mark, succession
from dematmp.audit.checkpoints import publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import create_keys, journal_signer, timestamp_anchors, verifier_of
from dematmp.audit.models import Entry, Head
from dematmp.audit.services import append
from dematmp.audit.verifying import verify_all
from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt
from signing import tlog
from signing.receipt import verify_receipt
from storage.stores import object_store
from tests.world import World

NEW = "renouveau.example/journal"


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """No copy of another test, and no journal succeeded for the next one."""

    def clean() -> None:
        for key in list(object_store().list("journal/")):
            object_store().delete(key)
        (configured.SECRETS_DIR / "journal.former").unlink(missing_ok=True)
        copies._not_before = 0.0

    clean()
    yield
    clean()


def _written(count: int) -> None:
    with transaction.atomic():
        for number in range(count):
            append("award", {"n": number}, now=timezone.now())


def _restored() -> str:
    """As after a restore: this machine saw ten entries more, and its copy three."""
    create_keys(now=timezone.now())
    _written(300)
    publish(now=timezone.now())
    copies.copy()
    signer, size = journal_signer(), Head.objects.get().size
    for more in (3, 10):
        note = signer.sign(tlog.Checkpoint(signer.name, size + more, bytes(32)).text())
        mark.remember(note)
        if more == 3:
            object_store().put("journal/checkpoint", note.encode())
    copies._not_before = 0.0
    with pytest.raises(JournalBroken, match="After restoring the database"):
        _written(1)
    return note


def _succeed(reason: str = "disque perdu") -> str:
    out = io.StringIO()
    call_command("journal", "succeed", "--reason", reason, stdout=out)
    return out.getvalue()


def test_a_restored_journal_goes_on_under_another_name(db: None, settings: Settings) -> None:
    seen = _restored()
    former = journal_signer().verifier_key
    with pytest.raises(CommandError, match="nouveau nom"):
        _succeed()
    settings.JOURNAL_ORIGIN = NEW
    assert journal_signer().verifier_key in _succeed()
    _written(2)
    entry = Entry.objects.get(kind="journal-succession")
    said = json.loads(bytes(entry.record))
    assert (entry.index, said["kept"]["size"], said["reason"]) == (300, 300, "disque perdu")
    assert said["former"] == {
        "key": former,
        "seen": seen,
        "copied": object_store().read("journal/checkpoint").decode(),
    }
    publish(now=timezone.now())
    assert copies.copy() == 303
    assert object_store().exists("journal/2/checkpoint")
    verified = verify_all()
    assert (verified.size, verified.published) == (303, 2)  # the former one's checkpoint, and the new one's
    page = Client().get("/journal/").content.decode()
    assert former in page
    assert "disque perdu" in page
    assert Client().get("/journal/former").content.decode() == f"{former}\n"
    with pytest.raises(CommandError, match="nouveau nom"):
        _succeed()


def test_receipts_of_before_keep_their_proof(world: World, settings: Settings, tmp_path: Path) -> None:
    world.deposit(world.publish(), tmp_path)
    before = journal_signer().verifier_key
    settings.JOURNAL_ORIGIN = NEW
    _succeed()
    bid = Bid.objects.get()
    path = tmp_path / "recu.json"
    path.write_text(json.dumps(receipt(bid)))
    assert json.loads(path.read_text())["journal"]["key"] == before
    verify_receipt(path, journal_key=before, ca_pem=timestamp_anchors())
    verify_all()  # each deposit, as a stranger would
    assert before in Client().get(reverse("check-receipt")).content.decode()


def test_a_name_is_not_changed_by_a_setting_alone(db: None, settings: Settings) -> None:
    create_keys(now=timezone.now())
    _written(1)
    settings.JOURNAL_ORIGIN, copies._not_before = NEW, 0.0
    with pytest.raises(JournalBroken, match="journal succeed"):
        _written(1)


def test_a_succession_killed_after_its_first_step_is_completed(
    db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _restored()
    former, settings.JOURNAL_ORIGIN = journal_signer().verifier_key, NEW
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(succession, "append", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        _succeed()
    assert keys.former_verifiers() == [former]
    _succeed()
    said = json.loads(bytes(Entry.objects.get(kind="journal-succession").record))
    assert (said["former"]["key"], said["former"]["seen"]) == (former, seen)
    assert said["former"]["copied"]
    _written(1)
    verify_all()


def test_a_former_name_is_never_taken_again(db: None, settings: Settings) -> None:
    create_keys(now=timezone.now())
    _written(1)
    first, settings.JOURNAL_ORIGIN = settings.JOURNAL_ORIGIN, NEW
    _succeed()
    settings.JOURNAL_ORIGIN = "troisieme.example/journal"
    _succeed()
    for taken in (first, NEW):
        settings.JOURNAL_ORIGIN, copies._not_before = taken, 0.0
        with pytest.raises(CommandError, match="déjà été le nom"):
            _succeed()
        with pytest.raises(JournalBroken, match="journal succeed"):
            _written(1)
    settings.JOURNAL_ORIGIN = "troisieme.example/journal"
    assert [each.split("+")[0] for each in keys.former_verifiers()] == [first, NEW]
    assert verifier_of(Head.objects.get().note) == journal_signer().verifier_key
    copies.copy()
    assert object_store().exists("journal/3/checkpoint")


def test_entries_that_were_changed_are_not_carried_over(db: None, settings: Settings) -> None:
    create_keys(now=timezone.now())
    _written(3)
    Entry.objects.filter(index=1).update(record=b"autre")
    settings.JOURNAL_ORIGIN = NEW
    with pytest.raises(CommandError, match="modifié"):
        _succeed()
