"""Other holders for the same keys, without a mouse: choose, lend with a code, deal again, confirm."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedFile, OpeningSession
from dematmp.opening.unsealing import unseal_all
from signing.protectors import paper_words
from storage.stores import object_store
from tests.conftest import whole_matrix
from tests.journeys.keyboard import WAIT, Keyboard
from tests.journeys.test_browser_committee import accessible, live_world  # noqa: F401  (a fixture)
from tests.opening.test_renewal import newcomer
from tests.web.chromium import chromium_browser
from tests.world import World, client

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def _sheet(member: Keyboard, world: World, user: User, title: str) -> None:
    """The sheet, by the first letters of its words."""
    member.choose("Feuille de secours", within=title)
    words = " ".join(word[:4] for word in paper_words(world.sheets[user.pk]).split())
    member.write("Les 33 mots de votre feuille", words, within=title)
    member.told("33 mots sur 33")


def _page(member: Keyboard) -> None:
    member.follow("Commission")
    member.follow("Voir ce qui m'est demandé")


def _choose_holders(agent: Keyboard, world: World, consultation: Consultation) -> None:
    agent.follow("Acheteur")
    agent.follow(consultation.title)
    agent.follow("Changer un détenteur")
    accessible(agent.page)
    agent.tick(str(world.members[2]), on=False)
    agent.tick(str(world.members[3]))
    agent.submit("Choisir ces détenteurs")
    agent.told("la commission répartit les parts")


def _read_code(dealer: Keyboard) -> str:
    code = dealer.page.locator("[data-dealer-code]")
    expect(code).to_have_text(re.compile("^[0-9A-F ]{19}$"), timeout=WAIT)
    return code.inner_text()


def _lend(member: Keyboard, world: World, user: User, code: str) -> None:
    title = "Prêter ma part"
    _page(member)
    accessible(member.page)
    _sheet(member, world, user, title)
    member.write(f"Code dicté par {world.members[3]}", "0000 0000 0000 0000", within=title)
    member.press("Prêter ma part", within=title)
    member.told("Ce code n'est pas celui de la clé")
    member.write(f"Code dicté par {world.members[3]}", code.lower(), within=title)
    member.submit("Prêter ma part", within=title)
    member.told("Parts prêtées")


def _list_code(member: Keyboard, world: World, user: User) -> str:
    """The protectors of this person are recognised, then the code of the list is read."""
    title = "Vérifier la liste"
    _page(member)
    _sheet(member, world, user, title)
    member.press("Vérifier la liste", within=title)
    boxes = member.page.locator("[data-own]:visible label")
    boxes.first.wait_for()
    written = {each[:16].upper() for each in world.fingerprints(user)}
    assert {text.replace(" ", "") for text in boxes.locator("strong").all_inner_texts()} <= written
    accessible(member.page)
    for label in boxes.all_inner_texts():
        member.tick(label, within=title)
    member.press("Vérifier la liste", within=title)
    member.told("Dictez ce code")
    return member.page.locator("[data-answer]:visible p").nth(1).inner_text()


def _members(world: World, browser: Browser, server: LiveServer) -> dict[int, Keyboard]:
    staying = [world.members[0], world.members[1], world.members[3]]
    return {user.pk: Keyboard(browser, server, user=user) for user in staying}


def _opened_by_the_new_holders(world: World, consultation: Consultation) -> None:
    """What Chromium dealt, Python opens: the bid was sealed before the change."""
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1), tick=True):
        world.share(consultation, 1)
        session = world.share(consultation, 3)
        client(world.members[3], world.buyer).post(f"/openings/{session['session']}/open")
        unseal_all(OpeningSession.objects.get(consultation=consultation))
    file = OpenedFile.objects.get(name="offre.txt", opened__envelope__kind="offre")
    assert b"".join(object_store().open(file.key)) == b"mon offre"


@whole_matrix
def test_the_same_keys_change_hands_without_a_mouse(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    world = live_world
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path, files={"offre.txt": b"mon offre"})
    newcomer(world)
    with chromium_browser(chromium) as browser:
        agent = Keyboard(browser, live_server, user=world.agent)
        _choose_holders(agent, world, consultation)
        members = _members(world, browser, live_server)
        dealer = members[world.members[3].pk]
        _page(dealer)
        dealer.submit("Commencer")
        code = _read_code(dealer)
        accessible(dealer.page)
        for user in world.members[:2]:
            _lend(members[user.pk], world, user, code)
        staying = [user for user in world.members if user.pk in members]
        (listed,) = {_list_code(members[user.pk], world, user) for user in staying}
        _page(dealer)
        _read_code(dealer)
        title = "Répartir de nouveau"
        dealer.write("Code de la liste, dicté par chaque nouveau détenteur", "0000", within=title)
        dealer.press("Répartir de nouveau", within=title)
        dealer.told("ne répartissez rien")
        dealer.write("Code de la liste, dicté par chaque nouveau détenteur", listed, within=title)
        dealer.submit("Répartir de nouveau", within=title)
        dealer.told("chaque nouveau détenteur confirme")
        title = "Vérifier et confirmer ma nouvelle part"
        for user in staying:
            member = members[user.pk]
            _page(member)
            accessible(member.page)
            _sheet(member, world, user, title)
            member.submit("Vérifier et confirmer", within=title)
            member.leave()
        agent.follow("Acheteur")
        agent.follow(consultation.title)
        agent.sees(f"Gardent une part d'une répartition précédente : {world.members[2]}")
        accessible(agent.page)
        agent.leave()
    consultation.refresh_from_db()
    assert (consultation.ceremony.epoch, len(consultation.former_ceremonies)) == (2, 1)
    _opened_by_the_new_holders(world, consultation)
