"""What the public saw stays: cosigned by a witness in another process, timestamped, of one single tree."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit import checkpoints, copies, mark
from dematmp.audit.checkpoints import check_published, complete, publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import create_keys, journal_signer, timestamp_anchors
from dematmp.audit.models import Entry, Head, PublicCheckpoint, Tile
from dematmp.audit.services import append
from dematmp.audit.tasks import copy_journal
from dematmp.demo.runtime import free_port
from signing import tlog
from signing.cosigning import Cosigner, split, verify_cosignature
from signing.errors import ProofRefused
from signing.notes import Signer
from signing.timestamps import verify_token
from storage.stores import object_store
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """The copy of another test is not ours."""
    store = object_store()

    def clear() -> None:
        for key in list(store.list("journal")):
            store.delete(key)
        copies._not_before = 0.0

    clear()
    yield
    clear()


def write(count: int) -> None:
    create_keys(now=timezone.now())
    with transaction.atomic():
        for number in range(count):
            append("award", {"n": number}, now=timezone.now())


class Running:
    """A witness in another process; its address, its key line, its state file."""

    def __init__(self, folder: Path, command: Sequence[str] = ("-m", "signing.witness")) -> None:
        self._command = command
        self.state, self._folder, self._port = folder / "state.json", folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        (folder / "log.key").write_text(journal_signer().verifier_key)
        self.start()

    def start(self) -> None:
        files = ["--log", "log.key", "--key", "witness.key", "--state", "state.json"]
        command = [sys.executable, *self._command, *files, "--name", "temoin.example"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self._port)],
            cwd=self._folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DEMATMP_STATE_DIR": str(self._folder / "var"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.key = self.process.stdout.readline().split(" : ", 1)[1].strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def witness(db: None, tmp_path: Path, settings: Settings) -> Iterator[Running]:
    create_keys(now=timezone.now())
    made = Running(tmp_path)
    settings.WITNESSES = [f"{made.url} {made.key}"]
    yield made
    made.kill()


def test_a_platform_is_the_witness_of_another(db: None, tmp_path: Path, settings: Settings) -> None:
    create_keys(now=timezone.now())
    made = Running(tmp_path, (str(ROOT / "manage.py"), "journal", "witness"))
    try:
        settings.WITNESSES = [f"{made.url} {made.key}"]
        write(3)
        assert verify_cosignature(published().note, made.key) is not None
    finally:
        made.kill()


def published() -> PublicCheckpoint:
    kept = publish(now=timezone.now())
    assert kept is not None
    complete(kept, now=timezone.now())
    return PublicCheckpoint.objects.get(pk=kept.pk)


def test_each_public_checkpoint_is_cosigned_and_timestamped(witness: Running) -> None:
    for count in (5, 300, 1):
        write(count)
        kept = published()
        seen = verify_cosignature(kept.note, witness.key)
        assert abs((timezone.now() - seen).total_seconds()) < 60
        assert json.loads(witness.state.read_text())["size"] == kept.size
        digest = hashlib.sha256(split(kept.note)[0].encode()).digest()
        token = verify_token(bytes(kept.token or b""), digest=digest, ca_pem=timestamp_anchors())
        assert token.gen_time == kept.token_at
    assert Client().get("/journal/checkpoint").content.decode() == kept.note
    assert check_published(Head.objects.get().size) == 3


def test_a_witness_killed_or_late_is_caught_up(witness: Running) -> None:
    write(5)
    published()
    witness.kill()
    write(5)
    with pytest.raises(ProofRefused, match="n'a pas cosigné"):
        verify_cosignature(published().note, witness.key)
    witness.start()
    write(5)
    verify_cosignature(published().note, witness.key)
    witness.state.unlink()  # it lost its memory, and says that it saw nothing
    write(5)
    verify_cosignature(published().note, witness.key)


@pytest.mark.parametrize("state", ["", "{", '{"size": 5}', "[]"])
def test_a_witness_that_lost_its_state_cosigns_nothing_and_says_so(witness: Running, state: str) -> None:
    """Taken for none, it would let the log begin another history."""
    write(5)
    witness.state.write_text(state)
    answer = httpx.post(
        f"{witness.url}/add-checkpoint", content=f"old 0\n\n{Head.objects.get().note}".encode()
    )
    assert (answer.status_code, "n'est plus lisible" in answer.text) == (500, True)
    assert witness.state.read_text() == state


def test_a_witness_never_cosigns_two_histories(witness: Running) -> None:
    write(5)
    published()
    other = [tlog.leaf_hash(b"%d" % number) for number in range(9)]
    signer = journal_signer()
    forged = signer.sign(tlog.Checkpoint(signer.name, 9, tlog.root_of(other)).text())
    same = signer.sign(tlog.Checkpoint(signer.name, 5, tlog.root_of(other[:5])).text())
    stranger = Signer(signer.name, os.urandom(32)).sign(tlog.Checkpoint(signer.name, 9, bytes(32)).text())
    foreign = Signer("autre", os.urandom(32)).sign(tlog.Checkpoint("autre", 9, bytes(32)).text())

    def asked(body: str) -> httpx.Response:
        return httpx.post(f"{witness.url}/add-checkpoint", content=body.encode())

    proof = "A" * 43 + "=\n"
    assert asked(f"old 5\n{proof}\n{forged}").status_code == 422
    assert asked(f"old 5\n\n{same}").status_code == 409
    assert asked(f"old 0\n\n{forged}").status_code == 409
    assert asked(f"old 0\n\n{forged}").text == "5\n"
    assert asked(f"old 5\n\n{stranger}").status_code == 403
    assert asked(f"old 5\n\n{foreign}").status_code == 404
    malformed = ("", "old", "old x\n\n", f"old 05\n\n{forged}", f"old 99\n\n{forged}")
    for each in (*malformed, f"old 5\nx\n\n{forged}"):
        assert asked(each).status_code in (400, 404)
    assert json.loads(witness.state.read_text())["size"] == 5


def test_a_cosignature_is_bound_to_its_text_its_key_and_its_time() -> None:
    signer = Signer("journal.example", bytes(32))
    cosigner, other = Cosigner("temoin.example", bytes(32)), Cosigner("temoin.example", bytes([1] * 32))
    note = signer.sign(tlog.Checkpoint(signer.name, 5, bytes(32)).text())
    at = datetime(2026, 11, 26, 12, tzinfo=UTC)
    cosigned = note + cosigner.cosign(split(note)[0], now=at)
    assert verify_cosignature(cosigned, cosigner.verifier_key) == at
    for key, text in (
        (other.verifier_key, cosigned),
        (cosigner.verifier_key, cosigned.replace("\n5\n", "\n6\n")),
        (cosigner.verifier_key, note),
        (signer.verifier_key, cosigned),
    ):
        with pytest.raises(ProofRefused):
            verify_cosignature(text, key)


def test_a_checkpoint_once_public_betrays_another_history(db: None) -> None:
    write(5)
    published()
    write(5)
    published()
    signer = journal_signer()
    lie = signer.sign(tlog.Checkpoint(signer.name, 5, bytes(32)).text())
    PublicCheckpoint.objects.filter(size=5).update(note=lie)
    with pytest.raises(JournalBroken, match="autre journal"):
        check_published(10)
    with pytest.raises(CommandError, match="autre journal"):
        call_command("journal", "verify", stdout=io.StringIO())


@pytest.mark.parametrize("step", ["refuse_less", "refuse_rollback_now"])
def test_what_others_append_meanwhile_is_not_taken_for_an_old_backup(
    db: None, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine saw them committed, and another run copied them, after the head was read."""
    write(5)
    checked = getattr(checkpoints, step)

    def crossed(*given: object) -> None:
        monkeypatch.setattr(checkpoints, step, checked)
        write(3)
        mark.remember(Head.objects.get().note)
        assert copies.copy() == 8
        checked(*given)

    monkeypatch.setattr(checkpoints, step, crossed)
    assert published().size == 8


