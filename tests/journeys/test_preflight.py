"""What the deposit page says of files before they are sealed: a real Chromium, under its workers' policy."""

import io
import json
import time
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import BrowserContext, Page
from pytest_django.live_server_helper import LiveServer

from dematmp.bids.models import Bid
from dematmp.consultations.models import Consultation
from tests.conftest import whole_matrix
from tests.journeys import odd_files as odd
from tests.journeys.test_browser_deposit import live_world  # noqa: F401  (a fixture)
from tests.web.chromium import chromium_browser, policed, signed_in
from tests.world import World

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]
WAIT = 60_000  # milliseconds
DOCX = {"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w:document/>"}


def _page(context: BrowserContext, consultation: Consultation) -> Page:
    page = context.new_page()
    page.goto(reverse("new-deposit", kwargs={"consultation": consultation.uuid}))
    page.get_by_label("Lot 1 :").check()
    return page


def _checked(page: Page, count: int) -> None:
    said = page.locator("[data-summary]", has_text=f"{count} fichiers,").filter(has_text="Vérification faite")
    said.wait_for(timeout=WAIT)


def _cases(folder: Path) -> dict[str, str]:
    """The name of each file written in `folder`, with words that its row must say."""
    nested = odd.archive_of({"lot.zip": odd.archive(a_txt=b"a")})
    many = odd.archive_of({f"{number}.txt": b"" for number in range(10_001)})
    whole = odd.pdf()
    cases = {
        "mémoire.pdf": (odd.pdf(3), "Vérifié : PDF de 3 pages."),
        "une page.pdf": (whole, "Vérifié : PDF de 1 page."),
        "sans mot de passe.pdf": (odd.locked_pdf(user=""), "Vérifié : PDF de 1 page."),
        "fermé.pdf": (odd.locked_pdf(user="secret"), "demande un mot de passe"),
        "sans page.pdf": (odd.pageless_pdf(), "aucune page"),
        "tronqué.pdf": (whole[: len(whole) * 2 // 3], "incomplet"),
        "gros.pdf": (odd.large_pdf(damaged=False), "Vérifié : PDF de 1 page."),
        "gros et abîmé.pdf": (odd.large_pdf(damaged=True), "Ce PDF est abîmé"),
        "vide.pdf": (b"", "vide (0 octet)"),
        "faux.pdf": (b"pas un pdf", "pas un PDF lisible"),
        "creux.pdf": (b"%PDF-1.7\n" + bytes(3000) + b"%%EOF", "pas un PDF lisible"),
        "plans.zip": (odd.archive(a_txt=b"a" * 999, b_txt=b"b"), "2 fichiers dans l'archive"),
        "verrou.zip": (odd.locked_archive(b"secret"), "demande un mot de passe"),
        "grand.zip": (odd.zip64(), "ZIP64"),
        "dedans.zip": (nested, "en contient une autre"),
        "abîmé.zip": (odd.damaged_archive(), "ne se décompresse pas"),
        "menteur.zip": (odd.liar(3 * 1024**2), "ne se décompresse pas"),
        "coupé.zip": (odd.archive(a_txt=b"a")[:-30], "incomplète ou abîmée"),
        "nombreux.zip": (many, "plus de 10 000 fichiers"),
        "outil.zip": (odd.archive(outil_exe=b"MZ"), "contient un programme"),
        "faux.zip": (b"pas un zip", "celui que son nom annonce"),
        "note.docx": (odd.archive_of(DOCX), "Vérifié."),
        "macro.docx": (odd.archive_of({**DOCX, "word/vbaProject.bin": b"vba"}), "porte des macros"),
        "note.docm": (odd.archive_of(DOCX), "porte des macros"),
        "ancien.xls": (odd.old_office("_VBA_PROJECT_CUR"), "porte des macros"),
        "fermé.docx": (odd.old_office("EncryptedPackage"), "demande un mot de passe"),
        "rapport.pdf.exe": (b"MZ", "double extension"),
        "bordereau-des-prix.txt": (b"1000", "bonne enveloppe"),
        "libre.txt": (b"libre", "Vérifié."),
    }
    for name, (data, _) in cases.items():
        (folder / name).write_bytes(data)
    odd.write_bomb(folder / "bombe.zip")
    return {name: words for name, (_, words) in cases.items()} | {"bombe.zip": "100 fois sa taille"}


def test_preflight_says_what_the_committee_could_not_read(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    words = _cases(tmp_path)
    with zipfile.ZipFile(io.BytesIO(odd.locked_archive(b"secret"))) as real:
        assert real.read("note.txt", pwd=b"secret") == b"contenu de la note"
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        policed(context)
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = _page(context, consultation)
        chooser = page.locator("#fichiers-1-candidature")
        chooser.set_input_files(tmp_path / "libre.txt")
        page.get_by_text("Vérifié.").wait_for()
        assert not [url for url in asked if "preflight-pdf" in url]  # pdf.js comes with the first PDF only
        chooser.set_input_files([tmp_path / name for name in words if name != "libre.txt"])
        _checked(page, len(words))
        rows = {
            row.locator("strong").inner_text(): row.inner_text()
            for row in page.locator("li.deposit-file").all()
        }
        assert {name: said for name, said in words.items() if said not in rows[name]} == {}
        assert page.locator("li", has_text="mémoire.pdf").locator(".note-good, .note-warn").count() == 1
        go = page.get_by_role("button", name="Sceller et déposer")
        assert go.is_disabled()
        page.get_by_text("« vide.pdf » est vide (0 octet)").wait_for()
        page.get_by_role("button", name="Retirer vide.pdf").click()
        page.get_by_text("Rien ne vous empêche de déposer.").wait_for()
        assert go.is_enabled()
        assert len([url for url in asked if "preflight-pdf" in url]) == 1
        assert [url for url in asked if not url.startswith(live_server.url)] == []
        context.close()


def test_the_receipt_counts_the_checks_and_names_nothing(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    files = {"mémoire.pdf": odd.pdf(), "fermé.pdf": odd.locked_pdf(user="secret"), "plan.txt": b"plan"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        policed(context)
        page = _page(context, consultation)
        page.locator("#fichiers-1-offre").set_input_files([tmp_path / name for name in files])
        _checked(page, len(files))
        page.get_by_role("button", name="Sceller et déposer").click()
        page.get_by_role("button", name="Déposer quand même").click()
        page.wait_for_url("**/entreprise/depots/*/", timeout=WAIT)
        page.get_by_text(
            "3 fichiers sur 3 : sans remarque (2), PDF protégé par un mot de passe (1)"
        ).wait_for()
        context.close()
    bid = Bid.objects.get(consultation__twin_of=None)
    (envelope,) = json.loads(bytes(bid.record))["envelopes"]
    assert envelope["preflight"] == {"checked": 3, "codes": {"ok": 2, "pdf.password": 1}}
    assert bid.receipt_pdf is not None
    assert not [name for name in files if name.encode() in bytes(bid.record)]


def test_a_file_that_holds_the_check_blocks_no_other(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    files = {"avant.txt": b"a", "sans fin.pdf": odd.endless_pdf(), "après.pdf": odd.pdf()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = _page(context, consultation)
        page.locator("#fichiers-1-offre").set_input_files([tmp_path / name for name in files])
        _checked(page, len(files))
        page.locator("li", has_text="sans fin.pdf").get_by_text("dans le temps prévu").wait_for()
        page.locator("li", has_text="après.pdf").get_by_text("PDF de 1 page").wait_for()
        context.close()


# From the moment the page is told of the files: what the browser does to name them comes before.
_WATCH = """() => {
  window.longest = 0;
  const tick = (last) => setTimeout(() => {
    const now = performance.now();
    window.longest = Math.max(window.longest, now - last);
    tick(now);
  });
  addEventListener("change", () => tick(performance.now()), { capture: true, once: true });
}"""


@whole_matrix
def test_five_thousand_files_at_once_never_freeze_the_page(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    chromium: str,
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"pièce {number:04}.txt" for number in range(4990)]
    paths += [tmp_path / f"plan {number}.pdf" for number in range(10)]
    whole = odd.pdf()
    for path in paths:
        path.write_bytes(whole if path.suffix == ".pdf" else b"texte")
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    with chromium_browser(chromium) as browser:
        context = signed_in(browser, live_server, live_world.bidder)
        page = _page(context, consultation)
        page.evaluate(_WATCH)
        began = time.monotonic()
        page.locator("#fichiers-1-offre").set_input_files(paths)
        _checked(page, len(paths))
        taken, longest = time.monotonic() - began, page.evaluate("window.longest")
        print(f"5 000 fichiers : {taken:.1f} s, plus long gel de la page {longest:.0f} ms")
        assert page.locator("li.deposit-file").count() == 100
        page.get_by_role("button", name="Afficher 100 fichiers de plus").click()
        page.get_by_text("200 fichiers affichés sur 5000").wait_for()
        assert longest < 1000  # milliseconds, on any machine that runs the tests
        context.close()
