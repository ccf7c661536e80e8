"""A register, or one of its lines, verified by a stranger with `python -m signing verify` and a key."""

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.checkpoints import publish
from dematmp.audit.keys import journal_signer, seal_anchors, timestamp_anchors
from dematmp.audit.models import EntryToken
from dematmp.audit.services import append, export
from dematmp.audit.tokens import stamp_entries
from dematmp.consultations.models import Consultation
from signing import following
from signing.errors import ProofRefused, ReceiptRefused, SigningError
from signing.lines import is_lines, verify_lines
from tests.conftest import ROOT
from tests.web.test_registers import opened, received
from tests.world import World, page

__all__ = ["received"]


@pytest.fixture
def exported(world: World, received: Consultation, tmp_path: Path) -> Path:
    """registre.json, registre.pdf and preuve.json of a stamped line, given to a member once it was opened."""
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(seconds=1)):
        opened(world, received)
        assert stamp_entries(timezone.now)
        publish(now=timezone.now())
        member = page(world.members[0])
        for form in ("json", "pdf"):
            answer: Any = member.get(reverse("buyer-journal-export", args=[received.uuid, form]))
            data = b"".join(answer) if answer.streaming else answer.content
            (tmp_path / f"registre.{form}").write_bytes(data)
        token = EntryToken.objects.filter(entry__kind="session-key", entry__consultation=received.uuid).get()
        where = reverse("buyer-journal-proof", args=[received.uuid, token.entry.index])
        (tmp_path / "preuve.json").write_bytes(member.get(where).content)
        # Not of the committee: the line and its proof, without what it says.
        (tmp_path / "tue.json").write_bytes(page(world.agent).get(where).content)
    return tmp_path


def test_a_register_and_each_line_are_verified_with_the_journal_s_key_alone(exported: Path) -> None:
    given: dict[str, Any] = {"journal_key": journal_signer().verifier_key, "ca_pem": timestamp_anchors()}
    whole = verify_lines(exported / "registre.json", **given)
    assert whole.lines > 15
    assert (whole.waiting, whole.records) == (0, whole.lines)
    assert whole.stamped >= 2
    drawn = verify_lines(exported / "registre.pdf", **given, seal_pem=seal_anchors())
    assert (drawn.lines, "cachet" in drawn.seal) == (whole.lines, True)
    one = verify_lines(exported / "preuve.json", **given)
    assert (one.lines, one.records, one.stamped) == (1, 1, 1)
    silent = verify_lines(exported / "tue.json", **given)
    assert (silent.lines, silent.records, silent.stamped) == (1, 0, 0)
    assert any("NON COMMUNIQUÉ" in each for each in silent.checked)
    (exported / "key").write_text(given["journal_key"])
    for name, count in (("registre.json", whole.lines), ("preuve.json", 1)):
        command = [sys.executable, "-m", "signing", "--json", "verify", name, "--journal-key", "key"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=exported, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["lines"] == count


_LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "its kind": lambda said: said | {"type": "deposit"},
    "its hour": lambda said: said | {"time": "2026-01-01T00:00:00.000000+00:00"},
    "its rank": lambda said: said | {"index": said["index"] + 1},
    "its record": lambda said: said | {"record": "e30="},
    "its leaf": lambda said: said | {"leaf": said["leaf"].replace("session-key", "session-kez")},
    "its proof": lambda said: said | {"proof": said["proof"].replace("\nindex", "\nindexe")},
    "its token": lambda said: said | {"token": "AAAA"},
    "its nonce": lambda said: said | {"nonce": "zz"},
    "where its record begins": lambda said: (
        said
        | {
            "nonce": said["nonce"] + base64.b64decode(said["record"])[:9].hex(),
            "record": base64.b64encode(base64.b64decode(said["record"])[9:]).decode(),
            "token": None,
        }
    ),
    "a number for a text": lambda said: said | {"leaf": 5},
}


@pytest.mark.parametrize("what", list(_LIES))
def test_a_line_that_was_altered_is_refused(exported: Path, what: str) -> None:
    said = _LIES[what](json.loads((exported / "preuve.json").read_bytes()))
    (exported / "faux.json").write_text(json.dumps(said))
    with pytest.raises(SigningError):
        verify_lines(
            exported / "faux.json", journal_key=journal_signer().verifier_key, ca_pem=timestamp_anchors()
        )


def test_a_register_has_the_lines_of_its_consultation_alone(exported: Path, received: Consultation) -> None:
    said = json.loads((exported / "registre.json").read_bytes())
    key = journal_signer().verifier_key
    found = verify_lines(exported / "registre.json", journal_key=key, ca_pem=None)
    assert found.consultation == str(received.uuid)
    (exported / "faux.json").write_text(json.dumps(said | {"consultation": str(uuid.uuid4())}))
    with pytest.raises(ReceiptRefused, match="autre consultation"):
        verify_lines(exported / "faux.json", journal_key=key, ca_pem=None)


