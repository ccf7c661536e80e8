"""A company's whole way without a mouse: account, search, file, question, deposit, receipt, withdrawal."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import Organisation
from dematmp.bids.models import Bid
from dematmp.consultations.models import Consultation, Question
from dematmp.mails.models import Mail
from tests.journeys.keyboard import Keyboard
from tests.journeys.test_browser_deposit import live_world  # noqa: F401  (a fixture)
from tests.web.chromium import chromium_browser
from tests.world import World, siret

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
# An address of its own: a confirmation is mailed again to the same one after three minutes only.
ADDRESS, PASSWORD = "claire@clavier.example.fr", "une phrase assez longue 7"


def _sign_up(keyboard: Keyboard) -> None:
    keyboard.follow("Créer un compte")
    keyboard.write("Prénom", "Claire")
    keyboard.write("Nom", "Neuve")
    keyboard.write("Courriel", ADDRESS)
    keyboard.write("Mot de passe", PASSWORD)
    keyboard.write("Mot de passe (confirmation)", "autre")
    keyboard.submit("Création de compte")
    keyboard.focused("Mot de passe (confirmation)")  # the first field to correct
    keyboard.write("Mot de passe", PASSWORD)
    keyboard.write("Mot de passe (confirmation)", PASSWORD)
    keyboard.submit("Création de compte")
    keyboard.heading("Vérifi")
    link = re.search(r"https?://\S+", Mail.objects.get(to=ADDRESS).body)
    assert link is not None
    keyboard.receive(link[0])
    keyboard.submit("Confirmer")
    keyboard.told("confirm")
    keyboard.write("Courriel", ADDRESS)
    keyboard.write("Mot de passe", PASSWORD)
    keyboard.tick("Se souvenir de moi")
    keyboard.submit("Connexion")


def _register(keyboard: Keyboard) -> None:
    keyboard.follow("Enregistrer mon entreprise")
    keyboard.submit("Enregistrer l'entreprise")
    keyboard.told("Le formulaire n'est pas enregistré.")
    keyboard.jump("Nom de l'entreprise")
    keyboard.focused("Nom de l'entreprise")
    keyboard.write("Nom de l'entreprise", "Neuve SARL")
    keyboard.write("SIRET", siret(55443322))
    keyboard.submit("Enregistrer l'entreprise")
    keyboard.heading("Bonjour Claire Neuve")
    assert Organisation.objects.filter(name="Neuve SARL", kind="company").exists()


def _read_and_ask(keyboard: Keyboard, consultation: Consultation) -> None:
    keyboard.follow("Consultations")
    keyboard.write("Mots-clés", "introuvable")
    keyboard.press("Rechercher")
    keyboard.told("Aucune consultation ne correspond")
    keyboard.write("Mots-clés", "essai")
    keyboard.press("Rechercher")
    keyboard.told("1 consultation pour cette recherche")
    keyboard.follow(consultation.title)
    assert keyboard.download("RC.pdf") == b"%PDF-1.7 essai"
    assert keyboard.download("Télécharger tout le dossier").startswith(b"PK")
    keyboard.write("Courriel", "pas une adresse", within="Être prévenu des changements")
    keyboard.submit("Me prévenir")
    keyboard.focused("Courriel", within="Être prévenu des changements")
    keyboard.write("Courriel", ADDRESS, within="Être prévenu des changements")
    keyboard.submit("Me prévenir")
    keyboard.told("Votre adresse est notée")
    keyboard.unfold("Poser une question")
    keyboard.write("Votre question", "Une visite est-elle prévue ?")
    keyboard.submit("Envoyer la question")
    keyboard.told("Votre question est transmise")
    assert Question.objects.get().text == "Une visite est-elle prévue ?"
    assert consultation.followers.get().email == ADDRESS


def _deposit(keyboard: Keyboard, folder: Path, *names: str) -> None:
    keyboard.tick("Lot 1 :")
    for kind, name in zip(("candidature", "offre"), names, strict=True):
        (folder / name).write_bytes(name.encode())
        keyboard.pick_files(f"Choisir des fichiers : {kind}, lot 1", folder / name)
    keyboard.told("2 fichiers")


def test_a_company_goes_from_its_account_to_its_receipt_without_a_mouse(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    with chromium_browser(chromium) as browser:
        keyboard = Keyboard(browser, live_server)
        _sign_up(keyboard)
        _register(keyboard)
        _read_and_ask(keyboard, consultation)
        keyboard.follow("Déposer une offre")
        _deposit(keyboard, tmp_path, "DC1.txt", "erreur.txt")
        keyboard.press("Retirer erreur.txt")
        keyboard.told("1 fichier,")
        keyboard.focused("Choisir des fichiers : offre, lot 1")
        (tmp_path / "acte.txt").write_bytes(b"acte")
        keyboard.pick_files("Choisir des fichiers : offre, lot 1", tmp_path / "acte.txt")
        keyboard.told("Vérification faite")
        keyboard.submit("Sceller et déposer")
        keyboard.told("Dépôt reçu")
        keyboard.sees("Conservé scellé")
        assert b"receipt" in keyboard.download("Accusé vérifiable (JSON)")
        keyboard.follow("Remplacer ce dépôt")
        _deposit(keyboard, tmp_path, "DC1.txt", "acte corrigé.txt")
        keyboard.submit("Sceller et déposer")
        keyboard.told("Dépôt reçu")
        keyboard.follow("Mes dépôts")
        keyboard.sees("Remplacé")
        keyboard.follow(consultation.title)
        keyboard.follow("Retirer ce dépôt")
        keyboard.submit("Retirer ce dépôt")
        keyboard.told("Dépôt retiré")
        keyboard.press("Mode sombre")
        keyboard.submit("Se déconnecter")
        keyboard.leave()
    bids = Bid.objects.filter(consultation__twin_of=None)
    assert [bool(each.withdrawn_at) for each in bids.order_by("received_at", "pk")] == [False, True]
