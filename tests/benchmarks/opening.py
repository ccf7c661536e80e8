"""open.session: 300 companies, 3 envelopes each of 5 MB, 3 of 5 holders, a real antivirus, one process.

`DEMATMP_BENCH_BIDS` makes a smaller one. The reference is one envelope after the other, in the same run.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from deploy.services.clamd import Clamd
from tests.benchmarks.figures import Figure

_CODE = """
import io, json, os, sys, time, uuid
from pathlib import Path
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from datetime import timedelta
call_command("migrate", verbosity=0)
import httpx
from tests.world import make_world, organisation, person, client
from dematmp.accounts.models import Organisation
from dematmp.bids.attempts import EnvelopeOffer, begin, receive_part
from dematmp.bids.services import finalise
from dematmp.consultations.models import Consultation, Deadline
from dematmp.opening.models import OpeningSession, OpenedFile
from dematmp.opening import services
from signing.envelope import Ids, Source, seal
BIDS, BYTES = int(sys.argv[1]), 5 * 1024**2
world = make_world()
for n in (4, 5):
    world.members.append(person(f"membre{n}", world.buyer, "member"))
lots = [{"number": "1", "title": "Un"}, {"number": "2", "title": "Deux"}]
draft = world.draft("2026-300", lots=lots)
original = world.keys
world.keys = lambda made: original(made, threshold=3)
consultation = world.publish(draft, closes_in=timedelta(hours=2))
keys = {each.kind: each for each in consultation.envelope_keys.all()}
folder = Path(os.environ["DEMATMP_STATE_DIR"]) / "plain"
folder.mkdir()
(folder / "f").write_bytes(os.urandom(BYTES))
from tests.world import siret
for number in range(BIDS):
    name, known = f"Entreprise {number}", siret(50000000 + number)
    company = Organisation.objects.create(kind="company", name=name, siret=known)
    deposit, offers, made = str(uuid.uuid4()), [], []
    for lot, kind in (("1", "candidature"), ("1", "offre"), ("2", "offre")):
        ids = Ids(str(consultation.uuid), lot, str(company.uuid), kind, deposit, str(uuid.uuid4()))
        out = folder / ids.envelope
        sealed = seal([Source(folder / "f", "memoire.bin")], ids=ids, committee=bytes(keys[kind].committee),
                      platform=bytes(keys[kind].platform), ceremony=consultation.ceremony_sha256, out=out)
        offers.append(EnvelopeOffer(sealed.header, sealed.keys, {o.name: o.size for o in sealed.objects}))
        made.append((ids, sealed, out))
    now = timezone.now()
    attempt = begin(consultation, bidder=company, by=world.bidder, offers=offers, client_clock=None, now=now)
    digests = {}
    for ids, sealed, out in made:
        for each in sealed.objects:
            data = (out / each.name).read_bytes()
            for part, sha256 in enumerate(each.parts, start=1):
                piece = data[(part - 1) * 8 * 1024**2 : part * 8 * 1024**2]
                receive_part(attempt, envelope=uuid.UUID(ids.envelope), name=each.name, number=part,
                             stream=io.BytesIO(piece), length=len(piece), sha256=sha256, now=timezone.now())
            digests[uuid.UUID(ids.envelope), each.name] = each.sha256
            (out / each.name).unlink()
    finalise(attempt, digests=digests, by=world.bidder, now=timezone.now())
Deadline.objects.filter(consultation=consultation).update(at=timezone.now())
for index in (0, 2, 4):
    session = world.share(consultation, index)
from dematmp.opening.tasks import unseal_session
unseal_session.delay = lambda _: None  # measured below
client(world.members[0], world.buyer).post(f"/openings/{session['session']}/open")
found = OpeningSession.objects.get()
started = time.perf_counter()
call_command("unseal", str(found.uuid))
seconds = time.perf_counter() - started
found.refresh_from_db()
assert found.finished_at, found.problem
assert OpenedFile.objects.filter(verdict="clean").count() == 3 * BIDS
from django.test import Client
browser = Client()
browser.force_login(world.members[0])
started = time.perf_counter()
page = browser.get(f"/commission/{consultation.uuid}/")
print(json.dumps([seconds, time.perf_counter() - started, len(page.content)]))
"""


def _run(clamd: Clamd, *, bids: int, workers: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="dematmp-bench-") as state:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.test",
            "DEMATMP_STATE_DIR": state,
            "DEMATMP_ANTIVIRUS_URL": clamd.url,
            "DEMATMP_OPENING_WORKERS": str(workers),
        }
        command = [sys.executable, "-W", "ignore", "-c", _CODE, str(bids)]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
    seconds, page, size = json.loads(done.stdout.splitlines()[-1])
    return seconds, page, size


def figures() -> Iterator[Figure]:
    """Seconds of the whole opening, of its page afterwards, and the page's size."""
    bids, clamd = int(os.environ.get("DEMATMP_BENCH_BIDS", "300")), Clamd()
    if reason := clamd.missing():
        sys.stderr.write(f"deploy/bench : {reason}\n")
        return
    workers = min(4, os.cpu_count() or 1)
    with clamd:
        alone, _, _ = _run(clamd, bids=bids, workers=1)
        seconds, page, size = _run(clamd, bids=bids, workers=workers)
    yield Figure("open.session", seconds, "s", "one envelope after the other, same run (s)", alone)
    yield Figure("open.page", page, "s", "the opening itself (s)", seconds)
    yield Figure("open.page.size", size / 1024, "KiB", "envelopes shown", 3 * bids)
