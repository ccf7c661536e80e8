"""A bid deposited in a real Chromium, cut, resumed, then opened by the committee: byte for byte."""

import hashlib
import io
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from axe_playwright_python.sync_playwright import Axe
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, Route
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.bids.models import Attempt, Bid, Part
from dematmp.consultations.models import Consultation
from dematmp.consultations.services import set_deadline
from dematmp.opening.models import OpenedFile
from dematmp.opening.tasks import unseal_session
from deploy.services.ceph import Ceph
from storage.stores import object_store, parse_object_store
from tests.conftest import whole_matrix
from tests.opening.test_opening import opened
from tests.web.chromium import chromium_browser, signed_in
from tests.web.processes import asleep, processes
from tests.world import World, make_world, pdf

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
MIB = 1024**2
WAIT = 120_000  # milliseconds


@pytest.fixture
def live_world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(unseal_session, "delay", lambda _: None)  # the test unseals in this process
    return make_world()


def _files(folder: Path, count: int, big: int) -> list[Path]:
    folder.mkdir()
    made = []
    for number in range(count):
        path = folder / f"pièce {number:02}.txt"
        path.write_bytes(os.urandom(1 + number * 997))
        made.append(path)
    for name, size in (("plan.bin", big), ("seize.bin", 16384), ("acte.pdf", 0)):
        path = folder / name
        path.write_bytes(os.urandom(size) if size else pdf())
        made.append(path)
    return made


def _choose(page: Page, consultation: Consultation, candidature: list[Path], offre: list[Path]) -> None:
    page.goto(reverse("new-deposit", kwargs={"consultation": consultation.uuid}))
    page.get_by_label("Lot 1 :").check()
    page.locator("#fichiers-1-candidature").set_input_files(candidature)
    page.locator("#fichiers-1-offre").set_input_files(offre)
    page.get_by_text("Vérifié").first.wait_for()


def _opened_as_deposited(world: World, consultation: Consultation, files: list[Path]) -> None:
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
    found = {
        row.name: hashlib.sha256(b"".join(object_store().open(row.key))).hexdigest()
        for row in OpenedFile.objects.filter(opened__state="opened")
    }
    assert found == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _bad_gateway(route: Route) -> None:
    route.fulfill(status=502, content_type="text/html", body="<h1>502</h1>")


