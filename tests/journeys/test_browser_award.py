"""After the award, in a real Chromium: the contract signed by both, the letters of the prefecture."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.acts.confirming import confirm
from dematmp.acts.models import Act, Transmission
from dematmp.acts.services import prepare_award_act
from dematmp.acts.tasks import sweep
from dematmp.awards.models import Award
from dematmp.awards.services import award
from dematmp.opening import closing
from tests.acts.service import acknowledged, ministry_in
from tests.opening.test_opening import opened
from tests.signing.authority import World as Authorities
from tests.signing.pdf_cases import signed
from tests.web.chromium import chromium_browser, signed_in
from tests.web.test_browser import faults, live_world  # noqa: F401
from tests.world import World, pdf, person

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
SHOTS = os.environ.get("DEMATMP_SHOTS", "")  # a folder, to look at the pages


def shot(page: Page, name: str) -> None:
    if SHOTS:
        for width in (1280, 375):
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=Path(SHOTS) / f"{name}-{width}.png", full_page=True)


@pytest.fixture
def act(
    live_world: World,  # noqa: F811
    settings: Settings,
    tmp_path: Path,
) -> Act:
    world = live_world
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
    lot = consultation.lots.get(number="1")
    given = {"company": world.company, "amount": 1000, "reasons": "mieux-disante"}
    award(lot, by=world.validator, now=timezone.now(), **given)  # type: ignore[arg-type]
    made = prepare_award_act(lot.award, by=world.validator, now=timezone.now())
    confirm(made, by=world.validator, now=timezone.now())
    return made


def test_a_contract_is_countersigned(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    act: Act,
    chromium: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    assert act.award is not None
    settings.ACTES = {**settings.ACTES, "ministry_url": "https://ministere.example"}  # nothing leaves here
    authorities, address = Authorities(), reverse("contract", args=[act.award.pk])
    deed, both = tmp_path / "AE.pdf", tmp_path / "AE signé.pdf"
    deed.write_bytes(signed(authorities.signer, field="Entreprise"))
    both.write_bytes(signed(authorities.issuer.issue("Maire"), deed.read_bytes(), field="Acheteur"))
    wrong: list[str] = []
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.validator)
        page = context.new_page()
        wrong += faults(page, address)
        for who, file in (("l'entreprise", deed), ("l'acheteur", both)):
            page.get_by_label(who, exact=True).check()
            page.get_by_label("Contrat signé (PDF)").set_input_files(file)
            page.get_by_role("button", name="Déposer cette version").click()
            expect(page.get_by_text("du contrat est enregistrée")).to_be_visible()
            wrong += faults(page, address)
            shot(page, f"contract-{file.stem}")
        Award.objects.update(amount=300_000)  # above the threshold
        wrong += faults(page, address)
        page.get_by_role("link", name="Préparer sa transmission").click()
        wrong += faults(page, page.url)
        shot(page, "contract-act")
        page.get_by_role("button", name="Préparer l'acte").click()
        expect(page.get_by_text("Rien n'est parti.", exact=True)).to_be_visible()
        shot(page, "contract-act-review")
        context.close()
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        wrong += faults(page, reverse("deposits"))
        shot(page, "deposits")
        page.get_by_role("link", name="Travaux d'essai, lot 1").click()
        expect(page.get_by_text("Le contrat est signé par les deux parties.")).to_be_visible()
        context.close()
    assert wrong == []
    made = Act.objects.get(award=None)
    assert (made.document_sha256, made.typology) == (hashlib.sha256(both.read_bytes()).hexdigest(), "11_AE")


def test_a_letter_goes_and_its_answer_comes(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    act: Act,
    chromium: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    world, letter, report = live_world, tmp_path / "lettre.pdf", tmp_path / "rapport.pdf"
    letter.write_bytes(pdf())
    report.write_bytes(pdf())
    box = f"maildir://{tmp_path / 'Maildir'}"
    wrong: list[str] = []
    with ministry_in(tmp_path) as (_, url):
        settings.ACTES = {**settings.ACTES, "ministry_url": url, "return_box": box}
        acknowledged(act)
        person("seconde", world.prefecture, "controller")
        assert act.award is not None
        session = act.award.lot.consultation.opening_session
        closing.close(session, by=world.members[0], now=timezone.now())
        with chromium_browser(chromium) as browser:
            context = signed_in(browser, live_server, world.controller)
            page = context.new_page()
            for name, args in (
                ("prefecture", []),
                ("prefecture-act", [act.uuid]),
                ("prefecture-figures", []),
                ("prefecture-act-signatures", [act.uuid, 1]),
                ("prefecture-letter", [act.uuid]),
            ):
                wrong += faults(page, reverse(name, args=args))
                shot(page, name)
            sweep()  # reads the text of the act, as the worker does
            page.goto(reverse("prefecture"))
            page.get_by_label("Mots-clés").fill("attribue")
            page.keyboard.press("Enter")
            expect(page.locator(".excerpt mark")).to_be_visible()
            wrong += faults(page, page.url)
            shot(page, "prefecture-found")
            for action in ("Ouvrir mon suivi", "Recevoir les courriels"):
                wrong += faults(page, reverse("subscription"))
                page.get_by_role("button", name=action).click()
            expect(page.get_by_role("button", name="Ne plus recevoir de courriels")).to_be_visible()
            wrong += faults(page, reverse("subscription"))
            shot(page, "subscription")
            page.goto(reverse("prefecture-letter", args=[act.uuid]))
            page.get_by_label("Nature du courrier").select_option("Demande de pièces complémentaires")
            page.get_by_label("Ce qui est demandé").fill("Il manque le rapport de présentation.")
            page.get_by_label("Courrier (PDF)").set_input_files(letter)
            page.get_by_role("button", name="Envoyer le courrier").click()
            expect(page.get_by_text("Le courrier est envoyé")).to_be_visible()
            page.get_by_role("button", name="Suivre cet acte").click()
            expect(page.get_by_text("Vous suivez cet acte")).to_be_visible()
            wrong += faults(page, reverse("prefecture-act", args=[act.uuid]))
            shot(page, "prefecture-act-written")
            context.close()
            context = signed_in(browser, live_server, world.validator)
            page = context.new_page()
            wrong += faults(page, reverse("buyer-act", args=[act.uuid]))
            shot(page, "buyer-act")
            page.get_by_role("button", name="Communiquer la procédure").click()
            expect(page.get_by_text("La préfecture peut lire le dossier")).to_be_visible()
            page.get_by_role("link", name="Répondre à ce courrier").click()
            wrong += faults(page, page.url)
            shot(page, "buyer-answer")
            page.get_by_label("Documents").set_input_files(report)
            page.get_by_role("button", name="Envoyer la réponse").click()
            expect(page.get_by_text("La réponse est partie")).to_be_visible()
            wrong += _new_act(page, world, report)
            page.goto(reverse("buyer-act", args=[act.uuid]))
            page.get_by_role("link", name="Demander l'annulation").click()
            wrong += faults(page, page.url)
            shot(page, "buyer-cancel")
            context.close()
            context = signed_in(browser, live_server, world.controller)
            page = context.new_page()
            wrong += faults(page, reverse("prefecture-act", args=[act.uuid]))
            expect(page.get_by_text("Répondu", exact=True)).to_be_visible()
            with page.expect_download() as minutes:
                page.get_by_role("link", name="Procès-verbal d'ouverture (PDF)").click()
            assert minutes.value.suggested_filename.endswith("proces-verbal.pdf")
            page.get_by_label("Confier à").select_option("seconde Essai")
            page.get_by_role("button", name="Confier cet acte").press("Enter")
            expect(page.get_by_text("L'acte est confié à seconde Essai")).to_be_visible()
            shot(page, "prefecture-act-answered")
            context.close()
    assert wrong == []


def _new_act(page: Page, world: World, file: Path) -> list[str]:
    """A contract prepared on one page; what a file is, is told by its name."""
    named = file.with_name("CCAP.pdf")
    named.write_bytes(file.read_bytes())
    wrong = faults(page, reverse("buyer-acts"))
    wrong += faults(page, reverse("buyer-act-new", args=[world.buyer.uuid, 4]))
    shot(page, "buyer-act-new")
    page.get_by_label("Objet").fill("Réfection du préau")
    page.get_by_label("Date de la décision").fill(timezone.localdate().isoformat())
    page.locator("#id_file0").set_input_files(file)
    page.locator("#id_file1").set_input_files(named)
    expect(page.locator("#id_typology1")).to_have_value("11_AP")
    page.locator("#id_typology0").select_option("11_AE")
    page.get_by_role("button", name="Préparer l'acte").press("Enter")
    expect(page.get_by_text("Rien n'est parti.", exact=True)).to_be_visible()
    assert not Transmission.objects.get(act__award=None).confirmed_at
    wrong += faults(page, page.url)
    shot(page, "buyer-act-review")
    page.get_by_role("button", name="Transmettre à la préfecture").press("Enter")
    expect(page.get_by_text("L'acte part à la préfecture.")).to_be_visible()
    assert set(Act.objects.get(award=None).pieces.values_list("typology", flat=True)) == {"11_AP"}
    return wrong
