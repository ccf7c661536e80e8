"""The role of deploy/postgres/roles.sql: the platform works with it, and it only adds to the journal."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from deploy.services.postgres import Postgres
from tests.conftest import ROOT

pytestmark = pytest.mark.services
_WORK = """
import django
django.setup()
from pathlib import Path
import sys
from django.utils import timezone
from dematmp.audit.services import verify
from dematmp.audit.checkpoints import complete, publish
from dematmp.audit.tokens import stamp_entries
from dematmp.bids.tasks import sweep
from tests.world import make_world
world = make_world()
consultation = world.publish()
assert world.deposit(consultation, Path(sys.argv[1]))["state"] == "in-time"
sweep()
complete(publish(now=timezone.now()), now=timezone.now())
assert stamp_entries(timezone.now) >= 1
assert verify() > 10
"""


@pytest.fixture
def database(postgres: Postgres, tmp_path: Path) -> dict[str, str]:
    """A migrated database of an owner, once the script gave its role to the processes."""
    name = f"roles_{os.getpid()}"
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute(f'DROP DATABASE IF EXISTS "{name}"')
        owner.execute(f'CREATE DATABASE "{name}"')
    url = postgres.url.rsplit("/", 1)[0] + f"/{name}"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_SECRETS_DIR": str(tmp_path / "secrets"),
        "DEMATMP_DATABASE_URL": url,
    }
    migrate = [sys.executable, "manage.py", "migrate", "-v0", "--skip-checks"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True, capture_output=True)
    script = (ROOT / "deploy" / "postgres" / "roles.sql").read_text()
    with psycopg.connect(url, autocommit=True) as owner:
        for _ in range(2):
            owner.execute(script)
    return environment | {"DEMATMP_DATABASE_URL": url.replace("//app@", "//dematmp_app@")}


def test_the_platform_works_with_it_and_cannot_rewrite_its_journal(
    database: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _WORK, str(tmp_path / "draft")]
    done = subprocess.run(command, cwd=ROOT, env=database, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with psycopg.connect(database["DEMATMP_DATABASE_URL"], autocommit=True) as role:
        for forbidden in (
            "UPDATE audit_entry SET kind = 'autre'",
            "DELETE FROM audit_entry",
            "UPDATE audit_entrytoken SET authority = 'autre'",
            "DELETE FROM audit_entrytoken",
            "TRUNCATE audit_entry",
            "DELETE FROM audit_tile",
            "UPDATE audit_tile SET hashes = substring(hashes FROM 1 FOR 32) WHERE length(hashes) > 32",
            "UPDATE audit_tile SET hashes = decode(repeat('00', 64), 'hex')",
            "UPDATE audit_tile SET index = index + 1",
            "UPDATE audit_head SET size = size - 1",
            "UPDATE audit_head SET published_size = 0",
            "UPDATE audit_publiccheckpoint SET note = 'autre'",
            "UPDATE audit_publiccheckpoint SET size = size - 1",
            "UPDATE audit_publiccheckpoint SET token = NULL",
            "DROP TRIGGER audit_only_grows ON audit_tile",
            "DELETE FROM audit_head",
            "DELETE FROM audit_publiccheckpoint",
            "DROP TABLE audit_entry",
            "DELETE FROM django_migrations",
            "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(forbidden)
