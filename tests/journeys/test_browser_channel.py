"""The browser turns to the backup channel by itself, whenever the platform stopped answering."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Route
from pytest_django.live_server_helper import LiveServer

from dematmp.bids import visits
from dematmp.bids.importing import pull
from dematmp.bids.models import Bid
from tests.channel import Channel
from tests.conftest import whole_matrix
from tests.journeys.test_browser_deposit import (
    MIB,
    WAIT,
    _choose,
    _files,
    _opened_as_deposited,
    live_world,
    pytestmark,
)
from tests.web.chromium import chromium_browser, signed_in
from tests.world import World

__all__ = ["live_world", "pytestmark"]


def test_a_platform_that_stops_answering_is_replaced_by_its_backup_channel(
    live_world: World, live_server: LiveServer, chromium: str, channel: Channel, tmp_path: Path
) -> None:
    """After some parts, every request to the platform fails: the page turns to the channel by itself."""
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    channel.manage("backup_channel", "mirror")
    offre = _files(tmp_path / "offre", 3, 20 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    parts: list[str] = []

    def down(route: Route) -> None:
        if route.request.method == "PUT":
            parts.append(route.request.url)
        if len(parts) > 3:
            route.abort("connectionrefused")
        else:
            route.continue_()

    with chromium_browser(chromium) as browser:
        page = signed_in(browser, live_server, live_world.bidder).new_page()
        page.route(f"{live_server.url}/api/v1/attempts/**", down)
        _choose(page, consultation, candidature, offre)
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("Dépôt reçu par le canal de secours").wait_for(timeout=WAIT)
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        with page.expect_download() as download:
            page.get_by_role("link", name="Télécharger l'accusé").click()
        receipt = json.loads(Path(download.value.path()).read_text())
    assert len(parts) > 3
    assert pull(now=timezone.now()) == 1
    assert Bid.objects.get(consultation=consultation).number == receipt["number"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visits, "is_reconciled", lambda _: True)  # the channel's clock does not travel
        _opened_as_deposited(live_world, consultation, [*candidature, *offre])


@whole_matrix
def test_a_platform_that_stops_while_files_are_chosen_is_replaced_too(
    live_world: World, live_server: LiveServer, chromium: str, channel: Channel, tmp_path: Path
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    channel.manage("backup_channel", "mirror")
    (tmp_path / "offre.txt").write_bytes(b"offre")
    (tmp_path / "DC1.txt").write_bytes(b"candidature")
    with chromium_browser(chromium) as browser:
        page = signed_in(browser, live_server, live_world.bidder).new_page()
        with page.expect_response("**/api/v1/channel/pass"):
            _choose(page, consultation, [tmp_path / "DC1.txt"], [tmp_path / "offre.txt"])
        page.route(f"{live_server.url}/api/v1/**", lambda route: route.abort("connectionrefused"))
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("Dépôt reçu par le canal de secours").wait_for(timeout=WAIT)
    assert pull(now=timezone.now()) == 1
    assert Bid.objects.get(consultation=consultation).channel_key