def test_an_altered_copy_is_seen_and_an_entry_is_proved(db: None) -> None:
    write(300)
    published()
    copies.copy()
    out = io.StringIO()
    call_command("journal", "verify", stdout=out)
    assert "300 entrées, 1 points de contrôle publiés, 5 fichiers" in out.getvalue()
    out = io.StringIO()
    call_command("journal", "prove", "7", stdout=out)
    said = json.loads(out.getvalue())
    index, checkpoint = tlog.verify_proof(said["proof"], said["leaf"].encode(), journal_signer().verifier_key)
    assert (index, checkpoint.size) == (7, 300)
    store, key = object_store(), "journal/tile/entries/001.p/44"
    for gone in ("journal/tile/0/000", key, "journal/tile/entries/000"):
        kept = store.read(gone)
        store.delete(gone)
        with pytest.raises(CommandError, match=f"n'a plus {gone}"):
            call_command("journal", "verify", stdout=io.StringIO())
        store.put(gone, kept)
    kept = store.read("journal/checkpoint")
    for spoilt in (kept[:-9] + b"AAAAAAA=\n", b"\xff", b""):
        store.put("journal/checkpoint", spoilt)
        with pytest.raises(CommandError, match="point de contrôle de la copie"):
            call_command("journal", "verify", stdout=io.StringIO())
    store.put("journal/checkpoint", kept)
    store.put(key, store.read(key)[:-1] + b"x")
    with pytest.raises(CommandError, match=r"001\.p/44"):
        call_command("journal", "verify", stdout=io.StringIO())
    assert Entry.objects.count() == 300
    assert Tile.objects.exists()


def test_a_checkpoint_of_a_minute_without_authority_has_its_token_later(db: None, settings: Settings) -> None:
    settings.TSA_URLS = ["http://127.0.0.1:9/"]
    for _ in range(3):
        write(2)
        copy_journal()
    assert PublicCheckpoint.objects.filter(token=None).count() == 3
    settings.TSA_URLS = ["embedded"]
    copy_journal()
    assert not PublicCheckpoint.objects.filter(token=None).exists()
    for kept in PublicCheckpoint.objects.all():
        digest = hashlib.sha256(split(kept.note)[0].encode()).digest()
        verify_token(bytes(kept.token or b""), digest=digest, ca_pem=timestamp_anchors())


def test_what_was_asked_for_the_token_of_a_checkpoint_is_kept_beside_it(db: None, tmp_path: Path) -> None:
    """A stranger's openssl checks the answer against the request, its nonce too."""
    write(5)
    size = published().size
    for name in ("tsq", "tsr"):
        answer = Client().get(f"/journal/checkpoints/{size}.{name}")
        assert answer["Content-Type"] == "application/octet-stream"
        (tmp_path / f"c.{name}").write_bytes(answer.content)
    (tmp_path / "ca.pem").write_bytes(timestamp_anchors())

    def verified() -> bool:
        command = ["openssl", "ts", "-verify", "-queryfile", "c.tsq", "-in", "c.tsr", "-CAfile", "ca.pem"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return "Verification: OK" in done.stdout + done.stderr

    assert verified()
    copy = tmp_path / "copie"
    call_command("journal", "export", str(copy), stdout=io.StringIO())
    assert (copy / "checkpoints" / f"{size}.tsq").read_bytes() == (tmp_path / "c.tsq").read_bytes()
    write(1)
    (tmp_path / "c.tsq").write_bytes(Client().get(f"/journal/checkpoints/{published().size}.tsq").content)
    assert not verified()
