"""Pages in a real Chromium, at two widths and two modes: no axe violation, no overflow, no console error."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from dematmp.accounts.services import invite, keep_commission
from dematmp.bids.models import Bid
from dematmp.consultations import exchanges
from dematmp.opening import closing
from dematmp.opening.models import OpenedFile
from dematmp.opening.tasks import unseal_session
from tests.opening.test_opening import opened
from tests.opening.test_phases import open_phase
from tests.web.chromium import chromium_browser, signed_in
from tests.world import World, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDTHS = (1280, 375)
WHOLE = bool(os.environ.get("DEMATMP_WHOLE_MATRIX"))
FOCUSED = """() => {
    const at = document.activeElement;
    if (!at || at === document.body) return null;
    at.dataset.reached = "";
    const native = at.matches("[type=date], [type=time]"); // its picker draws its own ring
    return [at.outerHTML.slice(0, 80), native || getComputedStyle(at).outlineStyle !== "none"];
}"""
MISSED = """() => [...document.querySelectorAll(
        "main :is(a[href], button:enabled, select, textarea, summary)")]
    .filter((each) => each.checkVisibility() && !("reached" in each.dataset))
    .map((each) => each.outerHTML.slice(0, 80))"""


@pytest.fixture
def live_world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)  # the tests unseal in this process
    return make_world()


def keyboard_faults(page: Page) -> list[str]:
    """What Tab alone does not reach, and what it reaches without showing it (WCAG 2.1.1, 2.4.7)."""
    found = []
    for _ in range(200):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        if not focused[1]:
            found.append(f"focus invisible : {focused[0]}")
    return found + [f"hors d'atteinte au clavier : {each}" for each in page.evaluate(MISSED)]


def faults(page: Page, address: str) -> list[str]:
    """What is wrong with one page at each width."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        answer = page.goto(address)
        if answer is None or answer.status != 200:
            found.append(f"{address} : {answer and answer.status}")
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            found.append(f"{address} : déborde à {width} px")
        for violation in Axe().run(page).response["violations"]:
            found.append(
                f"{address} {width} : {violation['id']} {[n['target'] for n in violation['nodes']][:3]}"
            )
        if width == min(WIDTHS) or WHOLE:  # journeys of their own go through the wide pages by keyboard
            found += [f"{address} {width} : {fault}" for fault in keyboard_faults(page)]
    return found


def test_every_page_is_accessible_at_both_widths(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    world = live_world
    consultation = world.publish(closes_in=timedelta(hours=1))
    asked = exchanges.ask(consultation, text="Une visite ?", now=timezone.now())
    exchanges.answer(asked, text="Oui.", by=world.agent, now=timezone.now())
    exchanges.ask(consultation, text="Et le jeudi ?", now=timezone.now())
    world.deposit(consultation, tmp_path / "a")
    pieces = [{"kind": "offre", "title": "Acte d'engagement"}]
    phased = world.draft("2026-03", opening_order="candidature", required_pieces=pieces)
    world.publish(phased, closes_in=timedelta(hours=1))
    world.deposit(phased, tmp_path / "b")
    assert phased.deadline is not None  # the later of the two
    with time_machine.travel(phased.deadline + timedelta(seconds=1)):
        session = opened(world, consultation)
        OpenedFile.objects.filter(opened__session=session).update(verdict="unscannable")
        for kept in OpenedFile.objects.filter(opened__session=session):
            closing.decide_file(
                kept, decision="examined", reason="Lu à part.", by=world.members[0], now=timezone.now()
            )
        closing.observe(session, text="Rien à signaler.", by=world.members[1], now=timezone.now())
        closing.close(session, by=world.members[0], now=timezone.now())
        open_phase(world, phased)
    draft = world.draft("2026-02")
    third, kept = {"consultation": phased.uuid}, OpenedFile.objects.order_by("pk").first()
    assert kept is not None
    kept_commission = keep_commission(
        world.buyer,
        name="CAO",
        members=world.members,
        deputies=[],
        threshold=2,
        by=world.agent,
        now=timezone.now(),
    )
    mine = world.members[0].protectors.kept().first()
    assert mine is not None
    one, other = {"consultation": consultation.uuid}, {"consultation": draft.uuid}
    stop = reverse(
        "unfollow", kwargs={**one, "token": exchanges.unfollow_token(consultation, "a@example.fr")}
    )
    exchanges.follow(consultation, email="a@example.fr", now=timezone.now())
    team = reverse("colleagues", kwargs={"organisation": world.company.uuid})
    invite(world.company, email="b@example.fr", role="bidder", by=world.bidder, now=timezone.now())
    names = ("-correct", "-deadline", "-piece", "-ceremony", "-questions", "-registers")
    visits: dict[User | None, list[str]] = {
        None: [reverse(name) for name in ("home", "help", "journal", "accessibility", "account_login")]
        + [reverse(name) for name in ("account_signup", "account_reset_password")]
        + ["/?closes=on", reverse("consultation", kwargs=one), stop]
        + [reverse("consultation", kwargs=third)],
        world.agent: [reverse(name) for name in ("space", "tokens", "new-company", "buyer", "buyer-new")]
        + [reverse(f"buyer{name}", kwargs=other) for name in names]
        + [reverse("buyer-consultation", kwargs=each) for each in (one, other)]
        + [reverse("buyer-questions", kwargs=one), reverse("buyer-journal", kwargs=one)]
        + [reverse("commissions")]
        + [reverse("commission", kwargs={"buyer": world.buyer.uuid, "commission": kept_commission.uuid})],
        world.validator: [reverse("buyer-award", kwargs=one), reverse("buyer-consultation", kwargs=one)],
        world.members[0]: [reverse("committee"), reverse("session", kwargs=one)]
        + [reverse("session", kwargs=third), reverse("decide", kwargs=third)]
        + [reverse("decide-file", kwargs={**one, "file": kept.uuid})]
        + [reverse(name, kwargs=one) for name in ("observe", "sign-minutes")]
        + [reverse("new-protector", kwargs={"kind": kind}) for kind in ("phrase", "feuille", "cle-d-acces")]
        + [reverse("lose-protector", kwargs={"protector": mine.uuid})],
        world.bidder: [
            reverse("space"),
            team,
            reverse("deposits"),
            reverse("deposit", kwargs={"deposit": Bid.objects.get(consultation=consultation).uuid}),
        ],
        world.controller: [reverse("prefecture")],
    }
    with chromium_browser(chromium) as browser:
        wrong = []
        for user, addresses in visits.items():
            context = signed_in(browser, live_server, user)
            for address in addresses:
                page = context.new_page()
                wrong += faults(page, address)
                page.close()
            context.close()
        assert wrong == []


@pytest.mark.parametrize("address", ["/", "/aide/", "/compte/signup/"])
def test_the_dark_mode_is_as_readable(
    live_world: World, live_server: LiveServer, chromium: str, address: str
) -> None:
    live_world.publish()
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, None, color_scheme="dark")
        page = context.new_page()
        assert faults(page, address) == []
        assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
        context.close()


