"""A whole platform on real services, in processes of its own, made to be killed."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from deploy.services.ceph import Ceph
from deploy.services.postgres import Postgres
from deploy.services.process import Service, descendants, free_ports, listening
from tests.conftest import ROOT
from tests.migrated import create_postgres, lay_sqlite
from tests.services.invariants import EmbeddedStores, Stores
from tests.services.stops import Gates

_PREPARE = """
import json, sys
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, skip_checks=True)
call_command("storage", "setup", skip_checks=True, stdout=sys.stderr)
from django.utils import timezone
from dematmp.accounts.services import issue_token
from tests.world import make_world
world = make_world()
lots = [{"number": "1", "title": "Lot unique"}]
drafts = [world.draft(f"2026-{n:02}", lots=lots, kinds=["offre"]) for n in range(int(sys.argv[1]))]
made = [world.publish(draft) for draft in drafts]
def token(user, organisation):
    return issue_token(user, organisation, label="essai", now=timezone.now())
print(json.dumps({
    "consultations": [str(each.uuid) for each in made],
    "bidder": token(world.bidder, world.company),
    "rival": token(world.rival_bidder, world.rival),
    "members": [[token(user, world.buyer), world.seeds[user.pk].hex()] for user in world.members],
}))
"""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it went with its parent, which waited at another gate
        os.kill(pid, signal.SIGKILL)


class _Python(Service):
    """A process of the platform itself: it keeps the account of who tests."""

    programs = (sys.executable,)
    patience = 2.0

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__()
        self.environment = environment

    def command(self, *command: str) -> list[str]:
        return list(command)


class Web(_Python):
    """gunicorn; its one worker process, killed, is started again by its master, as in production."""

    name = "gunicorn"

    def __init__(self, environment: dict[str, str], port: int) -> None:
        super().__init__(environment)
        self.port, self.url = port, f"http://127.0.0.1:{port}"

    def _start(self) -> None:
        how = [
            "--preload",
            "--worker-class",
            "gthread",
            "--workers",
            "1",
            "--threads",
            "4",
            "--timeout",
            "300",
        ]
        where = ["--bind", f"127.0.0.1:{self.port}", "--no-control-socket", "--log-level", "warning"]
        command = [sys.executable, "-m", "gunicorn", "dematmp.wsgi", *where, *how]
        self.spawn(*command, env=self.environment | {"DEMATMP_TEST_ROLE": "web"})
        self.wait(lambda: listening(self.port))
        self.url = f"http://127.0.0.1:{self.port}"

    def kill_worker(self) -> None:
        """The process that answers, not its master."""
        for pid in descendants(self._children[0].pid):
            os.kill(pid, signal.SIGKILL)


class Worker(_Python):
    """Celery: its master, its beat, the one process that works, and what that one starts."""

    name = "celery"

    def _start(self) -> None:
        how = ["-B", "-s", str(self.folder / "beat"), "-c", "1", "--without-gossip", "--without-mingle"]
        worker = [sys.executable, "-m", "celery", "-A", "dematmp", "worker", *how, "-l", "warning"]
        self.spawn(*worker, env=self.environment | {"DEMATMP_TEST_ROLE": "worker"})


class Platform:
    """Web and worker over given services; `consultations` are open, and nobody has deposited there yet."""

    direct = True  # companies may send their parts to the store itself

    def __init__(
        self,
        state: Path,
        *,
        postgres: Postgres,
        ceph: Ceph,
        clamd: Service,
        broker: Service,
        consultations: int,
    ) -> None:
        name = f"kill_{os.getpid()}"
        self.postgres, self.ceph, self.clamd = postgres, ceph, clamd
        self.database = create_postgres(postgres, name)
        self.bucket = name.replace("_", "-")
        (port,) = free_ports(1)
        self.environment = {
            **self._common(state, port),
            "DEMATMP_DATABASE_URL": self.database,
            "DEMATMP_OBJECT_STORE": f"{ceph.store_url(self.bucket)}&deposits={self.bucket}-plis",
            "DEMATMP_DEPOSIT_RETENTION_DAYS": "1",
            "DEMATMP_ANTIVIRUS_URL": clamd.url,
            "DEMATMP_OPENING_WORKERS": "1",
            "DEMATMP_BROKER_QUEUES": "classic",  # as deploy/UPGRADE.md says for a single node
            "DEMATMP_BROKER_URL": broker.url,
        }
        self.web, self.worker = Web(self.environment, port), Worker(self.environment)
        self.broker, self.running = broker, False
        self.environment["PGOPTIONS"] = "-c synchronous_commit=off"  # nobody is killed yet
        self._prepare(consultations)
        del self.environment["PGOPTIONS"]

    def _common(self, state: Path, port: int) -> dict[str, str]:
        """What every process of it is told."""
        self.gates = Gates(state / "gates")
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.services.stopped_settings",
            "DEMATMP_TEST_GATES": str(self.gates.folder),
            "DEMATMP_STATE_DIR": str(state),
            "DEMATMP_SECRETS_DIR": str(state / "secrets"),
            "DEMATMP_SITE_URL": f"http://127.0.0.1:{port}",
            "DEMATMP_LOG_LEVEL": "WARNING",
            "PYTHONWARNINGS": "ignore",
        }

    def _prepare(self, consultations: int) -> None:
        said = json.loads(self.python("-c", _PREPARE, str(consultations)).splitlines()[-1])
        self.consultations: list[str] = said["consultations"]
        self.bidder, self.rival = str(said["bidder"]), str(said["rival"])
        self.members = [(str(token), bytes.fromhex(seed)) for token, seed in said["members"]]

    def stores(self, files: Mapping[str, bytes]) -> Stores:
        """What it wrote, read by no code of its own."""
        return Stores(self.database, self.ceph, self.bucket, files)

    def serve(self, broker: Service) -> None:
        """Web and worker are running, on this broker."""
        if self.running and broker is self.broker:
            return
        self.stop()
        self.broker = broker
        self.environment["DEMATMP_BROKER_URL"] = broker.url
        self.web.start()
        self.worker.start()
        self.running = True

    def stop(self) -> None:
        self.worker.stop()
        self.web.stop()
        self.running = False

    def log(self) -> str:
        return "\n".join(each.log() for each in (self.web, self.worker, self.broker))

    def python(self, *arguments: str, check: bool = True) -> str:
        """What a Python process of this platform prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr[-3000:]
        return done.stdout

    def close(self, consultation: str) -> None:
        """The deadline of a consultation is just past: what was received before is in time."""
        with psycopg.connect(self.database) as link:
            link.execute(
                "UPDATE consultations_deadline SET at = clock_timestamp() FROM consultations_consultation c "
                "WHERE c.id = consultation_id AND c.uuid = %s",
                [consultation],
            )

    def killers(self) -> dict[str, tuple[Callable[[int], None], Callable[[], None]]]:
        """For each victim: how it is killed, knowing who waits at the gate (a pid), and how it comes back."""

        def fault(service: Service, *programs: str) -> tuple[Callable[[int], None], Callable[[], None]]:
            return (lambda _: service.kill(*programs), service.revive)

        return {
            "web": (lambda _: self.web.kill_worker(), lambda: None),
            "worker": fault(self.worker),
            "process": (_kill, lambda: None),
            "rgw": fault(self.ceph, "radosgw"),
            "osd": fault(self.ceph, "ceph-osd"),
            "clamd": fault(self.clamd),
            "postgres": fault(self.postgres),
            "broker": fault(self.broker),
        }