def test_a_register_repeats_no_line_and_does_not_prove_that_none_is_missing(exported: Path) -> None:
    said, path = json.loads((exported / "registre.json").read_bytes()), exported / "faux.json"
    given: dict[str, Any] = {"journal_key": journal_signer().verifier_key, "ca_pem": None}
    for name in ("registre.json", "registre.pdf"):
        found = verify_lines(exported / name, **given)
        assert any(each.startswith("NON VÉRIFIÉ : que ce registre soit entier") for each in found.checked)
    alone = verify_lines(exported / "preuve.json", **given)
    assert not any("registre soit entier" in each for each in alone.checked)
    path.write_text(json.dumps(said | {"entries": [*said["entries"], said["entries"][3]]}))
    with pytest.raises(ReceiptRefused, match="deux fois"):
        verify_lines(path, **given)


def test_a_line_without_proof_is_not_verified_but_under_a_seal(
    world: World, exported: Path, received: Consultation
) -> None:
    said, path = json.loads((exported / "registre.json").read_bytes()), exported / "faux.json"
    given: dict[str, Any] = {"journal_key": journal_signer().verifier_key, "ca_pem": timestamp_anchors()}
    forged = said["entries"][-1] | {"proof": None, "index": None, "type": "award"}
    for lie in (forged, said | {"entries": [*said["entries"], forged]}):
        path.write_text(json.dumps(lie))
        with pytest.raises(ReceiptRefused, match="pas de preuve"):
            verify_lines(path, **given)
    # An honest one, of this very minute: the seal of the PDF says who gave it so.
    young = exported / "jeune.pdf"
    assert received.deadline is not None
    with time_machine.travel(received.deadline + timedelta(minutes=1)):
        with transaction.atomic():
            append("award", {"n": 1}, consultation=received.uuid, now=timezone.now())
        where = reverse("buyer-journal-export", args=[received.uuid, "pdf"])
        answer: Any = page(world.members[0]).get(where)
        young.write_bytes(b"".join(answer) if answer.streaming else answer.content)
    with pytest.raises(ReceiptRefused, match="--seal-ca"):
        verify_lines(young, **given)
    found = verify_lines(young, **given, seal_pem=seal_anchors())
    assert (found.waiting, bool(found.seal)) == (1, True)
    assert any("1 ligne(s) sans preuve" in each for each in found.checked)


def test_what_is_no_register_is_not_taken_for_one(tmp_path: Path) -> None:
    for data in (b"{}", b"[]", b'{"v": "register/1", "entries": [5]}', b'{"v": "receipt/1"}', b"\xff"):
        (tmp_path / "a.json").write_bytes(data)
        assert not is_lines(tmp_path / "a.json")
        with pytest.raises(ReceiptRefused):
            verify_lines(tmp_path / "a.json", journal_key="x", ca_pem=None)


def test_a_register_is_proven_whole_by_the_entries_once_they_are_published(exported: Path) -> None:
    said, path = json.loads((exported / "registre.json").read_bytes()), exported / "faux.json"
    journal, key = exported / "journal", journal_signer().verifier_key

    def write(name: str, data: bytes) -> None:
        (journal / name).parent.mkdir(parents=True, exist_ok=True)
        (journal / name).write_bytes(data)

    export(write)

    def told(file: Path) -> str:
        given: dict[str, Any] = {"journal_key": key, "ca_pem": None, "whole": True}
        found = verify_lines(file, **given, published=following.read(str(journal), key))
        return next(each for each in found.checked if "ne manque" in each or "soit entier" in each)

    assert told(exported / "registre.json").startswith("aucune ligne ne manque")
    kinds = [line["type"] for line in said["entries"]]
    twice = next(kind for kind in kinds if kinds.count(kind) > 1)
    rest = [line for line in said["entries"] if line["type"] != twice]
    path.write_text(json.dumps(said | {"entries": rest}))
    assert f"{twice} ({kinds.count(twice)})" in told(path), "what it shows nothing of is told"
    cut = said["entries"].pop(kinds.index(twice))
    path.write_text(json.dumps(said))
    with pytest.raises(ReceiptRefused, match=f"entrées {cut['index']}"):
        told(path)
    (bundle,) = (journal / "tile" / "entries").rglob("*.p/*")
    bundle.write_bytes(bundle.read_bytes().replace(b"session-key", b"session-kez"))
    with pytest.raises(ProofRefused):
        told(exported / "registre.json")
    bundle.unlink()
    assert told(exported / "registre.json").startswith("NON VÉRIFIÉ : que ce registre soit entier")
