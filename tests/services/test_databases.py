"""The guarantees that hold on SQLite hold on PostgreSQL, with several processes at once."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.services.postgres import Postgres
from tests.conftest import ROOT
from tests.migrated import create_postgres, lay_sqlite

pytestmark = pytest.mark.services
# The rooms where a lock, a constraint or an order of commits matters.
_FILES = ["tests/bids", "tests/audit", "tests/consultations", "tests/opening", "tests/acts"]
# What has its own processes, or plays at length with the store: the database changes nothing of it.
_APART = [
    "opening/test_signatures.py",
    "opening/test_parallel.py",
    "bids/test_probe.py",
    "bids/test_store_faults.py",
    "bids/test_direct.py",
    "audit/test_checkpoints.py",
    "bids/test_cuts.py",
    "bids/test_part_protocol.py",
    "bids/test_backup_channel.py",
    "audit/test_sealing.py",
    "acts/test_faults.py",
    "acts/test_client.py",
    "acts/test_wire.py",
    "acts/test_stamped_copies.py",
    "acts/test_slow.py",
]
# The suite has its minutes: without DEMATMP_WHOLE_MATRIX, what locks, constrains or commits most.
_FIRST = [
    "audit/test_journal.py",
    "bids/test_postponing.py",
]
WHOLE = bool(os.environ.get("DEMATMP_WHOLE_MATRIX"))
_ONE = "tests/bids/test_backup_channel.py::test_what_the_platform_had_begun_to_receive_is_the_same_deposit"


@pytest.mark.timeout(3600 if WHOLE else 900)
def test_the_same_tests_pass_on_postgresql(postgres: Postgres) -> None:
    environment = {**os.environ, "DEMATMP_DATABASE_URL": postgres.url}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "DEMATMP_STATE_DIR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", _ONE]
    if WHOLE:
        command += [*_FILES, *(f"--ignore=tests/{each}" for each in _APART)]
    else:
        command += [f"tests/{each}" for each in _FIRST]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


_WRITER = """
import django
django.setup()
from django.db import transaction
from django.utils import timezone
from dematmp.audit.services import append
for number in range(40):
    with transaction.atomic():
        append("award", {"n": number}, now=timezone.now())
"""
_BEGIN = """
import sys, uuid
from pathlib import Path
import django
django.setup()
from django.conf import settings
from django.utils import timezone
settings.DEPOSIT_LIMITS = {**settings.DEPOSIT_LIMITS, "attempts": 3}
from dematmp.accounts.models import Organisation, User
from dematmp.bids.attempts import EnvelopeOffer, begin
from dematmp.bids.errors import TooManyBegun
from dematmp.consultations.models import Consultation
from signing.envelope import Ids, Source, seal
folder = Path(sys.argv[1]) / str(uuid.uuid4())
folder.mkdir()
(folder / "f").write_bytes(b"offre")
consultation = Consultation.objects.get(uuid=sys.argv[2])
company, user = Organisation.objects.get(uuid=sys.argv[3]), User.objects.get(uuid=sys.argv[4])
keys, refused = consultation.envelope_keys.get(kind="offre"), 0
for number in range(4):
    ids = Ids(str(consultation.uuid), "1", str(company.uuid), "offre", str(uuid.uuid4()), str(uuid.uuid4()))
    made = seal([Source(folder / "f", "f.txt")], ids=ids, committee=bytes(keys.committee),
                platform=bytes(keys.platform), ceremony=consultation.ceremony_sha256,
                out=folder / str(number))
    offers = [EnvelopeOffer(made.header, made.keys, {each.name: each.size for each in made.objects})]
    try:
        begin(consultation, bidder=company, by=user, offers=offers, client_clock=None, now=timezone.now())
    except TooManyBegun:
        refused += 1
