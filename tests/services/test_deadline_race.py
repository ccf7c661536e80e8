"""Finalisations around the deadline, from four processes whose clocks disagree and step, on PostgreSQL.

`DEMATMP_RACE` sets their number (100; 2,000 in the nightly run).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from deploy.services.postgres import Postgres
from tests.conftest import ROOT
from tests.migrated import create_postgres

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
COUNT, WORKERS = int(os.environ.get("DEMATMP_RACE", "100")), 4
# Seconds by which each process's clock is wrong: what is asked for, and enough to see who believes it.
_STEPS = [-1.5, 1.5, -0.05, 0.05]

_PREPARE = """
import hashlib, io, json, os, sys, uuid
from datetime import timedelta
from pathlib import Path
import django
django.setup()
from django.core.management import call_command
from django.utils import timezone
call_command("migrate", verbosity=0, skip_checks=True)
from tests.world import make_world, siret
from dematmp.accounts.models import Organisation, ApiToken
from dematmp.accounts.services import give_role, issue_token
from dematmp.bids.attempts import EnvelopeOffer, begin, receive_part
from signing.envelope import Ids, Source, seal
count, folder = int(sys.argv[1]), Path(sys.argv[2])
world = make_world()
consultation = world.publish(world.draft(kinds=["offre"]), closes_in=timedelta(hours=2))
keys = consultation.envelope_keys.get()
(folder / "f").write_bytes(b"offre")
calls = []
for number in range(count):
    if number % 20 == 0:
        name = f"Entreprise {number}"
        company = Organisation.objects.create(kind="company", name=name, siret=siret(50000000 + number))
        give_role(world.bidder, company, "bidder", now=timezone.now())
        token = issue_token(world.bidder, company, label="course", now=timezone.now())
    deposit, envelope = str(uuid.uuid4()), str(uuid.uuid4())
    ids = Ids(str(consultation.uuid), "1", str(company.uuid), "offre", deposit, envelope)
    made = seal([Source(folder / "f", "offre.txt")], ids=ids, committee=bytes(keys.committee),
                platform=bytes(keys.platform), ceremony=consultation.ceremony_sha256, out=folder / envelope)
    offers = [EnvelopeOffer(made.header, made.keys, {each.name: each.size for each in made.objects})]
    attempt = begin(consultation, bidder=company, by=world.bidder, offers=offers, client_clock=None,
                    now=timezone.now())
    for each in made.objects:
        data = (folder / envelope / each.name).read_bytes()
        receive_part(attempt, envelope=uuid.UUID(envelope), name=each.name, number=1, stream=io.BytesIO(data),
                     length=len(data), sha256=each.parts[0], now=timezone.now())
    objects = [{"envelope": envelope, "name": each.name, "sha256": each.sha256} for each in made.objects]
    calls.append({"attempt": str(attempt.uuid), "token": token, "body": {"objects": objects}})
(folder / "calls.json").write_text(json.dumps([str(consultation.uuid), calls]))
"""

_RACE = """
import json, sys, time
from pathlib import Path
import django
django.setup()
import time_machine
from datetime import timedelta
from django.db import connection
from django.test import Client
from django.utils import timezone
from dematmp.consultations.models import Deadline
folder, mine, workers, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
consultation, calls = json.loads((folder / "calls.json").read_text())
ours = calls[mine::workers]
browser = Client(SERVER_NAME="127.0.0.1")
def database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]
said = []
browser.get("/api/v1/time")
(folder / f"ready-{mine}").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
deadline = Deadline.objects.get(consultation__uuid=consultation).at
while database() < deadline - timedelta(seconds=2):
    time.sleep(0.002)
with time_machine.travel(timezone.now() + timedelta(seconds=step), tick=True) as clock:
    for number, call in enumerate(ours):
        if number % 5 == 4:  # and each steps from one side to the other
            clock.shift(timedelta(seconds=-2 * step if number % 10 == 4 else 2 * step))
        while number / len(ours) > (database() - deadline).total_seconds() / 4 + 0.5:
            time.sleep(0.001)
        path = f"/api/v1/attempts/{call['attempt']}/finalise"
        headers = {"Authorization": f"Bearer {call['token']}"}
        before = database().isoformat()
        answer = browser.post(path, call["body"], content_type="application/json", headers=headers)
        assert answer.status_code == 200, answer.content
        receipt = answer.json()
        said.append([call["attempt"], before, database().isoformat(), receipt["state"], receipt["received"]])
(folder / f"said-{mine}.json").write_text(json.dumps(said))
"""

_JUDGE = """
import base64, hashlib, json, sys
from datetime import datetime, timedelta
from pathlib import Path
import django
django.setup()
from dematmp.audit.models import Entry
from dematmp.audit.services import verify
from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt
folder = Path(sys.argv[1])
said = [row for path in sorted(folder.glob("said-*.json")) for row in json.loads(path.read_text())]
late = 0
for attempt, before, after, state, received in said:
    bid = Bid.objects.get(attempt__uuid=attempt)
    record = json.loads(bytes(bid.record))
    truth = bid.received_at > bid.deadline
    late += truth
    # Never later than it was; earlier at most by the way back of the database's answer, on a busy machine.
    assert datetime.fromisoformat(before) - timedelta(seconds=0.25) <= bid.received_at
    assert bid.received_at <= datetime.fromisoformat(after)
    assert bid.late == truth
    assert (state == "late") == truth
    assert datetime.fromisoformat(received) == bid.received_at
    assert record["late"] == truth
    assert datetime.fromisoformat(record["received"]) == bid.received_at
    entry = Entry.objects.get(index=bid.journal_index)
    assert bytes(entry.record) == bytes(bid.record)
    assert receipt(bid)["state"] == state
assert Bid.objects.filter(consultation__twin_of=None).count() == len(said)
verify()
print(json.dumps([len(said), late]))
"""


def test_receipt_journal_and_status_agree_whoever_answered(postgres: Postgres, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_SECRETS_DIR": str(tmp_path / "secrets"),
        "DEMATMP_DATABASE_URL": create_postgres(postgres, f"race_{os.getpid()}"),
        "DEMATMP_ANTIVIRUS_URL": "none",
        "DEMATMP_LOG_LEVEL": "ERROR",
    }

    def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def done(process: "subprocess.Popen[str]") -> str:
        out, error = process.communicate()
        assert process.returncode == 0, error[-3000:]
        return out

    done(python(_PREPARE, COUNT, tmp_path))
    racers = [python(_RACE, tmp_path, index, WORKERS, _STEPS[index]) for index in range(WORKERS)]
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("ready-*"))) < WORKERS:
        assert time.monotonic() < until
        assert all(racer.poll() is None for racer in racers), [done(racer) for racer in racers]
        time.sleep(0.02)
    # The deadline is moved to the race only now: making the bids, and starting, take longer or shorter.
    consultation, _ = json.loads((tmp_path / "calls.json").read_text())
    with psycopg.connect(environment["DEMATMP_DATABASE_URL"]) as link:
        moved = link.execute(
            "UPDATE consultations_deadline SET at = date_trunc('second', clock_timestamp()) + interval '4 s' "
            "FROM consultations_consultation c WHERE c.id = consultation_id AND c.uuid = %s",
            [consultation],
        )
        assert moved.rowcount == 1
    (tmp_path / "go").touch()
    for racer in racers:
        done(racer)
    count, late = json.loads(done(python(_JUDGE, tmp_path)).splitlines()[-1])
    assert count == COUNT
    assert 5 <= late <= COUNT - 5  # the race was run on both sides of the deadline
