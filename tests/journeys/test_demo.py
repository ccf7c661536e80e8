"""The whole procedure by its one command; its evidence checked by tools that know nothing of this project."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from lxml import etree

from deploy.services.packages import SERVICES
from deploy.services.process import free_ports, listening
from signing.validation import validate
from tests.conftest import ROOT, absent, whole_matrix

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]


def play(out: Path, *options: str) -> str:
    """`deploy/demo --once --out DIR`; what it printed."""
    command = [ROOT / "deploy" / "demo", "--once", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


class Played:
    """The demonstration, then the site that it serves: its evidence, its words, a page, its end."""

    def __init__(self, out: Path) -> None:
        self.out, self.port = out, free_ports(1)[0]
        options = ["--port", str(self.port), "--out", str(out)]
        command = [sys.executable, "-m", "dematmp.demo", *options]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        lines: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if sum("phrase secrète" in each for each in lines) == 3:
                    break
            self.text = "".join(lines)
            assert "phrase secrète" in self.text, self.text[-4000:]
            self.page = httpx.get(f"http://127.0.0.1:{self.port}/?closes=on").text
        finally:
            process.terminate()
            process.wait(60)
        self.code = process.returncode


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return Played(tmp_path_factory.mktemp("evidence"))


@pytest.fixture
def out(played: Played) -> Path:
    return played.out


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def minutes(out: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((out / "minutes.json").read_text())["envelopes"]
    return found


def envelope(out: Path, uuid: str) -> Path:
    (found,) = (out / "envelopes").glob(f"*/{uuid}")
    return found


def test_it_shows_what_is_refused_and_what_it_cannot_show(played: Played) -> None:
    text = played.text
    assert "opening.before-deadline" in text
    assert "opening.quorum-missing" in text
    assert re.search(r"Avec ClamAV|non analysé", text)


def test_the_evidence_has_the_agreed_names(out: Path) -> None:
    for name in ("minutes.json", "minutes.pdf", "timings.json", "canaries.txt", "opened/index.json"):
        assert (out / name).stat().st_size > 0
    assert {path.name for path in (out / "pki").iterdir()} == {"ca.pem", "tsa.pem", "seal.pem"}
    assert {path.name for path in (out / "act").iterdir()} == {
        "envelope.xml",
        "message.xml",
        "archive.tar.gz",
        "ar.xml",
    }
    assert {"checkpoint", "checkpoints", "key", "tile"} == {path.name for path in (out / "journal").iterdir()}
    companies = {path.name for path in (out / "originals").iterdir()}
    assert companies == {path.name for path in (out / "envelopes").iterdir()}
    for company in companies:
        for suffix in ("record", "tst", "receipt.json", "receipt.pdf", "tlog-proof"):
            assert (out / "deposits" / f"{company}.{suffix}").stat().st_size > 0
    assert len(list((out / "envelopes").glob("*/*"))) == 10  # 5 deposits of 2 envelopes


def test_openssl_accepts_every_timestamp(out: Path) -> None:
    for record in (out / "deposits").rglob("*.record"):
        token = record.with_suffix(".tst")
        ca = out / "pki" / "ca.pem"
        assert "Verification: OK" in run(
            "openssl", "ts", "-verify", "-data", record, "-in", token, "-CAfile", ca
        )


def test_a_stranger_verifies_the_journal_and_the_deposits(out: Path) -> None:
    script = ROOT / "docs" / "expert" / "verify_journal.py"
    text = run(sys.executable, script, out / "journal", out / "deposits")
    assert text.count("prouvée") == 5


def test_the_independent_implementation_of_the_log_agrees(out: Path) -> None:
    key, note = (out / "journal" / "key").read_text().strip(), (out / "journal" / "checkpoint").read_text()
    from signing.notes import verify_note

    lines = verify_note(note, key).splitlines()
    assert int(lines[1]) > 0
    command = [sys.executable, str(ROOT / "docs" / "expert" / "verify_journal.py"), str(out / "journal")]
    changed = next((out / "journal" / "tile" / "entries").rglob("*"))
    while changed.is_dir():
        changed = next(changed.iterdir())
    whole = changed.read_bytes()
    changed.write_bytes(whole.replace(b"deposit", b"depozit", 1))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    changed.write_bytes(whole)


def test_a_stranger_opens_every_opened_envelope_and_finds_the_originals(out: Path, tmp_path: Path) -> None:
    originals = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (out / "originals").rglob("*")
        if path.is_file()
    }
    script = ROOT / "docs" / "expert" / "open_envelope.py"
    opened = [each for each in minutes(out) if each.get("ek")]
    assert len(opened) == 6
    for each in opened:
        where = envelope(out, each["envelope"])
        record = out / "deposits" / f"{where.parent.name}.record"
        text = run(sys.executable, script, where, each["ek"], tmp_path / each["envelope"], record)
        assert {line.split("  ")[0] for line in text.splitlines()} <= originals
    shutil.copytree(where, tmp_path / "altered")
    with (tmp_path / "altered" / "t.cob").open("r+b") as sealed:
        sealed.write(b"\0")
    command = [sys.executable, script, tmp_path / "altered", each["ek"], tmp_path / "none", record]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, "ce qui fut reçu" in refused.stderr) == (1, True)
    assert not list((tmp_path / "none").iterdir())


def test_openssl_alone_opens_an_envelope(out: Path, tmp_path: Path) -> None:
    first = next(each for each in minutes(out) if each.get("ek") and each["kind"] == "candidature")
    script = ROOT / "docs" / "expert" / "open_envelope.sh"
    text = run(script, envelope(out, first["envelope"]), first["ek"], tmp_path / "out")
    for line in text.splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest


_ARTICLES = ("R2143-2", "R2151-5", "R2151-6")


def test_the_late_and_the_replaced_stay_sealed_and_say_why(out: Path) -> None:
    unopened = [each for each in minutes(out) if not each.get("ek")]
    assert len(unopened) == 4
    articles = [article for each in unopened for article in _ARTICLES if article in each["reason"]]
    assert sorted(articles) == ["R2143-2", "R2151-5", "R2151-6", "R2151-6"]  # one late, one replaced


def test_no_canary_is_in_what_the_platform_stored(out: Path) -> None:
    canaries = (out / "canaries.txt").read_bytes().split()
    assert len(canaries) >= 5
    stored = [path for name in ("envelopes", "deposits", "journal") for path in (out / name).rglob("*")]
    for path in stored:
        if path.is_file():
            data = path.read_bytes()
            assert not any(canary in data for canary in canaries), path
    planted = b"".join(
        path.read_bytes()[:1_000_000] for path in (out / "originals").rglob("*") if path.is_file()
    )
    assert any(canary in planted for canary in canaries)


def test_the_infected_file_is_never_written(out: Path) -> None:
    index = json.loads((out / "opened" / "index.json").read_text())
    for name, each in index.items():
        assert (out / "opened" / name).exists() is each["served"]
        if each["scan"] == "infected":
            assert not each["served"]
    if any(each["scan"] == "clean" for each in index.values()):
        assert any(each["scan"] == "infected" for each in index.values())


def test_the_signed_commitment_letter_is_valid(out: Path) -> None:
    index = json.loads((out / "opened" / "index.json").read_text())
    assert index["batisseurs/acte-d-engagement.pdf"]["signature"] == "TOTAL_PASSED"


def test_receipts_and_minutes_are_pdfs_sealed_by_the_platform(out: Path) -> None:
    from datetime import UTC, datetime

    ca = (out / "pki" / "ca.pem").read_bytes()
    for path in [out / "minutes.pdf", *(out / "deposits").glob("*.pdf")]:
        report = validate(path, at=datetime.now(UTC), trust=[ca])
        assert [each.indication for each in report.signatures] == ["TOTAL_PASSED"], path
    number = json.loads((out / "deposits" / "voirie.receipt.json").read_text())["number"]
    assert number in run("pdftotext", "-layout", out / "deposits" / "voirie.receipt.pdf", "-")


def test_the_act_is_valid_against_the_official_schema(out: Path, shared: Path) -> None:
    schema = etree.XMLSchema(etree.parse(str(shared / "actes" / "actesv1_1.xsd")))
    for name in ("envelope", "message", "ar"):
        schema.assertValid(etree.parse(str(out / "act" / f"{name}.xml")))


def test_nothing_is_left_running_nor_on_disk(out: Path) -> None:
    running = run("ps", "-eo", "args")
    assert not [line for line in running.splitlines() if "demo-once" in line]
    assert not list((ROOT / "var").glob("demo-once-*"))


@whole_matrix
def test_the_same_procedure_runs_on_the_real_services(tmp_path: Path) -> None:
    for service in SERVICES:
        reason = service.missing()
        if reason and service.name != "Redis":
            absent(reason)
    text = play(tmp_path, "--services")
    assert "Avec ClamAV, PostgreSQL, S3 (Ceph RGW), RabbitMQ" in text
    index = json.loads((tmp_path / "opened" / "index.json").read_text())
    assert {each["scan"] for each in index.values()} == {"clean", "infected"}
    assert len([each for each in minutes(tmp_path) if each.get("ek")]) == 6


def test_it_then_serves_the_site_names_each_actor_and_stops_everything(played: Played) -> None:
    assert f"http://127.0.0.1:{played.port}" in played.text
    login, password = re.search(r"(nadia\S+) +(\S+)", played.text).groups()  # type: ignore[union-attr]
    assert login.endswith("@agglo.example.fr")
    assert len(password) >= 12
    assert "linge hospitalier" in played.page
    assert "médiathèque" in played.page
    assert played.code == 143
    assert not listening(played.port)
