"""The keyboard of the journeys refuses what somebody without a mouse would be stopped by."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from tests.conftest import whole_matrix
from tests.journeys.keyboard import Keyboard
from tests.web.chromium import chromium_browser
from tests.world import World, make_world

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def live_world(transactional_db: None) -> World:
    return make_world()


@pytest.fixture
def browser(live_world: World, chromium: str) -> Iterator[Browser]:
    with chromium_browser(chromium) as started:
        yield started


_SET = "document.querySelector('main [type=submit]').style.setProperty"
_FAULTS = {
    "hors d'atteinte": "document.querySelector('main [type=submit]').tabIndex = -1",
    "focus invisible": f"{_SET}('outline', 'none', 'important')",
    "même contour": f"{_SET}('outline', '3px solid red', 'important')",
    "hors de la fenêtre": f"{_SET}('position', 'fixed'); {_SET}('left', '-999px')",
    "caché par": "Object.assign(document.querySelector('footer').style, {position: 'fixed', inset: '0'})",
}


@whole_matrix
def test_a_control_that_cannot_be_reached_or_seen_stops_the_journey(
    browser: Browser, live_server: LiveServer
) -> None:
    for fault, script in _FAULTS.items():
        keyboard = Keyboard(browser, live_server)
        keyboard.page.evaluate(script)
        with pytest.raises(AssertionError, match=fault):
            keyboard.press("Rechercher")
            keyboard.press("Mode sombre")
        keyboard.context.close()


def test_a_focus_lost_by_an_action_stops_the_journey(browser: Browser, live_server: LiveServer) -> None:
    keyboard = Keyboard(browser, live_server)
    keyboard.page.evaluate(
        "document.querySelector('[data-theme-switch]').addEventListener('click', (e) => e.target.blur())"
    )
    keyboard.press("Mode sombre")
    with pytest.raises(AssertionError, match="focus perdu"):
        keyboard.press("Rechercher")


def test_a_mouse_stops_the_journey(browser: Browser, live_server: LiveServer) -> None:
    keyboard = Keyboard(browser, live_server)
    keyboard.page.mouse.click(5, 5)
    with pytest.raises(AssertionError, match="souris"):
        keyboard.leave()


def test_the_whole_search_goes_without_a_mouse(browser: Browser, live_server: LiveServer) -> None:
    keyboard = Keyboard(browser, live_server)
    keyboard.write("Mots-clés", "introuvable")
    keyboard.press("Rechercher")
    keyboard.told("Aucune consultation ne correspond")
    keyboard.leave()
