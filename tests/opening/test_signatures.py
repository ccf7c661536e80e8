"""Signed files of a bid, in every form that companies use, judged at the deposit's time and shown."""

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.x509 import ocsp as pyca_ocsp
from django.conf import settings as configured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.opening import preserving
from dematmp.opening.models import OpenedFile
from dematmp.opening.preserving import preserve
from signing import pki
from signing.lists_update import from_folder, update
from tests.conftest import ROOT
from tests.opening.test_opening import opened
from tests.signing.authority import Issuer, serving
from tests.signing.cms_cases import cades
from tests.signing.list_cases import LOTL_URL, Lists, Service
from tests.signing.pdf_cases import asn1
from tests.world import World, pdf

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A signed PDF, and a plan with its detached signature, by the command line that companies have."""
    folder = tmp_path_factory.mktemp("signé")
    authority = pki.new_authority("Autorité d'essai", "Essai", now=NOW - timedelta(days=10))
    signer = pki.issue(authority, "Julie Moreau", "Les Bâtisseurs", now=NOW - timedelta(days=10), days=3650)
    (folder / "key.pem").write_bytes(signer.key)
    (folder / "cert.pem").write_bytes(signer.certificate)
    (folder / "ca.pem").write_bytes(authority.certificate)
    making = ["-inkey", "key.pem", "-in", "cert.pem", "-certfile", "ca.pem"]
    making += ["-out", "id.p12", "-passout", "pass:x"]
    subprocess.run(["openssl", "pkcs12", "-export", *making], cwd=folder, check=True, capture_output=True)
    (folder / "code").write_text("x")
    (folder / "acte.pdf").write_bytes(pdf())
    (folder / "plan.dwg").write_bytes(b"AC1032 plan")
    (folder / "autre.txt").write_bytes(b"autre")
    for source, out in (("acte.pdf", "acte-signé.pdf"), ("plan.dwg", "plan.dwg.p7s")):
        command = [sys.executable, "-m", "signing", "sign", source, "--out", out, "--p12", "id.p12"]
        done = subprocess.run(
            [*command, "--secret-file", "code"],
            cwd=folder,
            env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def trusted(signed: dict[str, bytes], settings: Settings, tmp_path: Path) -> dict[str, bytes]:
    (tmp_path / "ca.pem").write_bytes(signed["ca.pem"])
    settings.SIGNATURE_TRUST = [str(tmp_path / "ca.pem")]
    return signed


def test_signatures_inside_and_beside_files_are_judged_at_the_opening(
    world: World, trusted: dict[str, bytes], tmp_path: Path
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    names = ("acte-signé.pdf", "plan.dwg.p7s", "plan.dwg", "autre.txt")
    world.deposit(consultation, tmp_path, files={name: trusted[name] for name in names})
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
        found = {row.name: row.signature for row in OpenedFile.objects.filter(opened__envelope__kind="offre")}
        said = {name: (each or {}).get("indication") for name, each in found.items()}
        assert said == {
            "acte-signé.pdf": "TOTAL_PASSED",
            "plan.dwg.p7s": "TOTAL_PASSED",
            "plan.dwg": None,
            "autre.txt": None,
        }
        beside = found["plan.dwg.p7s"]
        assert beside is not None
        assert beside["signatures"][0]["covers"] == ["plan.dwg"]
        browser, stranger = Client(), Client()
        browser.force_login(world.members[0])
        stranger.force_login(world.bidder)
        row = OpenedFile.objects.get(name="plan.dwg.p7s", opened__envelope__kind="offre")
        url = reverse("file-signatures", args=[consultation.uuid, row.uuid])
        page = browser.get(url).content.decode()
        assert "Julie Moreau" in page
        assert "CAdES" in page
        assert url in browser.get(reverse("session", args=[consultation.uuid])).content.decode()
        assert stranger.get(url).status_code == 404


def test_a_certificate_that_expired_since_the_deposit_counts_as_it_did(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    root = Issuer.root()
    signer = root.issue(start=NOW - timedelta(days=5), days=10)
    (tmp_path / "root.pem").write_bytes(root.identity.pem)
    settings.SIGNATURE_TRUST = [str(tmp_path / "root.pem")]
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path, files={"offre.p7m": cades(signer, b"offre", attached=True)})
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(days=20), tick=True):
        opened(world, consultation)
    found = OpenedFile.objects.get(opened__envelope__kind="offre").signature
    assert found is not None
    assert found["indication"] == "TOTAL_PASSED", found


@pytest.mark.parametrize(
    ("name", "beside", "said"),
    [
        ("acte-signé.pdf", [], "verdict « valide »"),
        ("plan.dwg.p7s", ["plan.dwg"], "verdict « valide »"),
        ("plan.dwg.p7s", [], "verdict « indéterminée »"),
        ("plan.dwg.p7s", ["autre.txt"], "verdict « non valide »"),
        ("autre.txt", [], "aucune signature"),
    ],
)
@pytest.mark.django_db
def test_anybody_checks_a_signed_file_before_depositing(
    trusted: dict[str, bytes], name: str, beside: list[str], said: str
) -> None:
    def file(name: str) -> SimpleUploadedFile:
        return SimpleUploadedFile(name, trusted[name])

    answer = Client().post(
        reverse("check-signature"), {"file": file(name), "beside": [file(each) for each in beside]}
    )
    assert answer.status_code == 200
    assert said in answer.content.decode()


@pytest.mark.django_db
def test_too_much_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dematmp.web.signatures._BYTES", 10)
    answer = Client().post(
        reverse("check-signature"), {"file": SimpleUploadedFile("a.pdf", b"%PDF-1.7 aaaa")}
    )
    assert "50 Mo et 20 fichiers" in answer.content.decode()
    assert "obligatoire" in Client().post(reverse("check-signature"), {}).content.decode()


def test_a_report_is_judged_again_years_later_from_what_it_keeps(
    world: World, trusted: dict[str, bytes], tmp_path: Path, settings: Settings
) -> None:
    """Its tokens are renewed, each over the former; the command line needs nothing of the platform."""
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path, files={"acte-signé.pdf": trusted["acte-signé.pdf"]})
    assert consultation.deadline is not None
    browser = Client()
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
        assert preserve(timezone.now) == 2  # in the envelopes of both kinds
        assert preserve(timezone.now) == 0
    with time_machine.travel(consultation.deadline + timedelta(days=366)):
        settings.SIGNATURE_TRUST = []
        assert preserve(timezone.now) == 2
        browser.force_login(world.members[0])
        row = OpenedFile.objects.get(opened__envelope__kind="offre")
        shown = browser.get(reverse("file-signatures", args=[consultation.uuid, row.uuid])).content.decode()
        assert "renouvelé le" in shown
        answer = browser.get(reverse("file-report", args=[consultation.uuid, row.uuid]))
    stranger = Client()
    stranger.force_login(world.bidder)
    assert stranger.get(reverse("file-report", args=[consultation.uuid, row.uuid])).status_code in (403, 404)
    (tmp_path / "rapport.json").write_bytes(answer.content)
    (tmp_path / "acte.pdf").write_bytes(trusted["acte-signé.pdf"])
    assert len(json.loads(answer.content)["tokens"]) == 2
    ca = configured.SECRETS_DIR / "pki" / "ca.pem"
    (tmp_path / "autorite.pem").write_bytes(trusted["ca.pem"])
    with_report = ["acte.pdf", "--report", "rapport.json", "--tsa-ca", str(ca)]
    code, said = _checked(tmp_path, *with_report, "--trust", "autorite.pem")
    assert code == 0, said
    assert "signature valide" in said
    assert said.split("sans changement depuis")[1].count(" par ") == 2
    # A report never says whom to trust: a forger names an authority of their own.
    for refused in (
        with_report,
        [*with_report[:3], "--trust", "autorite.pem"],
        [*with_report, "--trust", str(ca)],
    ):
        code, other = _checked(tmp_path, *refused)
        assert code != 0, other
        assert "signature valide" not in other
    (tmp_path / "rapport.json").write_text(json.dumps({**json.loads(answer.content), "tokens": []}))
    code, other = _checked(tmp_path, *with_report, "--trust", "autorite.pem")
    assert (code != 0, "aucun jeton" in other) == (True, True)


@pytest.mark.parametrize("altered", ["report", "token", "order", "file", "evidence"])
def test_an_altered_preserved_report_is_refused(
    world: World, trusted: dict[str, bytes], tmp_path: Path, altered: str
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path, files={"acte-signé.pdf": trusted["acte-signé.pdf"]})
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
        preserve(timezone.now)
    with time_machine.travel(consultation.deadline + timedelta(days=366)):
        preserve(timezone.now)
    kept: dict[str, Any] = preserving.kept(OpenedFile.objects.get(opened__envelope__kind="offre"))
    data = trusted["acte-signé.pdf"]
    if altered == "report":
        kept["report"]["signatures"][0]["signer"] = "Quelqu'un d'autre"
    elif altered == "token":
        kept["tokens"][0]["response"] = kept["tokens"][1]["response"]
    elif altered == "order":
        kept["tokens"].reverse()
    elif altered == "evidence":
        kept["report"]["evidence"][0]["data"] = base64.b64encode(b"autre").decode()
    else:
        data += b"\n"
    (tmp_path / "rapport.json").write_text(json.dumps(kept))
    (tmp_path / "acte.pdf").write_bytes(data)
    ca = configured.SECRETS_DIR / "pki" / "ca.pem"
    (tmp_path / "autorite.pem").write_bytes(trusted["ca.pem"])
    trust = ["--trust", "autorite.pem", "--tsa-ca", str(ca)]
    code, said = _checked(tmp_path, "acte.pdf", "--report", "rapport.json", *trust)
    assert code != 0, said
    assert "signature valide" not in said


def _checked(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "signing", "check", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_opening_asks_whether_a_certificate_is_revoked(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    """By the hosts that the trusted lists name: nobody answers once the certificate has expired."""
    answers: dict[str, Any] = {}
    with serving(answers) as base:
        issuer = Issuer.root().sub(base=base)
        good, stolen = issuer.issue("Julie Moreau", declares=True), issuer.issue("Volée", declares=True)
        issuer.revoke(stolen, NOW - timedelta(hours=6))
        known = {each.certificate.serial_number: each.certificate for each in (good, stolen)}

        def respond(body: bytes) -> bytes:
            number = pyca_ocsp.load_der_ocsp_request(body).serial_number
            return issuer.ocsp(number, known[number])

        answers["/ocsp"] = respond
        made = Lists.of([Service(issuer.identity.certificate, supply=f"{base}/ocsp")])
        update(
            tmp_path / "store",
            fetch=from_folder(made.write(tmp_path / "source")),
            now=NOW,
            lotl_url=LOTL_URL,
            signers=[asn1(made.lotl_signer.certificate)],
        )
        settings.SIGNATURE_TRUST = [str(tmp_path / "store")]
        consultation = world.publish(closes_in=timedelta(hours=1))
        offer = b"12 000 euros"
        files = {
            name: cades(who, offer, attached=True)
            for name, who in (("bonne.p7m", good), ("volee.p7m", stolen))
        }
        world.deposit(consultation, tmp_path, files=files)
        assert consultation.deadline is not None
        with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
            opened(world, consultation)
    found = {row.name: row.signature or {} for row in OpenedFile.objects.filter(name__endswith=".p7m")}
    said = {
        name: (row["signatures"][0]["sub_indication"], row["signatures"][0]["revocation"])
        for name, row in found.items()
    }
    kept, revoked = said["bonne.p7m"], said["volee.p7m"]
    assert kept[0] == ""
    assert "réponse OCSP" in kept[1]
    assert revoked[0] == "REVOKED_NO_POE"


@pytest.mark.parametrize("letters", ["建" * 100, "🏗" * 90, "e\u0301" * 80, "a\u202e"])
def test_a_name_that_no_file_system_takes_is_judged_all_the_same(db: None, letters: str) -> None:
    """255 characters are more than 255 bytes."""
    sent = SimpleUploadedFile(f"{letters}.pdf", pdf())
    answer = Client().post(reverse("check-signature"), {"file": sent})
    assert answer.status_code == 200
    assert "aucune signature" in answer.content.decode()
