"""Databases migrated once for a whole run of the tests, then copied.

Migrating takes about seven seconds of a processor, and twenty platforms of the tests begin with an empty one.
Each still runs `migrate`, which then finds nothing to do.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.services.postgres import Postgres
from deploy.services.process import Service

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "DEMATMP_TEST_MIGRATED"  # the folder of the copies, shared by the run's processes


def lay_sqlite(path: Path) -> None:
    """A migrated SQLite database at `path`, where there was none."""

    def make(made: Path) -> None:
        state = made.with_suffix(".state")
        _migrate({"DEMATMP_STATE_DIR": str(state), "DEMATMP_SECRETS_DIR": str(state / "secrets")})
        shutil.move(state / "dematmp.sqlite3", made)

    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_once("sqlite3", make), path)


def create_postgres(service: Postgres, name: str) -> str:
    """A migrated database of that name; its address."""
    at = ["-h", "127.0.0.1", "-p", str(service.port), "-U", "app"]

    def program(name: str, *arguments: str) -> None:
        command = [str(Service.find(name)), *at, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def make(made: Path) -> None:
        first = f"migrated_{os.getpid()}"
        program("createdb", first)
        folders = {"DEMATMP_STATE_DIR": str(made.with_suffix(".state"))}
        _migrate({"DEMATMP_DATABASE_URL": service.url.replace("/postgres", f"/{first}"), **folders})
        program("pg_dump", "-f", str(made), first)
        program("dropdb", first)

    dump = _once("sql", make)
    program("createdb", name)
    program("psql", "-q", "-X", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(dump), name)
    return service.url.replace("/postgres", f"/{name}")


def _once(kind: str, make: Callable[[Path], None]) -> Path:
    """What the first of the run's processes to ask makes, and the others wait for."""
    folder = Path(os.environ[FOLDER])
    made, draft = folder / f"migrated.{kind}", folder / f"draft.{kind}"
    with (folder / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(draft)
            draft.rename(made)
    return made


def _migrate(environment: dict[str, str]) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DEMATMP_")}
    command = [sys.executable, "manage.py", "migrate", "-v0", "--skip-checks"]
    values = {**ours, "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev", **environment}
    done = subprocess.run(command, cwd=ROOT, env=values, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
