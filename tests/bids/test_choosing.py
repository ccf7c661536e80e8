"""`python -m signing seal` and `submit`, as a company runs them: what cannot be deposited is said first."""

import json
import subprocess
import sys
import unicodedata
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.services import issue_token
from dematmp.bids.models import Attempt, Bid
from dematmp.consultations.models import Consultation
from tests.bids.test_backup_channel import live_world  # noqa: F401
from tests.conftest import ROOT
from tests.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


class Shell:
    def __init__(self, server: str, folder: Path, token: str) -> None:
        self.server, self.folder, self.token = server, folder, folder / "token"
        self.token.write_text(token)

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "signing", "--server", self.server, "--token-file", str(self.token)]
        return subprocess.run(
            [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
        )


@pytest.fixture
def made(live_world: World) -> Consultation:  # noqa: F811
    consultation = live_world.publish(closes_in=timedelta(hours=1))
    Consultation.objects.filter(pk=consultation.pk).update(limits={"file_bytes": 1000, "files": 3})
    return consultation


@pytest.fixture
def shell(live_world: World, live_server: LiveServer, tmp_path: Path) -> Shell:  # noqa: F811
    token = issue_token(live_world.bidder, live_world.company, label="choix", now=timezone.now())
    return Shell(live_server.url, tmp_path, token)


def test_what_cannot_be_deposited_is_said_before_it_is_sealed(
    made: Consultation, shell: Shell, tmp_path: Path
) -> None:
    def refused(*arguments: str | Path) -> str:
        done = shell.run("seal", str(made.uuid), *arguments, "--draft", tmp_path / "non")
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "non").exists()
        return done.stderr

    (tmp_path / "grand plan.pdf").write_bytes(bytes(2000))
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "A.txt").write_text("b")
    (tmp_path / "b" / "\u202egpj.exe").write_text("c")
    assert "« grand plan.pdf » fait 2 Ko ; 1000 octets au plus" in refused(
        "--offre", tmp_path / "grand plan.pdf"
    )
    (tmp_path / "vide.txt").touch()
    assert "« vide.txt » est vide (0 octet)" in refused("--offre", tmp_path / "vide.txt")
    assert "n'existe pas" in refused("--offre", tmp_path / "absent.pdf")
    assert "Le lot « 9 » n'existe pas. Lots : 1" in refused("--offre", tmp_path / "a.txt", "--lot", "9")
    assert "Aucun fichier" in refused()
    assert "auraient le même nom" in refused("--offre", tmp_path / "a.txt", tmp_path / "b" / "A.txt")
    assert "gpj.exe" in refused("--offre", tmp_path / "b")
    many = [tmp_path / f"{number}.txt" for number in range(4)]
    for each in many:
        each.write_text("x")
    assert "4 fichiers ; 3 au plus" in refused("--offre", *many)


def test_a_draft_is_one_deposit_told_in_french(made: Consultation, shell: Shell, tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "mémoire.txt")  # as macOS writes it
    (tmp_path / name).write_text("mon offre")
    draft = tmp_path / "brouillon"
    sealing = ("seal", str(made.uuid), "--offre", tmp_path / name, "--candidature", tmp_path / name)
    assert shell.run(*sealing, "--draft", draft).returncode == 0
    again = shell.run(*sealing, "--draft", draft)
    assert again.returncode == 1
    assert "déjà un brouillon" in again.stderr
    envelope = json.loads((draft / "draft.json").read_text())["envelopes"][0]["envelope"]
    spoilt = draft / envelope / "1.cob"
    data = spoilt.read_bytes()
    spoilt.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused = shell.run("submit", draft)
    assert refused.returncode == 1
    assert "a changé depuis qu'il a été scellé" in refused.stderr
    assert not Bid.objects.filter(consultation=made).exists()
    other = tmp_path / "autre"
    assert shell.run(*sealing, "--draft", other).returncode == 0
    sent = shell.run("submit", other)
    assert sent.returncode == 0, sent.stderr
    assert "état : déposé dans les délais" in sent.stdout
    assert "état : déposé" in shell.run("status", other).stdout
    shell.run("withdraw", other)
    assert "état : retiré" in shell.run("status", other).stdout
    resent = shell.run("submit", other)  # a program that submits again must not take it for deposited
    assert (resent.returncode, "a été retiré le" in resent.stderr) == (1, True)
    assert Attempt.objects.filter(consultation=made).count() == 2
