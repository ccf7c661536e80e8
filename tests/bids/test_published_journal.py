"""A receipt of yesterday against the journal of today: a stranger's command, from the site or from a copy."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.checkpoints import complete, publish
from dematmp.audit.keys import journal_signer
from dematmp.audit.models import Head
from dematmp.audit.services import append
from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt
from signing import tlog
from signing.cosigning import Cosigner
from signing.notes import Signer
from tests.audit.test_checkpoints import Running, alone, witness
from tests.audit.test_independent import served
from tests.conftest import ROOT
from tests.world import make_world

__all__ = ["alone", "witness"]
pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Given:
    """What a company kept: its receipt, the keys of the journal and of a witness; a copy of the journal."""

    folder: Path
    size: int
    signer_name: str

    def verify(self, where: str | Path, *more: str | Path) -> "subprocess.CompletedProcess[str]":
        given = ["recu.json", "--journal-key", "keys", "--checkpoint", where, *more]
        return self.run(*given)

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "signing", "verify", *map(str, arguments)]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    def export(self) -> Path:
        copy = self.folder / "copie"
        call_command("journal", "export", str(copy), stdout=io.StringIO())
        return copy


def written(count: int) -> None:
    with transaction.atomic():
        for number in range(count):
            append("award", {"n": number}, now=timezone.now())


def published() -> int:
    kept = publish(now=timezone.now())
    assert kept is not None
    complete(kept, now=timezone.now())
    return kept.size


@pytest.fixture
def given(witness: Running, tmp_path: Path) -> Iterator[Given]:
    world = make_world()
    world.deposit(world.publish(), tmp_path / "brouillon")
    said = receipt(Bid.objects.get(consultation__twin_of=None))
    (tmp_path / "recu.json").write_text(json.dumps(said))
    (tmp_path / "keys").write_text(journal_signer().verifier_key + "\n")
    (tmp_path / "temoins").write_text(f"{witness.key}\n")
    signed_size = int(str(said["journal"]["proof"]).split("\n\n")[1].split("\n")[1])  # type: ignore[index]
    written(300)
    yield Given(tmp_path, signed_size, journal_signer().name)


def test_a_receipt_is_compared_with_the_site_and_with_a_copy(given: Given) -> None:
    size = published()
    with served() as site:
        address = f"{site.replace('127.0.0.1', 'localhost')}/journal/"
        for where in (address, f"{address}checkpoint", f"{address}checkpoints/{size}"):
            done = given.verify(where, "--witness", "temoins")
            assert done.returncode == 0, done.stderr
            assert f"{size} entrées) prolonge celui d'alors ({given.size} entrées)" in done.stdout
            assert "cosigné par temoin.example, le 20" in done.stdout
    copy = given.export()
    for place in (copy, copy / "checkpoint", copy / "checkpoints" / str(size)):
        done = given.verify(place)
        assert (done.returncode, "prolonge celui d'alors" in done.stdout) == (0, True), done.stderr
        assert "NON VÉRIFIÉ : que d'autres voient le même journal" in done.stdout
    written(20)
    given.export()  # its partial tiles are wider now, and serve for the former checkpoint too
    assert given.verify(copy / "checkpoints" / str(size)).returncode == 0
    assert "NON COMPARÉ au journal publié" in given.run("recu.json", "--journal-key", "keys").stdout


def test_a_journal_that_was_rewritten_or_shortened_is_refused(given: Given) -> None:
    published()
    copy, signer = given.export(), journal_signer()
    # Signed by the true key, its tiles and all, and not the continuation of what the receipt was given under.
    other = tlog.append(0, lambda _, __: b"", [tlog.leaf_hash(b"%d" % n) for n in range(400)])
    fork = given.folder / "autre"
    for (level, index), hashes in other.tiles.items():
        path = fork / tlog.tile_path(level, index, len(hashes) // 32)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashes)
    (fork / "checkpoint").write_text(signer.sign(tlog.Checkpoint(signer.name, 400, other.root).text()))
    (given.folder / "court").write_text(
        signer.sign(tlog.Checkpoint(signer.name, given.size - 1, bytes(32)).text())
    )
    tile = copy / "tile" / "0" / "000"
    for where, why in (
        (fork, "n'est pas le prolongement"),
        (given.folder / "court", "il en manque"),
        (given.folder / "absent", "Aucun point de contrôle"),
        (given.folder / "recu.json", "n'est pas une note signée"),
    ):
        done = given.verify(where)
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    assert given.verify(copy).returncode == 1
    tile.unlink()
    assert "manque à côté du point de contrôle" in given.verify(copy).stderr
    assert given.verify("http://127.0.0.1:9/journal/").returncode == 3


@pytest.mark.parametrize("more", [-1, 50])
def test_the_checkpoint_of_another_journal_is_said_to_be_another_s(given: Given, more: int) -> None:
    """The backup channel's, whose key the company has too: neither shortened, nor rewritten."""
    published()
    channel = Signer("canal.example/journal", os.urandom(32))
    with (given.folder / "keys").open("a") as keys:
        keys.write(f"{channel.verifier_key}\n")
    size = given.size + more
    other = tlog.append(0, lambda _, __: b"", [tlog.leaf_hash(b"%d" % n) for n in range(size)])
    folder = given.folder / "canal"
    for (level, index), hashes in other.tiles.items():
        path = folder / tlog.tile_path(level, index, len(hashes) // 32)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashes)
    (folder / "checkpoint").write_text(channel.sign(tlog.Checkpoint(channel.name, size, other.root).text()))
    done = given.verify(folder)
    said = f"celui d'un autre journal : canal.example/journal, et non {given.signer_name}"
    assert (done.returncode, said in done.stderr, "il en manque" in done.stderr) == (1, True, False), (
        done.stderr
    )


def test_each_witness_that_is_named_must_have_cosigned(given: Given) -> None:
    published()
    copy = given.export()
    other = Cosigner("temoin.example", os.urandom(32))
    (given.folder / "autres").write_text(f"{other.verifier_key}\n")
    done = given.verify(copy / "checkpoints" / str(Head.objects.get().published_size), "--witness", "temoins")
    assert done.returncode == 0, done.stderr
    done = given.verify(copy / "checkpoints" / str(Head.objects.get().published_size), "--witness", "autres")
    assert (done.returncode, "temoin.example : Ce témoin n'a pas cosigné" in done.stderr) == (1, True)
    done = given.run("recu.json", "--journal-key", "keys", "--witness", "temoins")
    assert (done.returncode, "donnez --checkpoint" in done.stderr) == (1, True)


def test_the_successor_of_a_journal_continues_it(given: Given, settings: Settings) -> None:
    settings.JOURNAL_ORIGIN = "renouveau.example/journal"
    try:
        call_command("journal", "succeed", "--reason", "disque perdu", stdout=io.StringIO())
        copy = given.export()
        done = given.verify(copy)
        assert (done.returncode, "n'est pas signée par cette clé" in done.stderr) == (1, True), done.stderr
        with (given.folder / "keys").open("a") as keys:
            keys.write(f"{journal_signer().verifier_key}\n")
        done = given.verify(copy)
        assert done.returncode == 0, done.stderr
        assert f"  - clé du journal : {given.signer_name}+" in done.stdout
        assert f"  - clé du point de contrôle publié : {settings.JOURNAL_ORIGIN}+" in done.stdout
    finally:
        (settings.SECRETS_DIR / "journal.former").unlink(missing_ok=True)
