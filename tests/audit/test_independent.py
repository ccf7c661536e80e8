"""The published journal and the embedded authority, read by tools that know nothing of this project."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.utils import timezone
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tlog import InclusionProofInvalid
from tlog_scales.utils import sha256

from dematmp.audit.checkpoints import publish
from dematmp.audit.keys import create_keys, journal_signer
from dematmp.audit.models import Entry
from dematmp.audit.services import append
from signing import tlog
from signing.notes import Signer
from tests.conftest import ROOT, absent

ENTRIES = 700  # two full tiles and a partial one


class Published:
    """tlog-scales' backend: the site's own pages, as anybody fetches them."""

    def __init__(self) -> None:
        self.client = Client()

    def get(self, *path: str) -> bytes | None:
        answer = self.client.get("/journal/" + "/".join(path))
        if answer.status_code != 200:
            return None
        return b"".join(answer) if answer.streaming else answer.content


@pytest.mark.django_db
def test_another_library_reads_and_proves_the_published_journal() -> None:
    create_keys(now=timezone.now())
    for rank in range(ENTRIES // 2):
        append("essai", {"rang": rank}, now=timezone.now())
    publish(now=timezone.now())
    first = TilesReader(Published()).get_checkpoint()
    for rank in range(ENTRIES - ENTRIES // 2):
        append("essai", {"rang": rank}, now=timezone.now())
    publish(now=timezone.now())
    reader = TilesReader(Published())
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string(journal_signer().verifier_key))
    assert checkpoint.size == Entry.objects.count() >= ENTRIES
    assert reader.calculate_root_hash() == checkpoint.root_hash
    reader.get_consistency_proof(first.size, checkpoint.size).check(first.root_hash, checkpoint.root_hash)
    for index in (0, 255, 256, 511, first.size, checkpoint.size - 1):
        leaf = reader.get_entry(index)
        assert leaf == bytes(Entry.objects.get(index=index).leaf)
        proof = reader.get_inclusion_proof(index, checkpoint.size)
        proof.check(sha256(b"\x00" + leaf), checkpoint.root_hash)
        with pytest.raises(InclusionProofInvalid):
            proof.check(sha256(b"\x00" + leaf + b" "), checkpoint.root_hash)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """The site over real HTTP, in this process."""
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.django_db(transaction=True)
def test_openssl_and_curl_obtain_and_verify_a_timestamp(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        absent("curl : paquet Debian « curl »")
    create_keys(now=timezone.now())
    (tmp_path / "acte.pdf").write_bytes(b"acte")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    run("openssl", "ts", "-query", "-data", "acte.pdf", "-sha256", "-cert", "-out", "demande.tsq")
    with served() as site:
        sent = run(
            "curl", "-sS", "--fail", "-H", "Content-Type: application/timestamp-query",
            "-H", "Accept: application/timestamp-reply", "-H", "Host: localhost",
            "--data-binary", "@demande.tsq", "-o", "jeton.tsr", "-w", "%{content_type}", f"{site}/tsa",
        )  # fmt: skip
    assert (sent.returncode, sent.stdout) == (0, "application/timestamp-reply"), sent.stderr
    ca = str(Path(settings.SECRETS_DIR) / "pki" / "ca.pem")
    done = run("openssl", "ts", "-verify", "-queryfile", "demande.tsq", "-in", "jeton.tsr", "-CAfile", ca)
    assert "Verification: OK" in done.stdout + done.stderr
    (tmp_path / "acte.pdf").write_bytes(b"autre")
    other = run("openssl", "ts", "-verify", "-data", "acte.pdf", "-in", "jeton.tsr", "-CAfile", ca)
    assert "Verification: OK" not in other.stdout + other.stderr


def _tree(leaves: list[bytes]) -> tuple[bytes, tlog.ReadTile]:
    grown = tlog.append(0, lambda level, index: b"", [tlog.leaf_hash(each) for each in leaves])
    return grown.root, lambda level, index: grown.tiles[level, index]


@pytest.mark.parametrize("lie", ["none", "rewritten", "shorter", "received", "deposit"])
def test_the_stranger_s_script_sees_a_journal_rewritten_since_a_receipt(tmp_path: Path, lie: str) -> None:
    """The same leaf, at the same rank, among other entries; or a receipt that says other than its record."""
    signer, received, nonce = Signer("journal.example", bytes(32)), "2026-11-28T09:59:00+00:00", bytes(32)
    record = json.dumps({"deposit": "x", "received": received}).encode()
    digest = hashlib.sha256(nonce + record).hexdigest()
    leaf = json.dumps({"digest": digest, "time": received, "type": "deposit"}).encode()
    before = [b'{"digest":"a"}', b'{"digest":"b"}', leaf, b'{"digest":"d"}']
    after = [*before, b'{"digest":"e"}']
    if lie == "rewritten":
        after[1] = b'{"digest":"c"}'
    if lie == "shorter":
        after = after[:3]
    journal, deposits = tmp_path / "journal", tmp_path / "deposits"
    bundle = journal / "tile" / "entries" / "000.p" / str(len(after))
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes(tlog.bundle(after))
    (journal / "key").write_text(signer.verifier_key + "\n")
    checkpoint = tlog.Checkpoint(signer.name, len(after), _tree(after)[0])
    (journal / "checkpoint").write_text(signer.sign(checkpoint.text()))
    deposits.mkdir()
    root, read = _tree(before)
    note = signer.sign(tlog.Checkpoint(signer.name, 4, root).text())
    proof = tlog.format_proof(2, tlog.inclusion_proof(2, 4, read), note)
    said = {"deposit": "x", "received": received, "journal": {"nonce": nonce.hex()}}
    said |= {lie: "autre"} if lie in said else {}
    (deposits / "pli.record").write_bytes(record)
    (deposits / "pli.tlog-proof").write_text(proof)
    (deposits / "pli.receipt.json").write_text(json.dumps(said))
    script = ROOT / "docs" / "expert" / "verify_journal.py"
    command = [sys.executable, str(script), str(journal), str(deposits)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "prouvée" in done.stdout) == ((0, True) if lie == "none" else (1, False))
    assert "Traceback" not in done.stderr