class EmbeddedPlatform(Platform):
    """The same with nothing installed: SQLite, a folder, messages as files, no antivirus."""

    direct = False

    def __init__(self, state: Path, *, consultations: int) -> None:
        (port,) = free_ports(1)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DEMATMP_")},
            **self._common(state, port),
            "DEMATMP_ANTIVIRUS_URL": "none",
            "DEMATMP_TEST_STORE": "storage.folder:FolderStore",
        }
        self.web, self.worker, self.running = Web(self.environment, port), Worker(self.environment), False
        self.state, self.database = state, str(state / "dematmp.sqlite3")
        lay_sqlite(state / "dematmp.sqlite3")
        self._prepare(consultations)

    def stores(self, files: Mapping[str, bytes]) -> Stores:
        return EmbeddedStores(self.database, None, "", files, folder=self.state / "objects")

    def start(self) -> None:
        self.web.start()
        self.worker.start()

    def log(self) -> str:
        return f"{self.web.log()}\n{self.worker.log()}"

    def close(self, consultation: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as link, link:
            link.execute(
                "UPDATE consultations_deadline SET at = ? WHERE consultation_id = "
                "(SELECT id FROM consultations_consultation WHERE uuid = ?)",
                [now, consultation.replace("-", "")],
            )

    def killers(self) -> dict[str, tuple[Callable[[int], None], Callable[[], None]]]:
        return {
            "web": (lambda _: self.web.kill_worker(), lambda: None),
            "worker": (lambda _: self.worker.kill(), self.worker.revive),
            "process": (_kill, lambda: None),
        }
