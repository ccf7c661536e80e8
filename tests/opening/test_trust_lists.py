"""Trusted lists that should have been replaced are an alarm before a signature is doubted for it."""

from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.checks import run_checks
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.opening.tasks import watch_lists
from dematmp.opening.trust_lists import shortcomings
from signing.lists_update import from_folder, update
from tests.signing.authority import World
from tests.signing.list_cases import LOTL_URL, Lists, Service
from tests.signing.pdf_cases import asn1


@pytest.fixture
def store(db: None, settings: Settings, tmp_path: Path) -> Path:
    made = Lists.of([Service(World().issuer.identity.certificate)])
    folder = tmp_path / "listes"
    update(
        folder,
        fetch=from_folder(made.write(tmp_path / "source")),
        now=timezone.now(),
        lotl_url=LOTL_URL,
        signers=[asn1(made.lotl_signer.certificate)],
    )
    settings.SIGNATURE_TRUST = [str(folder)]
    return folder


def told() -> list[str]:
    found = run_checks(include_deployment_checks=True)
    return [str(each.msg) for each in found if each.id == "opening.W001"]


def test_stale_lists_are_told_by_the_check_and_in_the_log(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch_lists()
    assert (told(), caplog.messages) == ([], [])
    with time_machine.travel(timezone.now() + timedelta(days=400)):
        assert "périmée" in told()[0]
        watch_lists()
    assert any("périmée" in each and "lists-update" in each for each in caplog.messages)


def test_a_folder_without_lists_and_a_refused_one_are_told(
    store: Path, settings: Settings, tmp_path: Path
) -> None:
    empty = tmp_path / "vide"
    empty.mkdir()
    settings.SIGNATURE_TRUST = [str(empty)]
    assert "aucune liste" in told()[0]
    settings.SIGNATURE_TRUST = [str(tmp_path / "ca.pem")]  # a file: there are no lists to watch
    assert shortcomings(timezone.now()) == []
