"""In a real Chromium: the act of a contract signed here, from its preparation to the prefecture's desk."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.acts.models import Act, Transmission, Window
from dematmp.acts.services import UNCONFIRMED
from dematmp.acts.tasks import sweep, sweep_service
from dematmp.awards.models import Award
from dematmp.awards.services import award
from dematmp.opening import closing
from tests.acts.service import acknowledged, ministry_in
from tests.awards.test_contracts import AUTHORITIES, deposited
from tests.journeys.test_browser_award import shot
from tests.opening.test_opening import opened
from tests.signing.pdf_cases import signed
from tests.web.chromium import chromium_browser, signed_in
from tests.web.test_browser import faults, live_world  # noqa: F401
from tests.world import World, pdf

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def apart(verb: Callable[[], object]) -> None:
    """In a thread, as a worker does: the browser's own loop is this one's."""

    def done() -> None:
        try:
            verb()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as one:
        one.submit(done).result()


@pytest.fixture
def concluded(
    live_world: World,  # noqa: F811
    settings: Settings,
    tmp_path: Path,
) -> Award:
    """A lot whose contract, above the threshold, both parties signed here."""
    trusted = tmp_path / "racine.pem"
    trusted.write_bytes(AUTHORITIES.trust[0])
    settings.SIGNATURE_TRUST = [str(trusted)]
    world = live_world
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "draft")
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
    given = {"company": world.company, "amount": 300_000, "reasons": "mieux-disante"}
    lot = consultation.lots.get(number="1")
    made = award(lot, by=world.validator, now=timezone.now(), **given)  # type: ignore[arg-type]
    first = signed(AUTHORITIES.signer, field="Entreprise")
    both = signed(AUTHORITIES.issuer.issue("Maire"), first, field="Acheteur")
    for data, side in ((first, "company"), (both, "buyer")):
        assert deposited(world.validator, made, data, side)[0] == 302
    return made


def test_the_act_of_a_contract_is_prepared_followed_and_read_with_its_procedure(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    concluded: Award,
    chromium: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    world, annex = live_world, tmp_path / "CCAP.pdf"
    annex.write_bytes(pdf())
    wrong: list[str] = []
    with ministry_in(tmp_path) as (_, url), chromium_browser(chromium) as browser:
        box = f"maildir://{tmp_path / 'Maildir'}"
        at_once = {"retry_seconds": 0.0, "grace_seconds": 0.0}
        settings.ACTES = {**settings.ACTES, "ministry_url": url, "return_box": box, **at_once}
        context = signed_in(browser, live_server, world.validator)
        page = context.new_page()
        wrong += faults(page, reverse("buyer-act-new", args=[world.buyer.uuid, 4]))
        page.get_by_text("Quand et avec quoi").click()
        expect(page.get_by_text("lancée du 01/01/2024 au 31/12/2025")).to_be_visible()
        shot(page, "act-thresholds")
        wrong += faults(page, reverse("contract", args=[concluded.pk]))
        page.get_by_role("link", name="Préparer sa transmission").click()
        wrong += faults(page, page.url)
        page.get_by_text("Quand et avec quoi").click()
        expect(page.get_by_text("jour du lancement de la consultation")).to_be_visible()
        shot(page, "act-of-contract")
        page.locator("#id_file1").set_input_files(annex)
        page.locator("#id_typology1").select_option("11_AP")
        now = timezone.now()
        Window.objects.create(begins_at=now, ends_at=now + timedelta(hours=1), rate_limit=10)
        page.get_by_role("button", name="Préparer l'acte").click()
        page.get_by_role("button", name="Transmettre à la préfecture").click()
        expect(page.get_by_text("L'acte part à la préfecture.")).to_be_visible()
        act = Act.objects.get(contract_of=concluded)
        apart(sweep)
        apart(sweep_service)
        wrong += faults(page, reverse("buyer-act", args=[act.uuid]))
        expect(page.get_by_text("Les envois au ministère sont limités")).to_be_visible()
        shot(page, "act-window")
        Window.objects.all().delete()
        apart(lambda: acknowledged(act))
        session = concluded.lot.consultation.opening_session
        apart(lambda: closing.close(session, by=world.members[0], now=timezone.now()))
        wrong += faults(page, reverse("buyer-act", args=[act.uuid]))
        with page.expect_download() as got:
            page.get_by_role("link", name="Tamponné (PDF) : CCAP.pdf").click()
        assert act.identifier.encode() in Path(got.value.path()).read_bytes()
        shot(page, "act-stamped")
        page.get_by_role("button", name="Communiquer la procédure").click()
        wrong += faults(page, reverse("contract", args=[concluded.pk]))
        expect(page.get_by_role("link", name=f"acte {act.number}")).to_be_visible()
        expect(page.get_by_text("Reçu en préfecture le")).to_be_visible()
        shot(page, "contract-sent")
        Transmission.objects.filter(act=act).update(acknowledged_at=None, problem=UNCONFIRMED)
        wrong += faults(page, reverse("buyer-act", args=[act.uuid]))
        expect(page.get_by_role("button", name="Abandonner cet acte")).to_be_visible()
        shot(page, "act-elsewhere")
        Transmission.objects.filter(act=act).update(acknowledged_at=timezone.now(), problem="")
        context.close()
        context = signed_in(browser, live_server, world.controller)
        page = context.new_page()
        wrong += faults(page, reverse("prefecture-act", args=[act.uuid]))
        expect(page.get_by_role("link", name="Procès-verbal d'ouverture (PDF)")).to_be_visible()
        expect(page.get_by_text(f"Lot 1 attribué à {concluded.company}")).to_be_visible()
        shot(page, "desk-contract")
        context.close()
    assert wrong == []
