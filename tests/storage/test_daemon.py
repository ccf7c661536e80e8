"""The running clamd is tried: with the settings shipped it says what it could not scan; without, not."""

from datetime import UTC, datetime

import pytest
from django.core.checks import WARNING
from pytest_django.fixtures import Settings

from deploy.services.clamd import Clamd
from storage.checks import antivirus_honest
from storage.daemon import shortcomings, signatures_date

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_the_settings_shipped_are_enough(clamd: Clamd, settings: Settings) -> None:
    settings.ANTIVIRUS_URL = clamd.url
    assert shortcomings(clamd.url, now=NOW, largest=2**31) == []
    assert antivirus_honest(None) == []


@pytest.mark.usefixtures("clamd")
def test_a_daemon_that_calls_clean_what_it_cannot_scan_is_found_out(settings: Settings) -> None:
    left_out = ("AlertExceedsMax", "AlertEncrypted", "AlertEncryptedArchive")
    with Clamd(without=left_out) as careless:
        settings.ANTIVIRUS_URL = careless.url
        said = [each.msg for each in antivirus_honest(None)]
    assert len(said) == 2
    assert "mot de passe" in said[0]
    assert "dépasse ses limites" in said[1]


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        (("MaxFileSize",), "MaxFileSize"),
        (("AlertEncrypted", "AlertEncryptedDoc"), "un PDF protégé"),
        (("AlertOLE2Macros",), "AlertOLE2Macros"),
    ],
)
def test_a_daemon_that_calls_clean_what_it_did_not_read_is_found_out(
    clamd: Clamd, left_out: tuple[str, ...], named: str
) -> None:
    with Clamd(without=left_out) as careless:
        (said,) = shortcomings(careless.url, now=NOW)
    assert named in said


@pytest.mark.usefixtures("clamd")
def test_a_daemon_that_cuts_long_files_is_found_out(settings: Settings) -> None:
    with Clamd(stream="100M") as short:
        settings.ANTIVIRUS_URL = short.url
        assert shortcomings(short.url, now=NOW, largest=100 * 1024**2) == []
        (said,) = antivirus_honest(None)
    assert "StreamMaxLength" in said.msg


def test_an_antivirus_that_is_down_is_said(settings: Settings) -> None:
    settings.ANTIVIRUS_URL = "tcp://127.0.0.1:9"
    (said,) = antivirus_honest(None)
    assert (said.id, said.level) == ("storage.W002", WARNING)
    assert "rien n'en est servi" in said.msg
    settings.ANTIVIRUS_URL = "none"
    assert antivirus_honest(None) == []


@pytest.mark.parametrize(
    ("engine", "dated"),
    [
        ("ClamAV 1.4.6/27500/Mon Nov 24 09:30:12 2026", datetime(2026, 11, 24, 9, 30, 12, tzinfo=UTC)),
        ("ClamAV 1.4.6/27500/Mon Nov  2 09:30:12 2026", datetime(2026, 11, 2, 9, 30, 12, tzinfo=UTC)),
        ("ClamAV 1.4.6", None),
        ("ClamAV 1.4.6/1/Mon Nov 99 09:30:12 2026", None),
    ],
)
def test_the_age_of_the_signatures_is_read(engine: str, dated: datetime | None) -> None:
    assert signatures_date(engine) == dated


def test_old_signatures_are_told(clamd: Clamd, monkeypatch: pytest.MonkeyPatch) -> None:
    """clamd's own base has a date; the small one of the tests has none."""
    old = "ClamAV 1.4.6/27500/Mon Nov 16 09:30:12 2026"
    monkeypatch.setattr("storage.daemon.version", lambda _: old)
    assert shortcomings(clamd.url, now=NOW) == [
        "ses signatures datent du 16/11/2026 : freshclam ne tourne plus"
    ]
