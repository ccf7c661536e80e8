"""Appends to the journal, each in its own transaction with its proof and checkpoint, on a real database."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from deploy.services.postgres import Postgres
from tests.benchmarks.figures import Figure

_CODE = """
import json, sys, time, uuid
import django
django.setup()
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from dematmp.audit.keys import create_keys
from dematmp.audit.services import append
from dematmp.mails.models import Mail
call_command("migrate", verbosity=0)
now = timezone.now()
create_keys(now=now)
COUNT = 1000
for _ in range(50):
    with transaction.atomic():
        append("award", {"n": str(uuid.uuid4())}, now=now)
started = time.perf_counter()
for number in range(COUNT):
    with transaction.atomic():
        append("award", {"n": number, "padding": "x" * 500}, now=now)
journal = COUNT / (time.perf_counter() - started)
started = time.perf_counter()
for number in range(COUNT):
    with transaction.atomic():
        Mail.objects.create(to="a@example.fr", subject="x", body="x" * 500, created_at=now)
print(json.dumps([journal, COUNT / (time.perf_counter() - started)]))
"""


def _run(url: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="dematmp-bench-") as state:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": state,
            **({"DEMATMP_DATABASE_URL": url} if url else {}),
        }
        command = [sys.executable, "-W", "ignore", "-c", _CODE]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    journal, insert = json.loads(done.stdout.splitlines()[-1])
    return journal, insert


def figures() -> Iterator[Figure]:
    """The reference is one INSERT in its own transaction, through the same ORM, on the same database."""
    for name in ("sqlite", "postgres"):
        if name == "postgres" and Postgres.missing():
            sys.stderr.write(f"journal.append.postgres non mesuré. {Postgres.missing()}\n")
            continue
        if name == "sqlite":
            value, reference = _run("")
        else:
            with Postgres(durable=True) as database:
                value, reference = _run(database.url)
        yield Figure(f"journal.append.{name}", value, "per second", "one INSERT per transaction", reference)
