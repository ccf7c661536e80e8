"""Tokens, sealed receipts and a rebuild of 10,000 entries, each against what does the least of it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import journal
from tests.benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = 10_000
_TSA = """[tsa]
default_tsa = here
[here]
serial = {folder}/serial
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
accuracy = secs:1
"""
_CODE = """
import hashlib, json, os, subprocess, sys, time
from pathlib import Path
import django
django.setup()
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
call_command("migrate", verbosity=0)
from tests.world import make_world
from dematmp.audit.documents import render
from dematmp.audit.services import append, verify
from dematmp.audit.stamping import ask_token
from dematmp.bids import receipts
from dematmp.bids.models import Bid
from tests.benchmarks.signatures import per_second
folder = Path(sys.argv[1])
world = make_world()
consultation = world.publish()
world.deposit(consultation, folder / "a", files={f"{n}.txt": b"x" for n in range(5)})
bid = Bid.objects.get(consultation=consultation)
pki = Path(os.environ["DEMATMP_SECRETS_DIR"]) / "pki"
query = folder / "q.tsq"
digest = hashlib.sha256(bytes(bid.record)).hexdigest()
subprocess.run(["openssl", "ts", "-query", "-digest", digest, "-sha256", "-cert", "-out", query],
               check=True, capture_output=True)
reply = ["openssl", "ts", "-reply", "-config", folder / "tsa.cnf", "-queryfile", query,
         "-signer", pki / "tsa.pem", "-inkey", pki / "tsa.key", "-out", folder / "r.tsr"]
said = {"tokens": per_second(lambda: ask_token(bytes(bid.record), now=timezone.now())),
        "openssl": per_second(lambda: subprocess.run(reply, check=True, capture_output=True))}
drawn = []
real = receipts.render
def kept(*given, **named):
    drawn[:] = [(given, named)]
    return real(*given, **named)
receipts.render = kept
said["receipts"] = per_second(lambda: receipts.receipt_pdf(bid, now=timezone.now()))
(given, named), = drawn
said["drawn"] = per_second(lambda: render(*given, **named))
for number in range(int(sys.argv[2])):
    with transaction.atomic():
        append("award", {"n": number, "padding": "x" * 500}, now=timezone.now())
started = time.perf_counter()
size = verify()
said["rebuild"] = size / (time.perf_counter() - started)
started = time.perf_counter()
with connection.cursor() as cursor:
    cursor.execute('SELECT leaf, nonce, record FROM audit_entry ORDER BY "index"')
    for leaf, nonce, record in cursor.fetchall():
        hashlib.sha256(bytes(nonce) + bytes(record)).digest()
        hashlib.sha256(b"\\0" + bytes(leaf)).digest()
said["hashed"] = size / (time.perf_counter() - started)
print(json.dumps(said))
"""


def figures() -> Iterator[Figure]:
    """Per second of one core, but for the rebuild, which reads its database."""
    with tempfile.TemporaryDirectory(prefix="dematmp-bench-") as state:
        Path(state, "tsa.cnf").write_text(_TSA.format(folder=state))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": state,
            "DEMATMP_SECRETS_DIR": f"{state}/secrets",
            "DEMATMP_ANTIVIRUS_URL": "none",
            "DEMATMP_LOG_LEVEL": "ERROR",
        }
        command = [sys.executable, "-W", "ignore", "-c", _CODE, state, str(ENTRIES)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"deploy/bench : {done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    unit = "per second"
    yield Figure("proof.tokens", said["tokens"], unit, "openssl ts -reply, not verified", said["openssl"])
    yield Figure("proof.receipts", said["receipts"], unit, "the same page, not sealed", said["drawn"])
    rebuild = f"entries per second of a journal of {ENTRIES}"
    yield Figure("proof.rebuild", said["rebuild"], rebuild, "the same rows read and hashed", said["hashed"])
    yield from journal.figures()
