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
from playwright.sync_api import Browser, Page, Route, expect
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from dematmp.audit.models import Entry
from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpenedFile, OpeningSession, Protector, SealedShare
from dematmp.opening.tasks import prepare_twin, unseal_session
from dematmp.opening.unsealing import unseal_all
from signing.keys import public_key
from signing.protectors import unlock_paper, unlock_protector
from storage.stores import object_store
from tests.conftest import whole_matrix
from tests.web.chromium import chromium_browser, signed_in
from tests.world import World, make_world

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
WAIT = 60_000  # milliseconds


@pytest.fixture
def live_world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    # The test unseals, and makes the dummy bid, in this process.
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)
    monkeypatch.setattr(prepare_twin, "delay", lambda _: None)
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


def accessible(page: Page) -> None:
    """No axe violation, no overflow, at both widths; left at the wider one."""
    for width in (375, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["target"]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def _with_phrase(page: Page, heading: str, button: str, text: str) -> None:
    form = page.locator("form", has=page.get_by_role("heading", name=heading))
    form.get_by_label("Votre phrase secrète").fill(text)
    form.get_by_role("button", name=button).click()


def _answers_more(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, json={**answer.json(), "sha256": "f" * 64, "code": "0000"})


def _passphrase(page: Page, user: User) -> None:
    page.goto(reverse("committee"))
    accessible(page)
    page.get_by_role("link", name="Ajouter une phrase secrète").click()
    page.get_by_role("heading", name="Ajouter une phrase secrète").wait_for()
    accessible(page)
    page.get_by_label("Votre phrase secrète").fill(phrase(user))
    page.get_by_label("La même, pour vérifier").fill(phrase(user))
    page.get_by_role("button", name="Créer ce protecteur").click()
    page.get_by_text("Votre protecteur est créé").wait_for()
    page.get_by_role("link", name="Continuer").click()
    page.get_by_text("Il vous faut un second protecteur").wait_for()


def _sheet(page: Page) -> list[str]:
    """The words of the sheet, three of which are typed again from it."""
    page.get_by_role("link", name="Ajouter une feuille de secours").click()
    page.get_by_role("button", name="Préparer ma feuille").click()
    page.get_by_role("heading", name="Feuille de secours de").wait_for()
    accessible(page)
    words = page.locator("ol.words li").all_inner_texts()
    assert len(words) == 33
    labels = page.locator("[data-asked]").all_inner_texts()
    for place in range(len(labels)):
        page.locator("[data-proof]").nth(place).fill("autre")
    page.get_by_role("button", name="J'ai imprimé ma feuille").click()
    page.get_by_text("n'est pas celui de la feuille").wait_for()
    for place, label in enumerate(labels):
        page.locator("[data-proof]").nth(place).fill(words[int(label.split()[-1]) - 1])
    page.get_by_role("button", name="J'ai imprimé ma feuille").click()
    page.get_by_role("heading", name="Mes protecteurs").wait_for()
    return words


def _passkey(page: Page) -> None:
    """A security key that Chromium plays, with the PRF extension."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "ctap2Version": "ctap2_1",
        "transport": "usb",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "hasPrf": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.get_by_role("link", name="Ajouter une clé d'accès").click()
    page.get_by_role("heading", name="Ajouter une clé d'accès").wait_for()
    accessible(page)
    page.bring_to_front()
    page.get_by_role("button", name="Créer cette clé d'accès").click()
    page.get_by_role("heading", name="Mes protecteurs").wait_for()


@whole_matrix
def test_the_committee_does_everything_in_its_browser(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    world = live_world
    consultation = world.draft()
    with chromium_browser(chromium) as browser:
        pages = {user.pk: _page(browser, live_server, user) for user in world.members}
        for user in world.members:
            _passphrase(pages[user.pk], user)
        words = _sheet(pages[world.members[0].pk])
        _passkey(pages[world.members[1].pk])
        _sheet(pages[world.members[2].pk])
        first = Protector.objects.get(user=world.members[0], kind="passphrase")
        assert len(unlock_protector(bytes(first.wrapped or b""), phrase(world.members[0]))) == 32
        paper = Protector.objects.get(user=world.members[0], kind="paper")
        assert paper.wrapped is None
        assert public_key(unlock_paper(" ".join(words))) == bytes(paper.public_key)
        start_ceremony(consultation, members=world.members, threshold=2, by=world.agent, now=timezone.now())
        president = pages[world.members[0].pk]
        _session(president, consultation)
        accessible(president)
        # The keyboard alone: the button is reached and pressed.
        president.get_by_role("button", name="Fabriquer et répartir les clés").focus()
        president.keyboard.press("Enter")
        president.get_by_role("heading", name="Vérifier et confirmer ma part").wait_for()
        for user in world.members:
            page = pages[user.pk]
            _session(page, consultation)
            accessible(page)
            if user == world.members[0]:
                _with_phrase(
                    page, "Vérifier et confirmer ma part", "Vérifier et confirmer", "une autre phrase"
                )
                page.get_by_text("Phrase secrète fausse").wait_for()
                # The sheet instead: four letters of each word suffice, a wrong one is named as it is typed.
                form = page.locator("form", has=page.get_by_role("heading", name="Vérifier et confirmer"))
                form.get_by_label("Feuille de secours").check()
                area = form.get_by_label("Les 33 mots")
                area.fill(" ".join(["zzzz", *words[1:]]))
                form.get_by_text("À corriger : n° 1 (« zzzz »)").wait_for()
                area.fill("\n".join(f"{at}. {word[:4].upper()}" for at, word in enumerate(words, start=1)))
                form.get_by_text("33 mots sur 33").wait_for()
                form.get_by_role("button", name="Vérifier et confirmer").click()
            elif user == world.members[1]:
                form = page.locator("form", has=page.get_by_role("heading", name="Vérifier et confirmer"))
                form.get_by_label("Clé d'accès").check()
                page.bring_to_front()
                form.get_by_role("button", name="Vérifier et confirmer").click()
            else:
                _with_phrase(page, "Vérifier et confirmer ma part", "Vérifier et confirmer", phrase(user))
            gone = page.get_by_role("heading", name="Vérifier et confirmer ma part")
            expect(gone).to_have_count(0, timeout=WAIT)
        checked = SealedShare.objects.exclude(checked_at=None).order_by("pk")
        assert set(checked.values_list("protector__kind", flat=True)) == {"paper", "passkey", "passphrase"}

        # The rehearsal: the dummy bid is opened by two members through the real path.
        apart(lambda: prepare_twin(Consultation.every.get(twin_of=consultation).pk))
        for user in world.members[:2]:
            page = pages[user.pk]
            _session(page, consultation)
            accessible(page)
            form = page.locator("form", has=page.get_by_role("heading", name="Répétition : apporter ma part"))
            if user == world.members[1]:
                form.get_by_label("Clé d'accès").check()
                page.bring_to_front()
            else:
                form.get_by_label("Votre phrase secrète").fill(phrase(user))
            form.get_by_role("button", name="Apporter ma part").click()
            page.get_by_text(f"{world.members.index(user) + 1} part").first.wait_for()
        page.get_by_role("button", name="Ouvrir le pli d'essai").click()
        page.get_by_text("Ouverture du pli d'essai en cours").wait_for()
        apart(lambda: unseal_all(OpeningSession.objects.get()))
        expect(page.get_by_text("réussie").first).to_be_visible(timeout=WAIT)
        page = pages[world.members[2].pk]
        _session(page, consultation)
        # An answer of the platform never makes this browser recognise a protector.
        page.route("**/ceremony/rehearsal", _answers_more)
        _with_phrase(page, "Vérifier que je peux ouvrir", "Vérifier", phrase(world.members[2]))
        page.get_by_text("vérifiée le").first.wait_for()
        assert "f" * 64 not in str(page.evaluate("localStorage.getItem('dematmp.protectors')"))
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
            accessible(page)
            _with_phrase(page, "Apporter ma part", "Apporter ma part", phrase(user))
            page.get_by_text("part apportée").first.wait_for()
            page.wait_for_function("document.activeElement.matches('#seance [role=status]')")
        page.get_by_role("button", name="Ouvrir les plis").click()
        page.get_by_text("Ouverture en cours").wait_for()
        apart(lambda: unseal_all(OpeningSession.objects.get(consultation=consultation)))
        expect(page.get_by_text("Les plis sont ouverts").first).to_be_visible(timeout=WAIT)
        page.get_by_role("link", name="offre.txt").first.wait_for()
    file = OpenedFile.objects.get(name="offre.txt", opened__envelope__kind="offre")
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
