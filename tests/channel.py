"""A second platform in the role `backup-deposit`: a real process, with everything its own."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.utils import timezone

from dematmp.audit.keys import channel_signer, create_keys
from dematmp.demo.runtime import ROOT, Processes, free_port, wait_for
from tests.migrated import lay_sqlite

_MADE_BY_MIGRATIONS = ("django_migrations", "django_content_type", "auth_permission", "django_site")


class Channel:
    """The other platform: its address, and a way to run its commands."""

    def __init__(self, url: str, environment: dict[str, str]) -> None:
        self.url, self.key, self._environment = url, "", environment

    def empty(self) -> None:
        """What `manage.py flush` does, without starting a process for it.

        The longest journal that it saw is forgotten too: it would take the new one for a restored database.
        """
        (Path(self._environment["DEMATMP_SECRETS_DIR"]) / "journal.seen").unlink(missing_ok=True)
        path = Path(self._environment["DEMATMP_STATE_DIR"]) / "dematmp.sqlite3"
        with closing(sqlite3.connect(path, timeout=20)) as base, base:
            rows = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in rows:
                if table not in _MADE_BY_MIGRATIONS:
                    base.execute(f'DELETE FROM "{table}"')

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", arguments[0], "--skip-checks", *arguments[1:]]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def running_channel(main: str, state: Path) -> Iterator[Channel]:
    """A real gunicorn in the role `backup-deposit`, with its own database, folder, journal and keys."""
    create_keys(now=timezone.now())
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEMATMP_")} | {
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_ROLE": "backup-deposit",
        "DEMATMP_STATE_DIR": str(state),
        "DEMATMP_SECRETS_DIR": str(state / "secrets"),
        "DEMATMP_SITE_URL": main,
        "DEMATMP_MAIN_URL": main,
        "DEMATMP_MAIN_KEY": channel_signer().verifier_key,
        "DEMATMP_JOURNAL_ORIGIN": "secours.example/journal",
    }
    made = Channel(url, environment)
    lay_sqlite(state / "dematmp.sqlite3")
    made.manage("migrate", "-v0")
    made.key = made.manage("platform_keys").split("journal : ", 1)[1].splitlines()[0]
    processes = Processes(state / "journaux", environment)
    gunicorn = ["-m", "gunicorn", "dematmp.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    processes.start("secours", sys.executable, *gunicorn, "--worker-class", "gthread", "--threads", "4")
    try:
        wait_for(f"{url}/api/v1/time")
        yield made
    finally:
        processes.stop()
