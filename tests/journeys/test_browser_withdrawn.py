"""A draft whose deposit was made, its answer lost, then withdrawn: the page that resumes it says so."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Route
from pytest_django.live_server_helper import LiveServer

from dematmp.bids.models import Bid
from dematmp.bids.services import withdraw
from tests.journeys.test_browser_deposit import WAIT, _choose, live_world  # noqa: F401  (a fixture)
from tests.web.chromium import chromium_browser, signed_in
from tests.world import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_withdrawn_deposit_is_not_taken_for_made_when_its_draft_is_resumed(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    made = live_world.publish(closes_in=timedelta(hours=1))
    files = [tmp_path / "DC1.txt", tmp_path / "offre.txt"]
    for path in files:
        path.write_bytes(path.name.encode())

    def lost(route: Route) -> None:
        """Received and done; the answer does not come back."""
        route.fetch()
        route.abort("connectionreset")

    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        context.route("**/finalise", lost)
        _choose(page, made, files[:1], files[1:])
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("La connexion est coupée").wait_for(timeout=WAIT)
        withdraw(Bid.objects.get(consultation=made), by=live_world.bidder, now=timezone.now())
        page.reload()
        context.unroute("**/finalise")
        page.get_by_role("heading", name="Un envoi n'est pas terminé").wait_for()
        page.get_by_label("Les mêmes fichiers").set_input_files(files)
        page.get_by_text("Tous les fichiers sont retrouvés").wait_for()
        page.get_by_role("button", name="Reprendre l'envoi").click()
        page.get_by_text("a été retiré le").first.wait_for(timeout=WAIT)
        page.reload()
        assert page.get_by_role("heading", name="Un envoi n'est pas terminé").count() == 0
        context.close()
    assert Bid.objects.filter(consultation=made).count() == 1
