"""A receipt compared in a real Chromium with the journal that the site publishes, and with its witnesses."""

import json
import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.audit import copies, mark
from dematmp.audit.checkpoints import complete, publish
from dematmp.audit.keys import journal_signer
from dematmp.audit.models import Entry, EntryToken, Head, PublicCheckpoint, Tile
from dematmp.audit.services import append
from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt
from signing import tlog
from signing.cosigning import Cosigner
from tests.audit.test_checkpoints import Running, alone, witness
from tests.journeys.test_browser_receipt import bid, verdict
from tests.web.chromium import chromium_browser

__all__ = ["alone", "bid", "witness"]
pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def published(*, more: int = 0) -> int:
    with transaction.atomic():
        for number in range(more):
            append("award", {"n": number}, now=timezone.now())
    kept = publish(now=timezone.now())
    assert kept is not None
    complete(kept, now=timezone.now())
    return kept.size


def told(page: Page) -> str:
    return "\n".join(page.locator("[data-steps] li").all_inner_texts())


def test_the_journal_of_today_continues_that_of_the_receipt(
    live_server: LiveServer, chromium: str, witness: Running, bid: Bid, tmp_path: Path
) -> None:
    said = receipt(bid)
    (tmp_path / "a.json").write_text(json.dumps(said))
    with chromium_browser(chromium) as browser:
        page = browser.new_context(base_url=live_server.url).new_page()
        page.goto(reverse("check-receipt"))
        for more in (0, 1, 2, 300, 600):
            size = published(more=more)
            assert "authentique" in verdict(page, tmp_path / "a.json")
            assert f"Le journal publié aujourd'hui ({size} entrées) prolonge celui de l'accusé" in told(page)
            assert "Le témoin « temoin.example » a cosigné ce journal, le " in told(page)
        page.locator("#temoins").fill(Cosigner("temoin.example", os.urandom(32)).verifier_key)
        verdict(page, tmp_path / "a.json")
        assert "NON COSIGNÉ par le témoin « temoin.example »" in told(page)
        page.locator("#temoins").fill("")
        verdict(page, tmp_path / "a.json")
        assert "aucun témoin n'est donné" in told(page)
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []


def test_a_journal_that_was_rewritten_or_shortened_is_told(
    live_server: LiveServer, chromium: str, bid: Bid, tmp_path: Path
) -> None:
    said, signer = receipt(bid), journal_signer()
    (tmp_path / "a.json").write_text(json.dumps(said))
    size = published(more=300)

    def lie(size: int) -> None:
        note = signer.sign(tlog.Checkpoint(signer.name, size, bytes(32)).text())
        Head.objects.update(published_size=size, published_note=note)

    with chromium_browser(chromium) as browser:
        page = browser.new_context(base_url=live_server.url).new_page()
        page.goto(reverse("check-receipt"))
        lie(size)  # signed by the true key, and of another tree
        assert "il a été réécrit" in verdict(page, tmp_path / "a.json")
        lie(1)
        assert "plus court que celui de cet accusé" in verdict(page, tmp_path / "a.json")
        assert "NON COMPARÉ au journal publié : il compte 1 entrée" in told(page)


def test_a_receipt_of_a_journal_that_was_succeeded(
    live_server: LiveServer, chromium: str, bid: Bid, tmp_path: Path, settings: Settings
) -> None:
    """The page knows both keys, and each signs its own checkpoint."""
    from dematmp.audit.succession import succeed

    (tmp_path / "a.json").write_text(json.dumps(receipt(bid)))
    settings.JOURNAL_ORIGIN = "renouveau.example/journal"
    try:
        succeed(reason="disque perdu", now=timezone.now())
        published(more=3)
        with chromium_browser(chromium) as browser:
            page = browser.new_context(base_url=live_server.url).new_page()
            page.goto(reverse("check-receipt"))
            assert "authentique" in verdict(page, tmp_path / "a.json")
            assert "prolonge celui de l'accusé" in told(page)
    finally:
        (settings.SECRETS_DIR / "journal.former").unlink(missing_ok=True)


def _lose_entries(kept: int) -> None:
    """As a database restored from before, on a new machine and a new store: its first entries only."""
    for model in (EntryToken, PublicCheckpoint, Tile):
        model.objects.all().delete()
    Entry.objects.filter(index__gte=kept).delete()
    mark._path().unlink(missing_ok=True)
    copies._not_before = 0.0
    hashes = [tlog.leaf_hash(bytes(each.leaf)) for each in Entry.objects.order_by("index")]
    grown, signer = tlog.append(0, lambda level, index: b"", hashes), journal_signer()
    Tile.objects.bulk_create(
        [Tile(level=level, index=index, hashes=data) for (level, index), data in grown.tiles.items()]
    )
    note = signer.sign(tlog.Checkpoint(signer.name, kept, grown.root).text())
    Head.objects.update(size=kept, note=note, published_size=0, published_note="")


def test_a_receipt_whose_entry_a_succession_lost_stays_authentic_and_is_told(
    live_server: LiveServer, chromium: str, bid: Bid, tmp_path: Path, settings: Settings
) -> None:
    """While the new journal is shorter than the receipt's, and once it is longer."""
    from dematmp.audit.succession import succeed

    said = receipt(bid)
    (tmp_path / "a.json").write_text(json.dumps(said))
    _lose_entries(said["journal"]["index"])
    former = journal_signer().name
    settings.JOURNAL_ORIGIN = "renouveau.example/journal"
    try:
        succeed(reason="disque perdu", now=timezone.now())
        with chromium_browser(chromium) as browser:
            page = browser.new_context(base_url=live_server.url).new_page()
            page.goto(reverse("check-receipt"))
            for more in (0, 30, 300):
                published(more=more)
                words = verdict(page, tmp_path / "a.json")
                assert "authentique" in words
                assert (
                    f"« {former} » a été remplacé par « renouveau.example/journal », qui n'en a pas repris"
                    in words
                )
                assert "NON COMPARÉ au journal publié" in told(page)
                assert page.locator("[data-verdict].notice-warn").count() == 1
            for width in (1280, 375):
                page.set_viewport_size({"width": width, "height": 800})
                assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    finally:
        (settings.SECRETS_DIR / "journal.former").unlink(missing_ok=True)