def test_a_bid_sealed_in_chromium_is_opened_by_the_committee(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    titles = {"candidature": ["DC1", "DC2"], "offre": ["Acte d'engagement"]}
    pieces = [{"kind": kind, "title": title} for kind, each in titles.items() for title in each]
    draft = live_world.draft(required_pieces=pieces, fingerprint_first=True)
    consultation = live_world.publish(draft, closes_in=timedelta(hours=1))
    offre = _files(tmp_path / "offre", 3, 40 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        _choose(page, consultation, candidature, offre)
        said = page.locator("[data-piece]").all_inner_texts()
        assert said[0] == "DC1 : trouvée : DC1.txt"
        assert "DC2 : aucun fichier n'en porte le nom" in said[1]
        assert page.get_by_role("button", name="Sceller et déposer").is_enabled()
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        page.get_by_label("Lot 2 :").check()
        page.get_by_role("button", name="Sceller et déposer").focus()
        page.keyboard.press("Enter")
        asked = page.locator("[data-doubt]")
        assert (
            "Vous avez coché le lot 2, mais rien n'est choisi pour : Candidature, lot 2 ; Offre, lot 2."
            in (asked.inner_text())
        )
        assert asked.evaluate("(each) => each === document.activeElement")
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        page.get_by_label("Lot 2 :").uncheck()
        asked.wait_for(state="hidden")
        page.route(f"**/api/v1/consultations/{consultation.uuid}", _bad_gateway)
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("nouvel essai dans quelques secondes. Rien n'est encore déposé.").wait_for()
        page.get_by_role("button", name="Annuler l'envoi").click()
        page.get_by_text("Envoi annulé.").wait_for()
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("nouvel essai dans quelques secondes. Rien n'est encore déposé.").wait_for()
        page.unroute(f"**/api/v1/consultations/{consultation.uuid}")
        page.get_by_role("heading", name="Scellement et envoi").wait_for()
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        page.get_by_text("Dépôt reçu").first.wait_for()
        page.wait_for_function("document.activeElement.matches('#etat [role=status]')")
        page.get_by_text("Ce dépôt porte sur le lot 1 seulement.").wait_for()
        left = page.evaluate("indexedDB.databases().then((all) => all.length)")
        assert left <= 1
        context.close()
    bid = Bid.objects.get(consultation__twin_of=None)
    assert not bid.late
    parts = Part.objects.filter(object__envelope__attempt=bid.attempt).order_by("received_at")
    first = parts[0]
    assert first.received_at is not None
    assert bid.attempt.fingerprint.received_at < first.received_at
    _opened_as_deposited(live_world, consultation, [*candidature, *offre])


def test_the_open_page_says_that_the_deadline_moved_then_passed(
    live_world: World, live_server: LiveServer, chromium: str
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    later = timezone.now().replace(microsecond=0) + timedelta(hours=2)
    with chromium_browser(chromium) as browser:
        page = signed_in(browser, live_server, live_world.bidder).new_page()
        page.goto(reverse("new-deposit", kwargs={"consultation": consultation.uuid}))
        page.get_by_label("Lot 2 :").check()
        page.goto(reverse("help"))
        page.go_back()
        page.get_by_role("heading", name="Offre, lot 2").wait_for()
        page.clock.install()
        page.reload()
        page.get_by_text("Il reste 00:").wait_for()
        set_deadline(consultation, at=later, reason="Pièce ajoutée", by=live_world.agent, now=timezone.now())
        page.clock.fast_forward(61_000)
        page.locator("[data-notice]", has_text="La date limite est reportée au").wait_for()
        page.get_by_text("Il reste 01:").wait_for()
        page.route("**/deadline", lambda route: route.abort("connectionrefused"))
        page.clock.fast_forward(2 * 3600_000)
        page.locator("[data-notice]", has_text="Un dépôt serait reçu, conservé scellé et marqué").wait_for()


def test_parts_go_from_chromium_straight_to_a_locked_bucket(
    live_world: World, live_server: LiveServer, chromium: str, ceph: Ceph, settings: Settings, tmp_path: Path
) -> None:
    """The store refuses the first request, whose bytes were changed; the network, the next two."""
    settings.SITE_URL, settings.DEPOSIT_RETENTION_DAYS = live_server.url, 1
    settings.OBJECT_STORE = parse_object_store(f"{ceph.store_url('chromium')}&deposits=chromium-plis")
    call_command("storage", "setup", stdout=io.StringIO())
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    offre = _files(tmp_path / "offre", 3, 40 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    direct, through, cut = [], [], []

    def spoilt(route: Route) -> None:
        if not cut:
            cut.append(route.request.url)
            route.continue_(post_data=b"x" * len(route.request.post_data_buffer or b""))
        elif len(cut) < 3:
            cut.append(route.request.url)
            route.abort("connectionreset")
        else:
            route.continue_()

    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        page.on(
            "request",
            lambda request: (
                direct
                if request.url.startswith(ceph.endpoint)
                else through
                if request.method == "PUT"
                else []
            ).append(request.url),
        )
        context.route(f"{ceph.endpoint}/**", spoilt)
        _choose(page, consultation, candidature, offre)
        page.get_by_role("button", name="Sceller et déposer").click()
        page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        context.close()
    assert len(cut) == 3
    assert (
        len(direct) == Part.objects.filter(object__envelope__attempt__consultation=consultation).count() + 3
    )
    assert through == []
    call_command("storage", "fsck", "--digests", stdout=io.StringIO())
    assert Bid.objects.filter(consultation=consultation).count() == 1


def test_a_deposit_cut_and_reloaded_goes_on_where_it_stopped(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    """Thirty files, one of 300 MB, the network cut and the page reloaded in its middle."""
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    offre = _files(tmp_path / "offre", 26, 300 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    sent: list[str] = []

    def cut(route: Route) -> None:
        if len(sent) >= 45:  # in the middle of the large one
            route.abort("connectionreset")
            return
        sent.append(route.request.url)
        route.continue_()

    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        context.route("**/parts/*", cut)
        _choose(page, consultation, candidature, offre)
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("La connexion est coupée").wait_for(timeout=WAIT)
        assert not Bid.objects.filter(consultation__twin_of=None).exists()
        page.reload()
        context.unroute("**/parts/*")
        resumed: list[str] = []
        page.on("request", lambda request: resumed.append(request.url) if "/parts/" in request.url else None)
        page.get_by_role("heading", name="Un envoi n'est pas terminé").wait_for()
        page.get_by_label("Les mêmes fichiers").set_input_files([*candidature, *offre])
        page.get_by_text("Tous les fichiers sont retrouvés").wait_for()
        page.get_by_role("button", name="Reprendre l'envoi").click()
        page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        context.close()
    assert Attempt.objects.filter(consultation__twin_of=None).count() == 1
    received = {url for url in sent if url not in resumed}
    assert len(received) >= 40  # what had arrived was not sent again
    _opened_as_deposited(live_world, consultation, [*candidature, *offre])


def test_an_expired_session_loses_nothing(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    offre = _files(tmp_path / "offre", 2, 40 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        passed: list[str] = []

        def expire(route: Route) -> None:
            passed.append(route.request.url)
            if len(passed) == 5:
                context.clear_cookies(name="sessionid")
            route.continue_()

        context.route("**/parts/*", expire)
        _choose(page, consultation, candidature, offre)
        cookies = [each for each in context.cookies() if each["name"] == "sessionid"]
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("Votre session a expiré").wait_for(timeout=WAIT)
        context.add_cookies(cookies)  # type: ignore[arg-type]
        page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        context.close()
    assert Bid.objects.filter(consultation__twin_of=None).count() == 1


@whole_matrix
def test_a_machine_that_sleeps_in_the_middle_goes_on_when_it_wakes(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    offre = _files(tmp_path / "offre", 2, 200 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        _choose(page, consultation, candidature, offre)
        page.get_by_role("button", name="Sceller et déposer").click()
        while Part.objects.received().count() < 5:
            page.wait_for_timeout(20)  # a fifth of the deposit
        assert len(processes()) > 2
        with asleep():
            before = Part.objects.received().count()
            time.sleep(8)  # what is measured: nothing moves while the machine sleeps
            assert Part.objects.received().count() <= before + 4  # what was already in the pipes
            assert not Bid.objects.filter(consultation__twin_of=None).exists()
        page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        context.close()
    assert Attempt.objects.filter(consultation__twin_of=None).count() == 1
    _opened_as_deposited(live_world, consultation, [*candidature, *offre])


def test_two_tabs_give_one_deposit_and_one_receipt(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    offre = _files(tmp_path / "offre", 3, 60 * MIB)
    candidature = [tmp_path / "DC1.txt"]
    candidature[0].write_bytes(b"candidature")
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        first, second = context.new_page(), context.new_page()
        held: list[Route] = []
        # The first tab stops in the middle, its parts on their way; the second resumes the same draft.
        first.route("**/parts/*", lambda route: held.append(route) if len(held) < 2 else route.continue_())
        _choose(first, consultation, candidature, offre)
        with first.expect_request("**/parts/*", timeout=WAIT):
            first.get_by_role("button", name="Sceller et déposer").click()
        second.goto(reverse("new-deposit", kwargs={"consultation": consultation.uuid}))
        second.get_by_role("heading", name="Un envoi n'est pas terminé").wait_for()
        second.get_by_label("Les mêmes fichiers").set_input_files([*candidature, *offre])
        second.get_by_text("Tous les fichiers sont retrouvés").wait_for()
        second.get_by_role("button", name="Reprendre l'envoi").click()
        for route in held:
            route.continue_()
        for page in (second, first):
            page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        assert first.url == second.url
        context.close()
    assert Bid.objects.filter(consultation__twin_of=None).count() == 1
    _opened_as_deposited(live_world, consultation, [*candidature, *offre])


def test_a_key_that_the_ceremony_does_not_carry_seals_nothing(
    live_world: World, live_server: LiveServer, chromium: str, tmp_path: Path
) -> None:
    from dematmp.consultations.models import EnvelopeKeys
    from signing.keys import new_seed, public_key

    consultation = live_world.publish(closes_in=timedelta(hours=1))
    EnvelopeKeys.objects.filter(consultation=consultation).update(committee=public_key(new_seed()))
    path = tmp_path / "DC1.txt"
    path.write_bytes(b"candidature")
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = context.new_page()
        _choose(page, consultation, [path], [path])
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_text("une clé que la cérémonie n'a pas faite").wait_for()
        context.close()
    assert not Attempt.objects.filter(consultation__twin_of=None).exists()
