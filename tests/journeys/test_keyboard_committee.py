"""A committee member's whole way without a mouse: protectors, keys, rehearsal, opening, minutes, a loss."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.opening.keys import start_ceremony
from dematmp.opening.models import OpenedEnvelope, OpeningSession, Protector
from dematmp.opening.tasks import prepare_twin
from dematmp.opening.unsealing import unseal_all
from tests.journeys.keyboard import Keyboard
from tests.journeys.test_browser_committee import apart, live_world  # noqa: F401  (a fixture)
from tests.web.chromium import chromium_browser
from tests.world import World, client

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
PHRASE = "phrase de membre1 42"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "usb",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "hasPrf": True,
}


def _passphrase(member: Keyboard) -> None:
    member.follow("Commission")
    member.follow("Ajouter une phrase secrète")
    member.write("Votre phrase secrète", PHRASE)
    member.write("La même, pour vérifier", "autre")
    member.press("Créer ce protecteur")
    member.told("Les deux phrases diffèrent.")
    member.write("La même, pour vérifier", PHRASE)
    member.press("Créer ce protecteur")
    member.told("Votre protecteur est créé.")
    assert b"{" in member.download("Télécharger la copie de secours")
    member.follow("Continuer")


def _sheet(member: Keyboard) -> None:
    """Printed, then three of its words typed back from it."""
    member.follow("Ajouter une feuille de secours")
    member.press("Préparer ma feuille")
    member.heading("Feuille de secours de")
    words = member.page.locator("ol.words li").all_inner_texts()
    labels = member.page.locator("[data-asked]").all_inner_texts()
    member.press("Imprimer la feuille")
    for label in labels:
        member.write(label, "autre")
    member.press("J'ai imprimé ma feuille")
    member.told("n'est pas celui de la feuille")
    for label in labels:
        member.write(label, words[int(label.split()[-1]) - 1])
    member.submit("J'ai imprimé ma feuille")
    member.heading("Mes protecteurs")


def _passkey(member: Keyboard) -> None:
    session = member.context.new_cdp_session(member.page)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    member.follow("Commission")
    member.follow("Ajouter une clé d'accès")
    member.page.bring_to_front()
    member.submit("Créer cette clé d'accès")
    member.heading("Mes protecteurs")


def _session(member: Keyboard, consultation: Consultation) -> None:
    member.follow("Commission")
    member.follow(consultation.title)


def _confirm(world: World, consultation: Consultation, president: Keyboard, second: Keyboard) -> None:
    title = "Vérifier et confirmer ma part"
    president.choose("Phrase secrète", within=title)
    president.write("Votre phrase secrète", PHRASE, within=title)
    president.submit("Vérifier et confirmer", within=title)
    _session(second, consultation)
    second.choose("Clé d'accès", within=title)
    second.page.bring_to_front()
    second.press("Vérifier et confirmer", within=title)
    boxes = second.page.locator("[data-own] label")
    boxes.first.wait_for()  # those made elsewhere, that this browser does not know
    for label in boxes.all_inner_texts():
        second.tick(label, within=title)
    second.submit("Vérifier et confirmer", within=title)
    user = world.members[2]
    also = world.fingerprints(user)
    apart(lambda: client(user, world.buyer).confirm(str(consultation.uuid), world.seeds[user.pk], also=also))


def _quorum(
    president: Keyboard, second: Keyboard, consultation: Consultation, title: str, button: str, late: str = ""
) -> None:
    """Both bring their shares, the second opens; `late`: what it must say first, of a late bid."""
    _session(president, consultation)
    president.choose("Phrase secrète", within=title)
    president.write("Votre phrase secrète", PHRASE, within=title)
    president.submit("Apporter ma part", within=title)
    president.told("1 part")
    _session(second, consultation)
    second.choose("Clé d'accès", within=title)
    second.page.bring_to_front()
    second.submit("Apporter ma part", within=title)
    second.told("Le quorum est réuni")
    if late:
        second.tick(late)
    second.submit(button)
    second.told("en cours")


def _leave_a_lot_sealed(member: Keyboard, consultation: Consultation) -> None:
    """Then open it after all."""
    _session(member, consultation)
    member.follow("Laisser scellé : Lot 2")
    member.write("Motif", "Lot déclaré sans suite.")
    member.submit("Laisser ce lot scellé")
    member.told("Le lot 2 reste scellé")
    member.submit("L'ouvrir finalement : Lot 2")
    member.told("Le lot 2 sera ouvert")


def _decide(member: Keyboard, world: World) -> None:
    member.told("il reste 1 décision")
    member.follow("Décider")
    company = world.company.name
    member.choose("Rejetée", group=company)
    member.submit("Enregistrer les décisions")
    member.told("Rien n'est enregistré.")
    member.choose("Admise", group=company)
    member.submit("Enregistrer les décisions")
    member.told("1 décision(s) enregistrée(s).")
    member.submit("Passer à l'enveloppe suivante")
    member.told("La séance continue")


def _minutes(president: Keyboard, second: Keyboard, consultation: Consultation) -> None:
    assert second.download("offre.txt") == b"mon offre"
    second.follow("Ajouter une observation")
    second.write("Observation", "Rien à signaler.")
    second.submit("Inscrire mon observation")
    second.told("Votre observation est inscrite.")
    _session(president, consultation)
    president.follow("Clore le procès-verbal")
    president.submit("Clore définitivement")
    president.told("Le procès-verbal est clos.")
    president.follow("Signer le procès-verbal")
    assert president.download("Lire le procès-verbal clos").startswith(b"%PDF")
    president.submit("Signer")
    president.told("Votre signature est enregistrée.")


def _publish(world: World, consultation: Consultation, folder: Path) -> None:
    """What the buyer and a company do, whose journeys are elsewhere."""
    now = timezone.now()
    consultation.refresh_from_db()
    at = (now + timedelta(seconds=8)).replace(microsecond=0)
    services.set_deadline(consultation, at=at, by=world.agent, now=now)
    services.submit(consultation, by=world.agent, now=now)
    services.validate(consultation, by=world.validator, now=now)
    services.publish(consultation, by=world.validator, now=now)
    consultation.refresh_from_db()
    world.deposit(consultation, folder, files={"offre.txt": b"mon offre"})


def _deposit_late(world: World, consultation: Consultation, folder: Path) -> None:
    """Sent in time, finalised too late: the buyer may admit it."""
    speaker, draft = world.seal(consultation, folder, rival=True)
    attempt = str(speaker.upload(draft)["attempt"])
    assert consultation.deadline is not None
    left = (consultation.deadline - timezone.now()).total_seconds()
    assert left > 0
    time.sleep(left + 0.05)
    assert speaker.finalise(draft, attempt)["state"] == "late"


def _pages(world: World, browser: Browser, server: LiveServer) -> tuple[Keyboard, Keyboard]:
    president, second = (Keyboard(browser, server, user=user) for user in world.members[:2])
    _passphrase(president)
    _sheet(president)
    _passkey(second)
    for user in world.members[1:]:
        world.protectors(user)
    return president, second


def test_a_committee_member_goes_from_protectors_to_signed_minutes_without_a_mouse(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    world = live_world
    consultation = world.draft(opening_order="candidature")
    with chromium_browser(chromium) as browser:
        president, second = _pages(world, browser, live_server)
        start_ceremony(consultation, members=world.members, threshold=2, by=world.agent, now=timezone.now())
        _session(president, consultation)
        president.submit("Fabriquer et répartir les clés")
        _confirm(world, consultation, president, second)
        apart(lambda: prepare_twin(Consultation.every.get(twin_of=consultation).pk))
        _quorum(president, second, consultation, "Répétition : apporter ma part", "Ouvrir le pli d'essai")
        apart(lambda: unseal_all(OpeningSession.objects.get()))
        second.told("réussie")
        apart(lambda: _publish(world, consultation, tmp_path))
        # The members' browsers have a clock of their own: the deadline is really awaited.
        apart(lambda: _deposit_late(world, consultation, tmp_path / "rivale"))
        _session(president, consultation)
        president.told("pour ouvrir : candidature")
        _leave_a_lot_sealed(president, consultation)
        for phase in ("candidature", "offre"):
            late = "Ouvrir quand même" if phase == "candidature" else ""  # nobody decided of the late bid
            _quorum(president, second, consultation, "Apporter ma part", "Ouvrir les plis", late)
            apart(lambda: unseal_all(OpeningSession.objects.get(consultation=consultation)))
            if phase == "candidature":
                _decide(second, world)
        second.told("Les plis sont ouverts")
        _minutes(president, second, consultation)
        president.follow("Commission")
        president.follow("Déclarer perdu : Feuille de secours")
        president.submit("Déclarer perdu")
        president.told("est déclaré perdu")
        for member in (president, second):
            member.leave()
    session = OpeningSession.objects.get(consultation=consultation)
    assert session.closed_at is not None
    assert session.signatures.get().user == world.members[0]
    sealed = OpenedEnvelope.objects.filter(session=session, envelope__attempt__bidder=world.rival)
    assert {each.state for each in sealed} == {"unopened"}
    lost = Protector.objects.exclude(lost_at=None)
    assert [(each.user, each.kind) for each in lost.order_by("pk")] == [(world.members[0], "paper")]
