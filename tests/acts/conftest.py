"""The transmission service in this process, with its authority, its accounts and a real ministry beside."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from dematmp.acts.models import Authority
from dematmp.audit.keys import create_keys
from deploy.ministry import Ministry
from deploy.services.nginx import Nginx
from deploy.services.pki import TestAuthority
from tests.acts.service import SECRET, Caller, agent, authority, ministry_in
from tests.acts.stack import Running
from tests.conftest import absent


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def service(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings of the service, to be changed by a test."""
    monkeypatch.setitem(vars(connections["default"]), "close_if_unusable_or_obsolete", lambda: None)
    create_keys(now=timezone.now())
    settings.ACTES = {**settings.ACTES, "front_secret": SECRET, "retry_seconds": 0.0, "grace_seconds": 0.0}
    return settings


@pytest.fixture
def town(service: Any) -> Authority:
    return authority()


@pytest.fixture
def lea(town: Authority, pki: TestAuthority) -> Caller:
    """An agent who may do everything, alone on her certificate."""
    held = pki.client("lea")
    agent(town, held)
    return Caller(held)


@pytest.fixture
def ministry(service: Any, tmp_path: Path) -> Iterator[Ministry]:
    """A ministry that answers at once, by mail in a Maildir."""
    with ministry_in(tmp_path) as (made, url):
        service.ACTES = {
            **service.ACTES,
            "ministry_url": url,
            "return_box": f"maildir://{tmp_path / 'Maildir'}",
        }
        yield made


@pytest.fixture
def on_commit(django_capture_on_commit_callbacks: Callable[..., Any]) -> Callable[..., Any]:
    return django_capture_on_commit_callbacks


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """nginx, gunicorn, a worker and a ministry over TLS; a loud skip without nginx."""
    reason = Nginx.missing()
    if reason:
        absent(reason)
    made = Running(tmp_path_factory.mktemp("wire"))
    yield made
    made.stack.stop()
