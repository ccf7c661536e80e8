"""A journal that lost entries is succeeded by another: one name never has two histories."""

import io
import json
import re
import shutil
import subprocess
import sys
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
from signing.notes import verify_note
from signing.receipt import verify_receipt
from storage.stores import object_store
from tests.conftest import ROOT
from tests.world import World, page

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
    assert (verified.size, verified.published) == (
        303,
        3,
    )  # the former one's checkpoint, and two of the new one
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


def _stranger(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "docs" / "expert" / "verify_journal.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_a_stranger_follows_the_succession(world: World, settings: Settings, tmp_path: Path) -> None:
    world.deposit(world.publish(), tmp_path / "draft")
    bid, former, signer = Bid.objects.get(), journal_signer().verifier_key, journal_signer()
    publish(now=timezone.now())
    size = Head.objects.get().size
    lost = signer.sign(tlog.Checkpoint(signer.name, size + 7, bytes(32)).text())
    mark.remember(lost)
    settings.JOURNAL_ORIGIN = NEW
    _succeed()
    _written(3)
    publish(now=timezone.now())
    journal, deposits = tmp_path / "journal", tmp_path / "deposits"
    call_command("journal", "export", str(journal), stdout=io.StringIO())
    deposits.mkdir()
    (deposits / "pli.record").write_bytes(bytes(bid.record))
    (deposits / "pli.receipt.json").write_text(json.dumps(receipt(bid)))
    (deposits / "pli.tlog-proof").write_text(bid.proof)
    done = _stranger(journal, deposits)
    assert done.returncode == 0, done.stderr
    assert f"pli : entrée {bid.journal_index} prouvée" in done.stdout
    assert f"{size} entrées gardées, 7 perdues" in done.stdout
    assert "3 points de contrôle publiés, tous de ce journal" in done.stdout
    # Only the keys that one kept are believed: both are needed.
    (tmp_path / "a").write_text(f"{former}\n")
    (tmp_path / "b").write_text(f"{journal_signer().verifier_key}\n")
    assert _stranger(journal, deposits, "--key", tmp_path / "a", "--key", tmp_path / "b").returncode == 0
    for kept, words in (("a", f"aucune clé du journal {NEW}"), ("b", f"la clé de {signer.name} n'est pas")):
        done = _stranger(journal, deposits, "--key", tmp_path / kept)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    # A receipt of what was lost; a checkpoint of another history; a succession that lies.
    (deposits / "pli.tlog-proof").write_text(bid.proof.split("\n\n")[0] + f"\n\n{lost}")
    done = _stranger(journal, deposits)
    assert (done.returncode, f"ce journal en a {size}" in done.stderr) == (1, True), done.stderr
    (journal / "checkpoints" / str(size - 1)).write_text(
        signer.sign(tlog.Checkpoint(signer.name, size - 1, bytes(32)).text())
    )
    assert f"publié à {size - 1} entrées n'est pas de ce journal" in _stranger(journal).stderr
    (told,) = (journal / "successions").iterdir()
    told.write_text(re.sub('(?<="nonce": ")[0-9a-f]{64}', "00" * 32, told.read_text()))
    assert "ce n'est pas ce que dit l'entrée" in _stranger(journal).stderr
    shutil.rmtree(told.parent)
    assert f"NON VÉRIFIÉ : ce que dit l'entrée {size}" in _stranger(journal).stdout


def test_what_is_published_and_its_key_are_of_one_journal(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    """At once after a succession: no former checkpoint stands beside the key of the new journal."""
    consultation = world.publish()
    publish(now=timezone.now())
    before = journal_signer().verifier_key
    settings.JOURNAL_ORIGIN = NEW

    def key_and_proof() -> tuple[str, str]:
        entry = Entry.objects.get(kind="consultation-published", consultation=consultation.uuid)
        where = reverse("buyer-journal-proof", args=[consultation.uuid, entry.index])
        said = page(world.agent).get(where).json()
        return said["key"], said["proof"]

    keys.keep_former(before)
    key, proof = key_and_proof()  # killed before its transaction: the former journal's, both
    assert (key, f"\n— {before.split('+')[0]} " in proof) == (before, True)
    _succeed()
    key, proof = key_and_proof()
    assert (key, f"\n— {NEW} " in proof) == (journal_signer().verifier_key, True)
    note = Client().get("/journal/checkpoint").content.decode()
    tlog.Checkpoint.parse(verify_note(note, Client().get("/journal/key").content.decode()))
