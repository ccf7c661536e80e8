"""Real workers on each broker: a task is done, a killed worker's task is done again, a lost task is found."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.services.mail import MailSink
from deploy.services.process import Service
from tests.conftest import ROOT, whole_matrix
from tests.migrated import lay_sqlite

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
_SEND = """
import sys
import django
django.setup()
from django.db import transaction
from django.utils import timezone
from dematmp.mails.services import store
with transaction.atomic():
    store(to="claire@example.fr", subject=sys.argv[1], body="Bonjour", now=timezone.now())
"""


@pytest.fixture(params=["folder", "redis", "rabbitmq"])
def environment(request: pytest.FixtureRequest, tmp_path: Path, smtp: MailSink) -> dict[str, str]:
    smtp.messages.clear()
    values = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_SECRETS_DIR": str(tmp_path / "secrets"),
        "DEMATMP_EMAIL_URL": smtp.url,
    }
    values.pop("DEMATMP_BROKER_URL", None)
    if request.param != "folder":
        service: Service = request.getfixturevalue(request.param)
        values["DEMATMP_BROKER_URL"] = service.url
    lay_sqlite(tmp_path / "dematmp.sqlite3")
    run(values, "manage.py", "migrate", "-v0", "--skip-checks")
    return values


def run(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, capture_output=True)


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    started = start_worker(environment, tmp_path)
    yield started
    stop(started)


def start_worker(
    environment: dict[str, str], folder: Path, *, sweeping: bool = True
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "celery", "-A", "dematmp", "worker"]
    command += ["-B", "-s", str(folder / "beat")] if sweeping else []
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "-c", "1", "-l", "info", "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def stop(worker: "subprocess.Popen[bytes]") -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def received(smtp: MailSink, subject: str, seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(message["Subject"] == subject for message in smtp.messages):
            return True
        time.sleep(0.05)
    return False


def test_a_mail_stored_in_a_transaction_is_sent_by_the_worker(
    environment: dict[str, str], worker: object, smtp: MailSink
) -> None:
    run(environment, "-c", _SEND, "bonjour")
    assert received(smtp, "bonjour")


def test_what_was_asked_while_no_worker_ran_is_done_when_one_comes(
    environment: dict[str, str], tmp_path: Path, smtp: MailSink
) -> None:
    run(environment, "-c", _SEND, "en attente")
    assert not smtp.messages
    started = start_worker(environment, tmp_path)
    try:
        assert received(smtp, "en attente")
    finally:
        stop(started)


def test_what_a_worker_was_doing_when_it_was_killed_is_done_by_the_next(
    environment: dict[str, str], tmp_path: Path, smtp: MailSink
) -> None:
    """Killed while it speaks to a mail server that never greets: the message was taken, and not done.

    A broker gives it again by itself, without a sweep; the folder loses it, and the sweep alone finds it.
    """
    kept = "DEMATMP_BROKER_URL" in environment
    environment["DEMATMP_BROKER_VISIBILITY"] = "5"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        slow = {**environment, "DEMATMP_EMAIL_URL": f"smtp://127.0.0.1:{silent.getsockname()[1]}"}
        killed = start_worker(slow, tmp_path, sweeping=not kept)
        try:
            run(slow, "-c", _SEND, "au milieu")
            held, _ = silent.accept()  # in the middle of the task
        finally:
            stop(killed)
        with held:
            held.settimeout(10)
            assert held.recv(1) == b""  # it is dead indeed
    assert not smtp.messages
    started = start_worker(environment, tmp_path, sweeping=not kept)
    try:
        assert received(smtp, "au milieu")
    finally:
        stop(started)
    assert [message["Subject"] for message in smtp.messages] == ["au milieu"]


def test_a_broker_that_is_down_fails_nothing_and_the_sweep_finds_the_work(
    tmp_path: Path, smtp: MailSink
) -> None:
    smtp.messages.clear()
    values = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_EMAIL_URL": smtp.url,
    }
    lay_sqlite(tmp_path / "dematmp.sqlite3")
    run(values, "manage.py", "migrate", "-v0", "--skip-checks")
    run({**values, "DEMATMP_BROKER_URL": "redis://127.0.0.1:9/0"}, "-c", _SEND, "sans courtier")
    started = start_worker(values, tmp_path)
    try:
        assert received(smtp, "sans courtier")
    finally:
        stop(started)


def test_a_mail_server_that_is_down_loses_nothing(tmp_path: Path, smtp: MailSink) -> None:
    smtp.messages.clear()
    values = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_EMAIL_URL": "smtp://127.0.0.1:9",
    }
    lay_sqlite(tmp_path / "dematmp.sqlite3")
    run(values, "manage.py", "migrate", "-v0", "--skip-checks")
    run(values, "-c", _SEND, "plus tard")
    sweep = "import django; django.setup()\nfrom dematmp.mails.tasks import sweep\nsweep()"
    run(values, "-c", sweep)
    waited = "from dematmp.mails.models import Mail\nMail.objects.update(due_at=None)\n"
    django, _, then = sweep.partition("\n")
    run({**values, "DEMATMP_EMAIL_URL": smtp.url}, "-c", f"{django}\n{waited}{then}")
    assert received(smtp, "plus tard", seconds=1)


@whole_matrix
def test_the_folder_s_worker_outlives_a_crowd_of_writers(tmp_path: Path, smtp: MailSink) -> None:
    """kombu's own transport lets a reader meet a file that is not written yet, and dies of it."""
    smtp.messages.clear()
    values = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_EMAIL_URL": smtp.url,
    }
    values.pop("DEMATMP_BROKER_URL", None)
    lay_sqlite(tmp_path / "dematmp.sqlite3")
    run(values, "manage.py", "migrate", "-v0", "--skip-checks")
    (tmp_path / "broker" / "queue" / "1_x.celery.msg").write_text("")  # what a killed writer of before left
    started = start_worker(values, tmp_path)
    crowd = "import django; django.setup()\nfrom dematmp.mails.tasks import sweep\n"
    crowd += "for _ in range(40):\n    sweep.delay()"
    try:
        writers = [subprocess.Popen([sys.executable, "-c", crowd], cwd=ROOT, env=values) for _ in range(4)]
        assert [writer.wait() for writer in writers] == [0] * 4
        run(values, "-c", _SEND, "la foule passee")
        assert received(smtp, "la foule passee")
        assert started.poll() is None
    finally:
        stop(started)
