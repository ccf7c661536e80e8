"""Sending parts straight to S3, finalising on PostgreSQL, feeding the antivirus: against the bare thing."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from urllib.parse import urlsplit

from deploy.services.ceph import Ceph
from deploy.services.clamd import Clamd
from deploy.services.postgres import Postgres
from deploy.services.process import Service
from tests.benchmarks.figures import Figure, best

SIZE = 256 * 1024**2
_PARTS = """
import hashlib, json, os, sys, time, uuid
from pathlib import Path
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
call_command("migrate", verbosity=0, skip_checks=True)
import httpx
from tests.world import make_world
from storage.stores import object_store
PART, size = 8 * 1024**2, int(sys.argv[1])
world = make_world()
consultation = world.publish()
data = os.urandom(size)
blocks = [data[at : at + PART] for at in range(0, size, PART)]
store = object_store()

def raw():
    key = f"sealed/{uuid.uuid4()}/0.cob"
    upload = store.begin(key)
    with httpx.Client(timeout=60) as client:
        for number, block in enumerate(blocks, start=1):
            sha256 = hashlib.sha256(block).hexdigest()
            target = store.target(key, upload, number, size=len(block), sha256=sha256)
            client.put(target.url, content=block, headers=dict(target.headers)).raise_for_status()
    store.abort(key, upload)

def ours():
    speaker, draft = world.seal(consultation, Path(settings.STATE_DIR) / str(uuid.uuid4()), files={"f": data})
    started = time.perf_counter()
    speaker.upload(draft)
    return time.perf_counter() - started

raws, mine = [], []
for _ in range(3):
    started = time.perf_counter()
    raw()
    raws.append(time.perf_counter() - started)
    mine.append(ours())
print(json.dumps([2 * size / 1e6 / min(mine), size / 1e6 / min(raws)]))  # the file is in both envelopes
"""
_FINALISE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, skip_checks=True)
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from pathlib import Path
from dematmp.audit.services import append
from dematmp.bids.models import Attempt
from dematmp.bids.services import finalise
from tests.world import make_world
import uuid
COUNT, THREADS = int(sys.argv[1]), 4
world = make_world()
consultation = world.publish()
ready = []
for number in range(COUNT):
    speaker, draft = world.seal(consultation, Path(settings.STATE_DIR) / str(number))
    attempt = speaker.upload(draft)
    state = json.loads((draft / "draft.json").read_text())
    digests = {(uuid.UUID(e["envelope"]), o["name"]): o["sha256"]
               for e in state["envelopes"] for o in e["objects"]}
    ready.append((Attempt.objects.get(uuid=attempt["attempt"]), digests))
def work(row):
    attempt, digests = row
    started = time.perf_counter()
    finalise(attempt, digests=digests, by=world.bidder, now=timezone.now())
    return time.perf_counter() - started
def lane(rows):
    try:
        return [work(row) for row in rows]
    finally:
        connection.close()
started = time.perf_counter()
with ThreadPoolExecutor(THREADS) as pool:
    lanes = pool.map(lane, [ready[number::THREADS] for number in range(THREADS)])
    times = sorted(each for one in lanes for each in one)
rate = COUNT / (time.perf_counter() - started)
started = time.perf_counter()
for number in range(200):
    with transaction.atomic():
        append("award", {"n": number, "padding": "x" * 500}, now=timezone.now())
journal = 200 / (time.perf_counter() - started)
print(json.dumps([rate, journal, 1000 * times[len(times) // 2], 1000 * times[int(len(times) * 0.99)]]))
"""


def _run(code: str, argument: int, extra: dict[str, str]) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="dematmp-bench-") as state:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": state,
            "DEMATMP_ANTIVIRUS_URL": "none",
            **extra,
        }
        command = [sys.executable, "-W", "ignore", "-c", code, str(argument)]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
    values: list[float] = json.loads(done.stdout.splitlines()[-1])
    return values


def _missing(*services: type[Service]) -> bool:
    for service in services:
        if reason := service.missing():
            sys.stderr.write(f"non mesuré. {reason}\n")
            return True
    return False


def figures() -> Iterator[Figure]:
    """MB/s of 256 MB by the command line's client; deposits per second, 4 threads; MB/s of a stream."""
    if not _missing(Ceph):
        with Ceph() as ceph:
            ours, raw = _run(_PARTS, SIZE, {"DEMATMP_OBJECT_STORE": ceph.url})
            yield Figure("storage.put", ours, "MB/s", "PUT of the same parts, signed alike", raw)
    if not _missing(Postgres):
        with Postgres(durable=True) as database:
            rate, journal, middle, worst = _run(_FINALISE, 200, {"DEMATMP_DATABASE_URL": database.url})
            yield Figure("finalise.postgres", rate, "per second", "journal appends, one at a time", journal)
            yield Figure("finalise.postgres.p99", worst, "ms", "p50 in the same run", middle)
    if not _missing(Clamd):
        with Clamd() as clamd:
            yield _scan(clamd)


def _scan(clamd: Clamd) -> Figure:
    os.environ["DJANGO_SETTINGS_MODULE"] = "dematmp.settings.test"
    from storage.antivirus import ScanSession
    from storage.panel import Panel

    block = os.urandom(1024**2)
    rounds = 128

    def ours() -> None:
        session = ScanSession(Panel([clamd.url]))
        for _ in range(rounds):
            session.feed(block)
        session.finish()
        session.close()

    def bare() -> None:
        where = urlsplit(clamd.url)
        with socket.create_connection((where.hostname or "", where.port or 0)) as link:
            link.sendall(b"zINSTREAM\0")
            for _ in range(rounds):
                link.sendall(len(block).to_bytes(4, "big") + block)
            link.sendall(bytes(4))
            while link.recv(4096):
                pass

    size = rounds * len(block) / 1e6
    reference = size / best(bare)
    return Figure(
        "scan.stream", size / best(ours), "MB/s", "the same bytes to the daemon's socket", reference
    )
