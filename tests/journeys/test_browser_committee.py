"""The committee's whole work in a real Chromium: protectors, ceremony, rehearsal, opening by two of three."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from dematmp.audit.models import Entry
from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpenedFile, OpeningSession, Protector
from dematmp.opening.tasks import unseal_session
from dematmp.opening.unsealing import unseal_all
from signing.protectors import unlock_protector
from storage.stores import object_store
from tests.web.chromium import chromium_browser, signed_in
from tests.world import World, make_world

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
WAIT = 60_000  # milliseconds


@pytest.fixture
def live_world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)  # the test unseals in this process
    return make_world()


def apart(work: Callable[[], object]) -> None:
    """In a thread of its own: Playwright's event loop occupies this one."""

    def done() -> None:
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(done).result()


def phrase(user: User) -> str:
    return f"phrase de {user.first_name} 42"


def _page(browser: Browser, server: LiveServer, user: User) -> Page:
    page = signed_in(browser, server, user).new_page()
    page.set_default_timeout(WAIT)
    return page


def _session(page: Page, consultation: Consultation) -> None:
    page.goto(reverse("session", kwargs={"consultation": consultation.uuid}))


def _accessible(page: Page) -> None:
    """No axe violation, no overflow, at both widths."""
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["target"]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def _with_phrase(page: Page, heading: str, button: str, text: str) -> None:
    form = page.locator("form", has=page.get_by_role("heading", name=heading))
    form.get_by_label("Votre phrase secrète").fill(text)
    form.get_by_role("button", name=button).click()


def test_the_committee_does_everything_in_its_browser(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    world = live_world
    consultation = world.draft()
    with chromium_browser(chromium) as browser:
        pages = {user.pk: _page(browser, live_server, user) for user in world.members}
        for user in world.members:
            page = pages[user.pk]
            page.goto(reverse("committee"))
            _accessible(page)
            page.get_by_label("La même, pour vérifier").fill(phrase(user))
            _with_phrase(page, "Créer mon protecteur", "Créer mon protecteur", phrase(user))
            page.get_by_text("Votre protecteur est créé").wait_for()
        first = Protector.objects.get(user=world.members[0])
        assert len(unlock_protector(bytes(first.wrapped or b""), phrase(world.members[0]))) == 32
        start_ceremony(consultation, members=world.members, threshold=2, by=world.agent, now=timezone.now())
        president = pages[world.members[0].pk]
        _session(president, consultation)
        _accessible(president)
        # The keyboard alone: the button is reached and pressed.
        president.get_by_role("button", name="Fabriquer et répartir les clés").focus()
        president.keyboard.press("Enter")
        president.get_by_role("heading", name="Vérifier et confirmer ma part").wait_for()
        for user in world.members:
            page = pages[user.pk]
            _session(page, consultation)
            if user == world.members[1]:
                _with_phrase(
                    page, "Vérifier et confirmer ma part", "Vérifier et confirmer", "une autre phrase"
                )
                page.get_by_text("Phrase secrète fausse").wait_for()
            _with_phrase(page, "Vérifier et confirmer ma part", "Vérifier et confirmer", phrase(user))
            page.get_by_role("heading", name="Vérifier que je peux ouvrir").wait_for()
        page = pages[world.members[2].pk]
        _with_phrase(page, "Vérifier que je peux ouvrir", "Vérifier", phrase(world.members[2]))
        page.get_by_text("vérifiée le").first.wait_for()
        assert Entry.objects.filter(kind="rehearsal").count() == 1

        consultation.refresh_from_db()
        deadline = (datetime.now(UTC) + timedelta(seconds=8)).replace(microsecond=0)
        services.set_deadline(consultation, at=deadline, by=world.agent, now=timezone.now())
        services.submit(consultation, by=world.agent, now=timezone.now())
        services.validate(consultation, by=world.validator, now=timezone.now())
        services.publish(consultation, by=world.validator, now=timezone.now())
        consultation.refresh_from_db()
        apart(lambda: world.deposit(consultation, tmp_path, files={"offre.txt": b"mon offre"}))
        time.sleep(max(0.0, (deadline - datetime.now(UTC)).total_seconds() + 0.05))

        for user in (world.members[0], world.members[2]):
            page = pages[user.pk]
            _session(page, consultation)
            _accessible(page)
            _with_phrase(page, "Apporter ma part", "Apporter ma part", phrase(user))
            page.get_by_text("part apportée").first.wait_for()
        page.get_by_role("button", name="Ouvrir les plis").click()
        page.get_by_text("Ouverture en cours").wait_for()
        apart(lambda: unseal_all(OpeningSession.objects.get()))
        expect(page.get_by_text("Les plis sont ouverts")).to_be_visible(timeout=WAIT)
        page.get_by_role("link", name="offre.txt").first.wait_for()
    file = OpenedFile.objects.get(opened__envelope__kind="offre", name="offre.txt")
    assert b"".join(object_store().open(file.key)) == b"mon offre"


def test_before_the_deadline_no_door_of_the_page_opens(
    live_world: World, live_server: LiveServer, chromium: str
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    with chromium_browser(chromium) as browser:
        page = _page(browser, live_server, live_world.members[0])
        _session(page, consultation)
        page.get_by_text("Les plis restent scellés").wait_for()
        assert page.get_by_role("button", name="Apporter ma part").count() == 0
        answer = page.evaluate(
            """async ([path, organisation]) => (await fetch(path, {method: "POST", body: "{}", headers: {
              "Content-Type": "application/json", "X-Organisation": organisation,
              "X-CSRFToken": document.cookie.match(/csrftoken=([^;]+)/)[1]}})).json()""",
            [f"/api/v1/consultations/{consultation.uuid}/opening", str(live_world.buyer.uuid)],
        )
        assert answer["code"] == "opening.before-deadline"
