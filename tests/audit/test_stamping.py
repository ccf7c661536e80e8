"""The authorities of time that the settings name: one that is mistyped stops nothing, and is said."""

from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.checks import timestamp_authorities
from dematmp.audit.keys import create_keys
from dematmp.audit.models import EntryToken, PublicCheckpoint
from dematmp.audit.stamping import ask_token
from dematmp.audit.tasks import copy_journal
from dematmp.bids.models import Bid
from dematmp.bids.tasks import stamp_bid
from signing import timestamps
from storage.stores import object_store
from tests.audit.test_checkpoints import alone
from tests.world import World

__all__ = ["alone"]

WRONG = (
    "https://tsa.example:80a/",
    "http://[::1",
    "http://tsa.example:99999/",
    "ftp://tsa.example/",
    "tsa.example",
    "http://tsa .example/",
)


@pytest.mark.parametrize("url", WRONG)
def test_a_mistyped_address_is_told_at_start_and_the_next_authority_asked(
    db: None,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    monkeypatch.setattr(timestamps, "_resting", timestamps._Resting())
    create_keys(now=timezone.now())
    settings.TSA_URLS = [url, "embedded"]
    settings.TSA_TRUST = [str(Path(settings.SECRETS_DIR) / "pki" / "ca.pem")]
    assert [each.id for each in timestamp_authorities(None)] == ["audit.E005"]
    assert ask_token(b"fait", now=timezone.now())[0].authority == "embedded"
    assert any(url in each.message for each in caplog.records)
    settings.TSA_URLS = ["https://tsa.example:8080/tsa?a=b", "embedded"]
    assert timestamp_authorities(None) == []


def test_a_mistyped_address_stops_neither_receipts_nor_the_copy(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    consultation = world.publish()
    settings.TSA_URLS, settings.WITNESSES = [WRONG[0], "embedded"], [f"{WRONG[0]} temoin+1+1"]
    world.deposit(consultation, tmp_path)
    bid = Bid.objects.get()
    stamp_bid(bid.pk)
    bid.refresh_from_db()
    assert bid.token
    assert bid.receipt_pdf
    copy_journal()
    assert object_store().exists("journal/checkpoint")
    assert EntryToken.objects.exists()
    assert not PublicCheckpoint.objects.filter(token=None).exists()


def test_the_copy_is_made_before_any_authority_is_asked(
    db: None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dematmp.audit import tasks

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    world.publish()
    monkeypatch.setattr(tasks, "complete", killed)
    with pytest.raises(SystemExit):
        copy_journal()
    assert object_store().read("journal/checkpoint").decode() == PublicCheckpoint.objects.get().note
