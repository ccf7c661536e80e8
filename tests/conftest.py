"""Real services for the tests, started the first time a test asks for them and stopped at the end.

A service that cannot start is a loud skip, listed at the end of the run; with CI=true it is a failure.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.db import connection
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from deploy.services.brokers import RabbitMQ, Redis
from deploy.services.ceph import Ceph
from deploy.services.clamd import Clamd
from deploy.services.mail import MailSink
from deploy.services.postgres import Postgres
from deploy.services.process import Service
from storage.stores import object_store
from tests import migrated
from tests.channel import Channel, running_channel
from tests.world import World, make_world

ROOT = Path(__file__).resolve().parents[1]
# The suite has its minutes: what repeats at length what a shorter test shows waits for DEMATMP_WHOLE_MATRIX.
whole_matrix = pytest.mark.skipif(
    not os.environ.get("DEMATMP_WHOLE_MATRIX"), reason="long : DEMATMP_WHOLE_MATRIX=1 le joue"
)
_ABSENT: set[str] = set()


def absent(reason: str) -> None:
    """Skip loudly, or fail where everything must be there."""
    _ABSENT.add(reason)
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


# What takes minutes begins first: no process is left alone with it at the end (--no-loadscope-reorder).
_LONGEST = (
    "secrecy/test_secrecy.py",
    "journeys/test_demo.py",
    "services/test_databases.py",
    "services/test_deadline_race.py",
    "services/test_kill_matrix.py",
    "web/test_browser.py",
    "bids/test_backup_channel.py",
    "journeys/",
    "services/",
    "acts/test_faults.py",
    "storage/",
    "acts/",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        where = item.path.relative_to(ROOT / "tests").as_posix()
        return next((n for n, each in enumerate(_LONGEST) if where.startswith(each)), len(_LONGEST))

    items.sort(key=rank)  # stable: the rest stays in its random order


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[migrated.FOLDER] = tempfile.mkdtemp(prefix="dematmp-migrated-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[migrated.FOLDER], ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ABSENT:
        terminalreporter.section("NON TESTÉ, faute de moyens")
        for reason in sorted(_ABSENT):
            terminalreporter.line(reason)


def _running(service: Service) -> Iterator[Service]:
    reason = service.missing()
    if reason:
        absent(reason)
    with service:
        yield service


@pytest.fixture(scope="session")
def postgres() -> Iterator[Service]:
    yield from _running(Postgres())


@pytest.fixture(scope="session")
def ceph() -> Iterator[Service]:
    yield from _running(Ceph())


@pytest.fixture(scope="session")
def ceph_tls() -> Iterator[Service]:
    """The same engine over TLS, with a certificate of its own: boto3 then writes other requests."""
    yield from _running(Ceph(tls=True))


@pytest.fixture(scope="session")
def clamd() -> Iterator[Service]:
    yield from _running(Clamd())


@pytest.fixture(scope="session")
def redis() -> Iterator[Service]:
    yield from _running(Redis())


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Service]:
    yield from _running(RabbitMQ())


@pytest.fixture(scope="session")
def smtp() -> Iterator[MailSink]:
    with MailSink() as sink:
        yield sink


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a real Chromium."""
    path = Service.find("chromium") or Service.find("google-chrome")
    if path is None:
        absent("Chromium : il manque chromium (paquet Debian : chromium)")
    return str(path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Official schemas and real messages, which this repository does not carry."""
    folder = Path(os.environ.get("DEMATMP_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        reason = (
            "Schémas officiels absents : le dossier « shared » (DEMATMP_SHARED) n'est pas à côté du dépôt"
        )
        _ABSENT.add(reason)
        pytest.skip(reason)
    return folder / "data"


@pytest.fixture(scope="session")
def django_db_keepdb(request: pytest.FixtureRequest) -> bool:
    """The test database in SQLite is a migrated copy, in a folder that goes with the process."""
    return connection.vendor == "sqlite" or bool(request.config.getvalue("reuse_db"))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    if connection.vendor == "sqlite":
        migrated.lay_sqlite(Path(connection.settings_dict["TEST"]["NAME"]))


@pytest.fixture(autouse=True)
def clock_of_now() -> None:
    """Another test may have travelled in time, or had a longer journal in a database that is gone."""
    (configured.SECRETS_DIR / "pki" / "tsa.state").unlink(missing_ok=True)
    (configured.SECRETS_DIR / "journal.seen").unlink(missing_ok=True)
    for key in list(object_store().list("journal")):
        object_store().delete(key)


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world, in this test's transaction: requests made in this process must not close its connection."""
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)
    return make_world()


@pytest.fixture(scope="module")
def channel_process(live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    with running_channel(live_server.url, tmp_path_factory.mktemp("secours")) as made:
        yield made


@pytest.fixture
def channel(transactional_db: None, channel_process: Channel, settings: Settings) -> Channel:
    """The backup channel of the live server, emptied: each test makes its organisations anew."""
    channel_process.empty()
    url = channel_process.url
    settings.BACKUP_CHANNEL = {"url": url, "journal_key": channel_process.key, "origins": []}
    return channel_process