def test_the_keyboard_alone_reaches_a_consultation(
    live_world: World, live_server: LiveServer, chromium: str
) -> None:
    consultation = live_world.publish()
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, None)
        page = context.new_page()
        page.goto("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Aller au contenu"
        page.keyboard.press("Enter")
        for _ in range(15):
            page.keyboard.press("Tab")
            if str(consultation.uuid) in str(page.evaluate("document.activeElement.href || ''")):
                break
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/consultations/{consultation.uuid}/")
        context.close()


def test_the_search_answers_without_reloading_the_page(
    live_world: World, live_server: LiveServer, chromium: str
) -> None:
    consultation = live_world.publish()
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, None)
        page = context.new_page()
        page.goto("/")
        page.evaluate("window.same = true")
        page.get_by_label("Mots-clés").fill("introuvable")
        page.get_by_role("button", name="Rechercher").click()
        page.get_by_text("Aucune consultation ne correspond").wait_for()
        page.get_by_label("Mots-clés").fill("essai")
        page.get_by_role("button", name="Rechercher").click()
        page.get_by_role("link", name=consultation.title).wait_for()
        assert page.evaluate("window.same") is True
        context.close()


def test_an_expired_session_gives_back_what_was_typed(
    live_world: World, live_server: LiveServer, chromium: str
) -> None:
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.agent)
        page = context.new_page()
        page.goto(reverse("buyer-new"))
        page.get_by_label("Objet", exact=True).fill("Un objet long à écrire")
        cookies = [each for each in context.cookies() if each["name"] == "sessionid"]
        context.clear_cookies(name="sessionid")
        page.get_by_role("button", name="Enregistrer le brouillon").click()
        page.wait_for_url("**/compte/login/**")
        context.add_cookies(cookies)  # type: ignore[arg-type]
        page.goto(reverse("buyer-new"))
        page.get_by_text("Ce que vous aviez écrit est retrouvé").wait_for()
        assert page.get_by_label("Objet", exact=True).input_value() == "Un objet long à écrire"
        assert page.evaluate("document.activeElement.getAttribute('role')") == "status"
        context.close()


def test_a_person_signs_up_confirms_and_registers_a_company(
    live_world: World, live_server: LiveServer, chromium: str
) -> None:
    import re

    from dematmp.accounts.models import Organisation
    from dematmp.mails.models import Mail
    from tests.world import siret

    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, None)
        page = context.new_page()
        page.goto("/compte/signup/")
        page.get_by_label("Prénom").fill("Claire")
        page.get_by_label("Nom", exact=True).fill("Neuve")
        page.locator("input[name=email]").fill("claire@neuve.example.fr")
        for name in ("password1", "password2"):
            page.locator(f"input[name={name}]").fill("une phrase assez longue 7")
        page.locator("main button[type=submit]").click()
        page.wait_for_url("**/confirm-email/")
        link = re.search(r"https?://\S+", Mail.objects.get(to="claire@neuve.example.fr").body)
        assert link is not None
        page.goto(link[0])
        page.locator("main button[type=submit]").click()
        page.wait_for_load_state()
        if page.locator("input[name=login]").count():
            page.locator("input[name=login]").fill("claire@neuve.example.fr")
            page.locator("input[name=password]").fill("une phrase assez longue 7")
            page.locator("main button[type=submit]").click()
        page.goto("/mon-espace/entreprise/")
        page.get_by_label("Nom de l'entreprise").fill("Neuve SARL")
        page.get_by_label("SIRET").fill(siret(55443322))
        page.get_by_role("button", name="Enregistrer l'entreprise").click()
        page.get_by_role("heading", name="Bonjour Claire Neuve").wait_for()
        assert Organisation.objects.filter(name="Neuve SARL", kind="company").exists()
        context.close()
