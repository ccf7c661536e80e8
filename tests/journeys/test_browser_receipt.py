"""A receipt verified in a real Chromium, by its PDF or its JSON; altered ones are refused."""

import base64
import hashlib
import io
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from cryptography.hazmat.primitives.serialization import Encoding
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page
from pypdf import PdfReader, PdfWriter
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from dematmp.audit.keys import replace_authority
from dematmp.audit.services import canonical, utc_text
from dematmp.audit.stamping import answer
from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt, receipt_pdf
from dematmp.bids.tasks import sweep
from dematmp.mails.words import instant
from signing import tlog
from signing.notes import Signer
from signing.timestamps import make_request
from tests.signing.authority import Issuer
from tests.signing.authority import World as Authorities
from tests.signing.pdf_cases import signed
from tests.web.chromium import chromium_browser
from tests.world import World, make_world

pytestmark = [pytest.mark.browser, pytest.mark.journey, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def bid(transactional_db: None, tmp_path: Path) -> Bid:
    world: World = make_world()
    world.deposit(world.publish(), tmp_path / "draft", files={"Offre déposée.txt": b"mon offre"})
    sweep()
    return Bid.objects.get(consultation__twin_of=None)


def verdict(page: Page, path: Path) -> str:
    page.locator("#accuse").set_input_files(path)
    page.get_by_role("button", name="Vérifier").focus()
    page.keyboard.press("Enter")
    box = page.locator("[data-verdict]")
    box.wait_for()
    return box.inner_text()


def test_the_page_verifies_what_is_true_and_refuses_what_is_not(
    live_server: LiveServer, chromium: str, bid: Bid, tmp_path: Path, settings: Settings
) -> None:
    said = json.loads(json.dumps(receipt(bid)))
    (tmp_path / "a.pdf").write_bytes(bytes(bid.receipt_pdf or b""))
    (tmp_path / "a.json").write_text(json.dumps(said))
    record = json.loads(base64.b64decode(said["record"]))
    other = json.dumps(record | {"late": True}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    lies = {
        "ne dit pas": said | {"received": "2026-01-01T00:00:00.000000Z"},
        "de la tentative": said | {"attempt": said["attempt"] | {"started": "2026-01-01T00:00:00.000000Z"}},
        "racine signée": said | {"record": base64.b64encode(other.encode()).decode(), "state": "late"},
        "signature du point de contrôle": said
        | {"journal": said["journal"] | {"proof": _spoilt(said["journal"]["proof"])}},
        "mal formé": said
        | {"timestamp": said["timestamp"] | {"token": base64.b64encode(bytes(80)).decode()}},
        "jeton d'horodatage ne se vérifie pas": said
        | {"timestamp": said["timestamp"] | {"token": _last_flipped(said["timestamp"]["token"])}},
        "sur autre chose": said | {"timestamp": said["timestamp"] | {"token": _token_of(b"autre")}},
        "ne dit pas l'heure": said | {"timestamp": said["timestamp"] | {"time": "2026-01-01T00:00:00Z"}},
        "à quelle entrée": said | {"journal": said["journal"] | {"index": 10**6}},
        "n'est pas un accusé": {"v": "receipt/2"},
        "ne dit pas les noms": said | {"buyer": said["buyer"] | {"name": "Autre commune"}},
        "Le numéro": said | {"number": "AR-FAUX : authentique"},
    }
    misshapen = [
        said | {"number": [said["number"]]},
        said | {"timestamp": "x"},
        said | {"timestamp": said["timestamp"] | {"qualified": "oui"}},
        said | {"journal": said["journal"] | {"key": [said["journal"]["key"]]}},
        said | {"attempt": said["attempt"] | {"refusals": "aucun"}},
        said | {"record": 5},
    ]
    stranger = Authorities()
    altered = _altered((tmp_path / "a.pdf").read_bytes(), stranger)
    with chromium_browser(chromium) as browser:
        sent: list[str] = []
        page = browser.new_context(base_url=live_server.url).new_page()
        page.goto(reverse("check-receipt"))
        page.on("request", lambda request: sent.append(request.method))
        for name in ("a.pdf", "a.json"):
            assert f"Accusé {bid.number} : authentique, reçu dans les délais." in verdict(
                page, tmp_path / name
            )
            lines = page.locator("[data-steps] li")
            unproven = ["NON VÉRIFIÉ : que ce jeton", "NON VÉRIFIÉ : le nombre de parties"]
            unproven += ["CACHET NON JUGÉ"] if name == "a.json" else []
            assert lines.count() == (5 if name == "a.pdf" else 4) + len(unproven)
            assert "il n'en a pas encore paru" in lines.nth(2).inner_text()
            for rank, words in enumerate(reversed(unproven), start=1):
                assert words in lines.nth(lines.count() - rank).inner_text()
            assert (
                f"Reçu le {instant(bid.received_at)}, soit {utc_text(bid.received_at)}"
                in page.locator("[data-text]").inner_text()
            )
            assert lines.filter(has_text="sous l'autorité « ").count() == (2 if name == "a.pdf" else 1)
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        for words, other in altered.items():
            (tmp_path / "altered.pdf").write_bytes(other)
            found = verdict(page, tmp_path / "altered.pdf")
            assert "n'est pas vérifié" in found
            assert words in found
        # A seal bought from an authority is known by its own certificate, never by whoever sold it.
        (tmp_path / "bought.pdf").write_bytes(altered["d'une autorité que cette page ne connaît pas"])
        for trusted, words in (
            (stranger.root.identity, "n'est pas vérifié"),
            (stranger.signer, "authentique"),
        ):
            (tmp_path / "seal.pem").write_bytes(trusted.certificate.public_bytes(Encoding.PEM))
            settings.SEAL = {**settings.SEAL, "certificates": [str(tmp_path / "seal.pem")]}
            page.goto(reverse("check-receipt"))
            assert words in verdict(page, tmp_path / "bought.pdf")
        for words, lie in lies.items():
            (tmp_path / "lie.json").write_text(json.dumps(lie))
            found = verdict(page, tmp_path / "lie.json")
            assert "n'est pas vérifié" in found
            assert words in found
        for lie in misshapen:
            (tmp_path / "lie.json").write_text(json.dumps(lie))
            assert "incomplet ou mal formé" in verdict(page, tmp_path / "lie.json")
        (tmp_path / "lie.json").write_text('{"state": "in-time", ' + json.dumps(said)[1:])
        assert "n'est pas un accusé" in verdict(page, tmp_path / "lie.json")  # the same key twice
        # A true token of an authority that this platform does not know: said, not refused.
        elsewhere = Issuer.root().authority(tmp_path)
        token = elsewhere.respond(
            make_request(hashlib.sha256(bytes(bid.record)).digest()), now=timezone.now()
        )
        foreign = said["timestamp"] | {"token": base64.b64encode(token).decode(), "time": None}
        (tmp_path / "foreign.json").write_text(json.dumps(said | {"timestamp": foreign}))
        assert "authentique" in verdict(page, tmp_path / "foreign.json")
        assert lines.filter(has_text="que cette page ne connaît pas").count() == 1
        page.locator("#cle").fill(Signer(said["journal"]["key"].split("+")[0], os.urandom(32)).verifier_key)
        assert "n'est pas signé par cette clé" in verdict(page, tmp_path / "a.json")
        # Somebody else's journal, of our name, whose receipts say that our key signed them.
        theirs = Signer(said["journal"]["key"].split("+")[0], os.urandom(32))
        (tmp_path / "lie.json").write_text(json.dumps(_under(theirs, said)))
        page.locator("#cle").fill(theirs.verifier_key)
        assert "n'est pas une de celles de cette plateforme" in verdict(page, tmp_path / "lie.json")
        assert set(sent) <= {"GET"}, "the receipt never leaves the visitor's machine"


@pytest.mark.parametrize("token", [True, False])
def test_a_receipt_is_still_authentic_years_after_its_seal_expired(
    live_server: LiveServer, chromium: str, bid: Bid, tmp_path: Path, token: bool, settings: Settings
) -> None:
    """Judged at the hour of the seal's own token, or at the one that the journal proves."""
    if not token:
        settings.TSA_URLS = []
    (tmp_path / "a.pdf").write_bytes(receipt_pdf(bid, now=timezone.now()))
    with chromium_browser(chromium) as browser:
        for years in (0, 6, 30):
            page = browser.new_context(base_url=live_server.url).new_page()
            page.clock.install(time=timezone.now() + timedelta(days=365 * years))
            page.goto(reverse("check-receipt"))
            assert f"Accusé {bid.number} : authentique" in verdict(page, tmp_path / "a.pdf")


def test_a_receipt_is_authentic_under_the_authority_of_before(
    live_server: LiveServer, chromium: str, bid: Bid, tmp_path: Path, settings: Settings
) -> None:
    """Its key was lost, and another one vouches for the same seal: the page knows both."""
    (tmp_path / "a.pdf").write_bytes(bytes(bid.receipt_pdf or b""))
    settings.SECRETS_DIR = Path(shutil.copytree(settings.SECRETS_DIR, tmp_path / "secrets"))
    (settings.SECRETS_DIR / "pki" / "ca.key").unlink()
    replace_authority(now=timezone.now())
    (tmp_path / "b.pdf").write_bytes(receipt_pdf(bid, now=timezone.now()))
    with chromium_browser(chromium) as browser:
        page = browser.new_context(base_url=live_server.url).new_page()
        page.goto(reverse("check-receipt"))
        for name, authority in (("a.pdf", " - autorité »"), ("b.pdf", f"« Autorité {timezone.now():%Y} - ")):
            assert f"Accusé {bid.number} : authentique" in verdict(page, tmp_path / name)
            (said,) = page.locator("[data-steps] li").filter(has_text="Le cachet du PDF").all_inner_texts()
            assert authority in said


def _sealed_by_a_stranger(pdf: bytes, stranger: Authorities) -> bytes:
    """Other words on the page, the true receipt enclosed, sealed by somebody's own key."""
    reader, writer = PdfReader(io.BytesIO(pdf)), PdfWriter()
    writer.add_blank_page(595, 842)
    for name, (data,) in reader.attachments.items():
        writer.add_attachment(name, data)
    out = io.BytesIO()
    writer.write(out)
    return signed(stranger.signer, out.getvalue())


def _altered(pdf: bytes, stranger: Authorities) -> dict[str, bytes]:
    """What the page says → a receipt whose data are true, in a PDF that is not as it was sealed."""
    at = pdf.index(b"/CreationDate")
    return {
        "le fichier a été modifié": pdf[:at] + b"/CreationDatf" + pdf[at + 13 :],
        "ajoutés à ce PDF après son cachet": pdf + b"% rien\n",
        "d'une autorité que cette page ne connaît pas": _sealed_by_a_stranger(pdf, stranger),
        "ne porte pas de cachet": pdf.replace(b"/ByteRange", b"/ByteRangf"),
    }


def _last_flipped(token: str) -> str:
    raw = bytearray(base64.b64decode(token))
    raw[-1] ^= 1
    return base64.b64encode(bytes(raw)).decode()


def _token_of(data: bytes) -> str:
    request = make_request(hashlib.sha256(data).digest())
    return base64.b64encode(answer(request, now=timezone.now())).decode()


def _spoilt(proof: str) -> str:
    head, _, signature = proof.rstrip("\n").rpartition(" ")
    raw = bytearray(base64.b64decode(signature))
    raw[-1] ^= 1
    return f"{head} {base64.b64encode(bytes(raw)).decode()}\n"


def _under(signer: Signer, said: dict[str, Any]) -> dict[str, Any]:
    """The same receipt, as the only entry of another journal."""
    record, nonce = base64.b64decode(said["record"]), bytes.fromhex(said["journal"]["nonce"])
    told = json.loads(record)
    leaf = {
        "consultation": told["consultation"],
        "digest": hashlib.sha256(nonce + record).hexdigest(),
        "time": told["received"],
        "type": "deposit",
    }
    note = signer.sign(tlog.Checkpoint(signer.name, 1, tlog.leaf_hash(canonical(leaf))).text())
    return said | {"journal": said["journal"] | {"index": 0, "proof": tlog.format_proof(0, [], note)}}
