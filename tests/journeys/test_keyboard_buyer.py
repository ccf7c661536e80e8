"""A buyer's whole way without a mouse, from the draft to the act that the prefecture reads."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.conf import settings as configured
from django.utils import timezone
from playwright.sync_api import Browser
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.acts.models import Act
from dematmp.consultations import exchanges
from dematmp.consultations.keys import record_rehearsal
from dematmp.consultations.models import Consultation
from tests.acts.service import acknowledged, ministry_in
from tests.journeys.keyboard import Keyboard
from tests.journeys.test_browser_committee import apart, live_world  # noqa: F401  (a fixture)
from tests.opening.test_opening import opened
from tests.web.chromium import chromium_browser
from tests.world import World, client, pdf, person

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
ZONE = ZoneInfo(configured.TIME_ZONE)


def _in_days(days: int) -> datetime:
    at = (timezone.now() + timedelta(days=days)).astimezone(ZONE)
    return at.replace(hour=16, minute=30, second=15, microsecond=0)


def _prepare(agent: Keyboard, piece: Path) -> None:
    agent.follow("Acheteur")
    agent.follow("Préparer une consultation")
    agent.write("Référence", "2026-09")
    agent.write("Intitulé", "Réfection du préau")
    agent.write("Objet", "Travaux")
    agent.select("Procédure", "Procédure adaptée ouverte")
    agent.write("Code CPV principal", "45212330")
    agent.write("Lots", "Gros œuvre")
    agent.write("Critères et pondérations", "Prix : 60\nValeur technique : 40")
    agent.tick("Une clé par lot")
    agent.select("Ordre d'ouverture", "Candidatures d'abord")
    agent.submit("Enregistrer le brouillon")
    agent.told("Le formulaire n'est pas enregistré.")
    agent.jump("Lots")
    agent.write("Lots", "1 : Gros œuvre\n2 : Peinture")
    agent.submit("Enregistrer le brouillon")
    agent.heading("Réfection du préau")
    agent.follow("Ajouter une pièce")
    agent.write("Intitulé de la pièce", "Règlement")
    agent.select("Nature", "Règlement de la consultation")
    agent.pick_files("Fichier", piece)
    agent.submit("Envoyer la pièce")
    agent.told("La pièce « RC.pdf » est reçue")
    agent.follow("Fixer la date limite")
    agent.set_instant(_in_days(20))
    agent.submit("Fixer la date limite")
    agent.told("La date limite est enregistrée.")


def _name_holders(agent: Keyboard, world: World) -> None:
    agent.follow("Acheteur")
    agent.follow("Commissions")
    agent.follow("Ajouter une commission")
    agent.write("Nom", "Commission d'appel d'offres")
    for member in world.members[:2]:
        agent.tick(str(member), group="Titulaires")
    agent.tick(str(world.members[2]), group="Suppléants")
    agent.select("Présidente ou président", str(world.members[0]))
    agent.write("Quorum", "2")
    agent.submit("Enregistrer")
    agent.sees("Commission d'appel d'offres")
    agent.follow("Acheteur")
    agent.follow("Réfection du préau")
    agent.follow("Désigner les détenteurs")
    agent.follow("Commission d'appel d'offres")
    agent.tick(str(world.members[2]))
    agent.select("Qui fabrique les clés", str(world.members[0]))
    agent.submit("Désigner les détenteurs")
    agent.told("Les détenteurs sont désignés")


def _deal_and_rehearse(world: World, consultation: Consultation) -> None:
    """What the committee does, whose own journey is elsewhere."""
    client(world.members[0], world.buyer).deal(str(consultation.uuid))
    for user in world.members:
        also = world.fingerprints(user)
        client(user, world.buyer).confirm(str(consultation.uuid), world.seeds[user.pk], also=also)
    consultation.refresh_from_db()
    sha256 = consultation.ceremony_sha256
    assert record_rehearsal(consultation, ceremony_sha256=sha256, now=timezone.now())


def test_a_consultation_is_prepared_published_and_followed_without_a_mouse(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    world, piece = live_world, tmp_path / "RC.pdf"
    piece.write_bytes(b"%PDF-1.7 essai")
    for user in world.members:
        world.protectors(user)
    with chromium_browser(chromium) as browser:
        agent = Keyboard(browser, live_server, user=world.agent)
        _prepare(agent, piece)
        agent.submit("Soumettre à validation")
        agent.told("soumise à validation")
        _name_holders(agent, world)
        colleague = Keyboard(browser, live_server, user=world.validator)
        colleague.follow("Acheteur")
        colleague.follow("Réfection du préau")
        colleague.submit("Valider")
        colleague.told("La consultation est validée.")
        consultation = Consultation.objects.get(reference="2026-09")
        apart(lambda: _deal_and_rehearse(world, consultation))
        colleague.follow("Acheteur")
        colleague.follow("Réfection du préau")
        colleague.submit("Publier")
        colleague.told("La consultation est publiée.")
        colleague.leave()
        consultation.refresh_from_db()
        exchanges.ask(consultation, text="Une visite ?", now=timezone.now())
        agent.follow("Acheteur")
        agent.follow("Réfection du préau")
        agent.follow("Questions")
        agent.follow("Répondre")
        agent.write("Réponse", "Oui, le jeudi.")
        agent.submit("Publier la réponse")
        agent.told("La réponse est publiée pour tous.")
        agent.follow("Reporter la date limite")
        agent.set_instant(_in_days(27))
        agent.write("Motif du report", "Une visite est ajoutée.")
        agent.submit("Fixer la date limite")
        agent.told("La date limite est enregistrée.")
        agent.follow("Voir la page publique")
        agent.download("RC.pdf")
        agent.follow("Acheteur")
        agent.follow("Réfection du préau")
        agent.follow("Registres")
        assert "RC.pdf" in agent.download("Exporter (CSV)").decode()
        agent.leave()
    consultation.refresh_from_db()
    assert consultation.questions.get().answer == "Oui, le jeudi."
    assert [each.reason for each in consultation.deadlines.order_by("pk")][-1] == "Une visite est ajoutée."


def _award_and_transmit(world: World, browser: Browser, server: LiveServer) -> None:
    validator = Keyboard(browser, server, user=world.validator)
    validator.follow("Acheteur")
    validator.follow("Travaux d'essai")
    validator.follow("Attribuer un lot")
    validator.select("Lot", "Lot 1")
    validator.select("Attributaire", world.company.name)
    validator.write("Montant (€ HT)", "85 000,50")
    validator.write("Motifs", "mieux-disante")
    validator.submit("Attribuer")
    validator.told("L'attribution est enregistrée.")
    validator.submit("Préparer l'acte du lot 1")
    validator.told("L'acte est prêt")
    validator.submit("Transmettre à la préfecture")
    validator.download("Acte (PDF)")
    # The page draws the act's state again while the focus is in it: it stays where it was.
    apart(lambda: acknowledged(Act.objects.get()))
    validator.told("reçu en préfecture")
    validator.focused_on("Acte (PDF)")
    validator.download("Acquittement (XML)")
    validator.leave()


def test_an_award_reaches_the_prefecture_without_a_mouse(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    world = live_world
    consultation = world.publish(world.draft(f"cl-{timezone.now():%H%M%S}"), closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
    box = f"maildir://{tmp_path / 'Maildir'}"
    with ministry_in(tmp_path) as (_, url), chromium_browser(chromium) as browser:
        settings.ACTES = {**settings.ACTES, "ministry_url": url, "return_box": box}
        person("seconde", world.prefecture, "controller")
        _award_and_transmit(world, browser, live_server)
        controller = Keyboard(browser, live_server, user=world.controller, width=375)
        controller.press("Menu")
        controller.follow("Actes reçus")
        controller.follow("Attribution du lot 1")
        controller.heading("Attribution du lot 1")
        assert controller.download("Acte (PDF").startswith(b"%PDF")
        assert b"<" in controller.download("Message ACTES")
        letter = tmp_path / "lettre.pdf"
        letter.write_bytes(pdf())
        _control(controller, letter)
        _answer(world, browser, live_server, letter)
        _contract(world, browser, live_server, letter)
        _read_the_answer(controller)


def _contract(world: World, browser: Browser, server: LiveServer, deed: Path) -> None:
    """An agent prepares a contract and its annex on one page; a validator sees what leaves, and confirms."""
    annex = deed.with_name("CCAP.pdf")
    annex.write_bytes(deed.read_bytes())
    agent = Keyboard(browser, server, user=world.agent, width=375)
    agent.press("Menu")
    agent.follow("Acheteur")
    agent.follow("Actes")
    agent.follow("Contrat, convention ou avenant")
    agent.write("Numéro de l'acte", "2026_PREAU")
    agent.write("Objet", "Réfection du préau")
    agent.set_date("Date de la décision ou de la signature", timezone.localdate())
    agent.pick_files("Document de l'acte", deed)
    agent.select("Ce qu'est le document (document de l'acte)", "Acte d'engagement")
    agent.pick_files("Annexe 1", annex)  # what it is, is told by its name
    agent.submit("Préparer l'acte")
    agent.sees("Un valideur de votre collectivité doit confirmer")
    agent.leave()
    act = Act.objects.get(number="2026_PREAU")
    assert [act.typology, *act.pieces.values_list("typology", flat=True)] == ["11_AE", "11_AP"]
    assert not act.transmission.confirmed_at
    validator = Keyboard(browser, server, user=world.validator)
    validator.follow("Acheteur")
    validator.follow("Actes")
    validator.follow("Réfection du préau")
    validator.submit("Transmettre à la préfecture")
    validator.told("L'acte part à la préfecture.")
    validator.leave()


def _control(controller: Keyboard, letter: Path) -> None:
    """Found, entrusted to a colleague, written about; figures and the subscription."""
    controller.submit("Suivre cet acte")
    controller.told("Vous suivez cet acte")
    controller.select("Confier à", "seconde Essai")
    controller.submit("Confier cet acte")
    controller.told("L'acte est confié à seconde Essai")
    controller.submit("Suivre cet acte")
    controller.follow("Écrire à la collectivité")
    controller.select("Nature du courrier", "Demande de pièces")
    controller.submit("Envoyer le courrier")
    controller.told("Le formulaire n'est pas enregistré.")
    controller.write("Ce qui est demandé ou reproché", "Il manque le rapport de présentation.")
    controller.pick_files("Courrier (PDF)", letter)
    controller.submit("Envoyer le courrier")
    controller.told("Le courrier est envoyé")
    controller.follow("Actes reçus")
    controller.write("Mots-clés", "attribution")
    controller.select("Où ils en sont", "Une réponse est attendue")
    controller.submit("Rechercher")
    controller.sees("1 acte pour cette recherche")
    assert b"2026" in controller.download("Télécharger la liste")
    controller.follow("Douze mois en chiffres")
    assert b"mois" in controller.download("Télécharger (CSV)")
    controller.follow("Actes reçus")
    controller.follow("Suivre par courriel")
    controller.submit("Ouvrir mon suivi")
    controller.submit("Recevoir les courriels")
    controller.sees("Un courriel part à")


def _answer(world: World, browser: Browser, server: LiveServer, paper: Path) -> None:
    """The buyer answers, then asks for the cancellation."""
    validator = Keyboard(browser, server, user=world.validator, width=375)
    validator.press("Menu")
    validator.follow("Acheteur")
    validator.follow("Actes")
    validator.follow("Attribution du lot 1")
    validator.follow("Répondre à ce courrier")
    validator.choose("Envoyer les pièces demandées")
    validator.pick_files("Documents", paper)
    validator.submit("Envoyer la réponse")
    validator.told("La réponse est partie")
    validator.follow("Demander l'annulation")
    validator.submit("Demander l'annulation")
    validator.told("La demande d'annulation est partie")
    validator.leave()


def _read_the_answer(controller: Keyboard) -> None:
    controller.press("Menu")
    controller.follow("Actes reçus")
    controller.follow("Attribution du lot 1")
    controller.sees("Répondu")
    assert controller.download("lettre.pdf").startswith(b"%PDF")
    controller.leave()
