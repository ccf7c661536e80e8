"""The processes of the demonstration.

Web, worker, ministry; started on free loopback ports, all stopped at the end.
"""

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import django
import httpx
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Processes:
    """Children in their own groups; `stop` ends them all, whatever happened."""

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        self._logs, self._environment = logs, environment
        self._children: list[subprocess.Popen[bytes]] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        log = (self._logs / f"{name}.log").open("ab")
        child = subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self._children.append(child)
        return child

    def stop(self) -> None:
        for child in reversed(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        until = time.monotonic() + 3
        for child in reversed(self._children):
            try:
                child.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._children.clear()


@contextlib.contextmanager
def platform(state: Path, *, port: int, extra: dict[str, str]) -> Iterator[str]:
    """A migrated platform in `state`, its web process and its worker running; yields its address."""
    address = f"http://127.0.0.1:{port}"
    os.environ.update(
        {
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": str(state),
            "DEMATMP_SECRETS_DIR": str(state / "secrets"),
            "DEMATMP_SITE_URL": address,
            "DEMATMP_SITE_NAME": "Marchés publics du Val de Sorne",
            "DEMATMP_OPERATOR_NAME": "Syndicat mixte numérique du Val de Sorne",
            "DEMATMP_CONTACT_EMAIL": "assistance@valdesorne.example.fr",
            "DEMATMP_CONTACT_PHONE": "01 99 00 12 34",  # reserved for fiction (Arcep)
            "DEMATMP_CONTACT_HOURS": "du lundi au vendredi, de 9 h à 18 h",
            **extra,
        }
    )
    processes = Processes(state / "logs", dict(os.environ))
    try:
        _prepare()
        gunicorn = [sys.executable, "-m", "gunicorn", "dematmp.wsgi", "--bind", f"127.0.0.1:{port}"]
        gunicorn.append("--no-control-socket")  # it would be in the home folder, outside this checkout
        processes.start(
            "web",
            *gunicorn,
            "--worker-class",
            "gthread",
            "--workers",
            "2",
            "--threads",
            "4",
            "--timeout",
            "120",
        )
        beat = str(state / "beat")
        worker = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "dematmp",
            "worker",
            "-B",
            "-s",
            beat,
            "-c",
            "2",
            "-l",
            "warning",
        ]
        processes.start("worker", *worker, "--without-gossip", "--without-mingle")
        wait_for(f"{address}/api/v1/time")
        yield address
    finally:
        processes.stop()


def _prepare() -> None:
    """Tables and keys, in this process: the others then start on a platform that is ready."""
    django.setup()
    call_command("migrate", verbosity=0, skip_checks=True)
    call_command("platform_keys", skip_checks=True, stdout=io.StringIO())
    call_command("storage", "setup", skip_checks=True, stdout=io.StringIO())
    call_command("trial_consultation", skip_checks=True, stdout=io.StringIO())


def wait_for(url: str, seconds: float = 40) -> None:
    """Return once the address answers 200; TimeoutError after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"{url} ne répond pas")
        time.sleep(0.1)


def fresh(folder: Path) -> Path:
    """An empty folder, with what the previous demonstration left removed."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
