"""Peak memory of the web process, and of the client, while a deposit's parts go through the platform."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.services.process import Service, descendants, free_ports, listening
from tests.benchmarks.figures import GB, Figure, workplace

ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = 256 * 1024**2, 4 * GB
_SEAL = """
import json, sys
from pathlib import Path
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, skip_checks=True)
from django.utils import timezone
from dematmp.accounts.services import issue_token
from signing.client import EnvelopePlan
from signing.envelope import Source
from tests.world import client, make_world
folder, size = Path(sys.argv[1]), int(sys.argv[2])
world = make_world()
consultation = world.publish(world.draft(kinds=["offre"]))
with (folder / "plain.bin").open("wb") as plain:
    plain.truncate(size)
plan = EnvelopePlan("1", "offre", [Source(folder / "plain.bin", "grand.bin")])
client(world.bidder, world.company).seal_draft(str(consultation.uuid), [plan], folder / "draft")
(folder / "plain.bin").unlink()
print(json.dumps(issue_token(world.bidder, world.company, label="mesure", now=timezone.now())))
"""
_SEND = """
import resource, sys
from pathlib import Path
from signing.client import Client
speaker, draft = Client(sys.argv[1], sys.argv[2]), Path(sys.argv[3])
speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


class _Web(Service):
    """gunicorn, one worker, as deploy/UPGRADE.md says."""

    name, programs, patience = "gunicorn", (sys.executable,), 2.0

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__()
        self.environment = {**environment, "PYTHONPATH": str(ROOT)}

    def command(self, *command: str) -> list[str]:
        return list(command)  # the account of who measures: it reads its virtual environment

    def _start(self) -> None:
        (port,) = free_ports(1)
        how = ["--worker-class", "gthread", "--workers", "1", "--threads", "4", "--timeout", "120"]
        where = ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        self.spawn(sys.executable, "-m", "gunicorn", "dematmp.wsgi", *where, *how, env=self.environment)
        self.wait(lambda: listening(port))
        self.url = f"http://127.0.0.1:{port}"

    def peak(self) -> float:
        """MiB, of the process that answers."""
        statuses = [Path(f"/proc/{pid}/status") for pid in descendants(self._children[0].pid)]
        lines = [line for path in statuses for line in path.read_text().splitlines()]
        return max(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def peaks(size: int) -> tuple[float, float]:
    """MiB of the web process and of the client, for one file of `size` bytes."""
    with workplace(3 * size) as folder:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": str(folder / "state"),
            "DEMATMP_SECRETS_DIR": str(folder / "secrets"),  # where the height of the journal is kept
            "DEMATMP_ANTIVIRUS_URL": "none",
        }

        def python(code: str, *arguments: str) -> str:
            command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-3000:])
            return done.stdout.splitlines()[-1]

        token = json.loads(python(_SEAL, str(folder), str(size)))
        with _Web(environment) as web:
            assert isinstance(web, _Web)
            client = float(python(_SEND, web.url, token, str(folder / "draft")))
            return web.peak(), client


def figures() -> Iterator[Figure]:
    """At 4 GB, against 256 MB in the same run: flat, whatever the size."""
    small, large = peaks(SMALL), peaks(LARGE)
    for index, name in enumerate(("web", "client")):
        yield Figure(f"memory.deposit.{name}.4GB", large[index], "MiB", "same process, 256 MB", small[index])