print(refused)
"""
_OPEN = """
import django
django.setup()
from tests.world import make_world
world = make_world()
consultation = world.publish()
print(consultation.uuid, world.company.uuid, world.bidder.uuid)
"""
_CHECK = """
import django
django.setup()
from dematmp.audit.services import verify
print(verify())
"""


Python = Callable[..., "subprocess.Popen[str]"]


def _on_sqlite_too(test: str) -> bool:
    return WHOLE or test.startswith(("test_four_processes", "test_two_machines"))


@pytest.fixture(params=["sqlite", "postgres"])
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Python:
    """Starts a process of a platform on an empty database of its own."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
        "DEMATMP_STATE_DIR": str(tmp_path),
        "DEMATMP_SECRETS_DIR": str(tmp_path / "secrets"),
        "DEMATMP_OBJECT_STORE": f"folder://{tmp_path}/objects",
    }
    environment.pop("DEMATMP_DATABASE_URL", None)
    if request.param == "sqlite" and not _on_sqlite_too(request.node.name):
        pytest.skip("long : DEMATMP_WHOLE_MATRIX=1 le joue")
    if request.param == "postgres":
        service: Postgres = request.getfixturevalue("postgres")
        name = f"four_{uuid.uuid4().hex[:12]}"
        environment["DEMATMP_DATABASE_URL"] = create_postgres(service, name)
    else:
        lay_sqlite(tmp_path / "dematmp.sqlite3")

    def python(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    for command in (["migrate", "-v0"], ["platform_keys"]):
        assert python("manage.py", *command, "--skip-checks").wait() == 0
    return python


def test_four_processes_write_one_journal(python: Python) -> None:
    writers = [python("-c", _WRITER) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    out, _ = python("-c", _CHECK).communicate()
    assert int(out) == 160


_ALONE = """
import signal, sys
from pathlib import Path
import django
django.setup()
from django.conf import settings
from uuid import UUID
from dematmp.bids.alone import alone
settings.STATE_DIR = Path(sys.argv[1])  # a machine of its own
with alone("unseal", UUID(int=2**127 + 1)) as is_alone:
    print(is_alone, flush=True)
    signal.pause()
"""


def test_two_machines_never_unseal_one_session_at_once(
    python: Python, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    one_machine = request.node.callspec.params["python"] == "sqlite"
    said = []
    for turn in range(2):
        machine = tmp_path / ("machine" if one_machine else f"machine-{turn}")
        machine.mkdir(exist_ok=True)
        process = python("-c", _ALONE, machine)
        assert process.stdout is not None
        said.append((process, process.stdout.readline().strip()))
    assert [each for _, each in said] == ["True", "False"]
    for process, _ in said:
        process.kill()
        process.communicate()
    process = python("-c", _ALONE, tmp_path / "machine" if one_machine else tmp_path / "machine-1")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"  # given back by the one that died
    process.kill()
    process.communicate()


def test_one_company_begins_no_more_at_once_than_one_by_one(python: Python, tmp_path: Path) -> None:
    out, _ = python("-c", _OPEN).communicate()
    known = out.split()
    beginners = [python("-c", _BEGIN, tmp_path, *known) for _ in range(4)]
    refused = [int(each.communicate()[0]) for each in beginners]
    assert sum(refused) == 4 * 4 - 3  # of sixteen at once, three are begun


_TOWN = """
import django
django.setup()
from dematmp.accounts.models import Organisation
print(Organisation.objects.create(name="Ville", kind="buyer", siret="21350001500016", department="035",
                                  district="3", authority_nature="31").pk)
"""
_OPERATOR = """
import sys
import django
django.setup()
from django.conf import settings
from django.utils import timezone
from dematmp.accounts.models import Organisation
from dematmp.acts import operators
settings.ACTES = {**settings.ACTES, "ministry_url": "https://ministere.example.fr"}
buyer = Organisation.objects.get(pk=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(operators.operator_of(buyer, now=timezone.now()).agent.pk)
"""


def test_workers_that_first_transmit_for_one_town_at_once_find_one_account(python: Python) -> None:
    town, _ = python("-c", _TOWN).communicate()
    workers = [python("-c", _OPERATOR, town.strip()) for _ in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    said = [worker.communicate()[0].strip() for worker in workers]
    assert len(set(said)) == 1, said
    assert said[0]
