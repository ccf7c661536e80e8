"""`python -m signing check`: a company knows before depositing; a stored report still reads."""

import json
import os
from pathlib import Path

from signing.report import read_report
from signing.validation import validate_isolated
from tests.conftest import ROOT
from tests.signing.authority import NOW, World
from tests.signing.cms_cases import cades
from tests.signing.test_cli import run

WORLD = World()
OFFER = b"Acte d'engagement"


def _files(folder: Path, content: bytes = OFFER) -> tuple[Path, Path, Path]:
    paths = folder / "acte.txt.p7s", folder / "acte.txt", folder / "ca.pem"
    for path, data in zip(paths, (cades(WORLD.signer, OFFER), content, WORLD.trust[0]), strict=True):
        path.write_bytes(data)
    return paths


def test_a_valid_signature_is_said_valid_in_french(tmp_path: Path) -> None:
    signature, content, trust = _files(tmp_path)
    done = run("check", signature, "--detached", content, "--trust", trust)
    assert done.returncode == 0, done.stderr
    assert "signature valide" in done.stdout
    assert "Julie Moreau" in done.stdout
    assert "Pour la commission" in done.stdout


def test_the_file_of_the_same_name_is_taken_for_the_content(tmp_path: Path) -> None:
    signature, _, trust = _files(tmp_path)
    done = run("check", signature, "--trust", trust)
    assert (done.returncode, "Porte sur : acte.txt" in done.stdout) == (0, True), done.stdout


def test_a_path_seen_from_here_is_understood(tmp_path: Path) -> None:
    paths = [os.path.relpath(each, ROOT) for each in _files(tmp_path)]
    assert run("check", paths[0], "--detached", paths[1], "--trust", paths[2]).returncode == 0


def test_a_changed_document_is_said_changed(tmp_path: Path) -> None:
    signature, content, trust = _files(tmp_path, b"autre")
    done = run("check", signature, "--detached", content, "--trust", trust, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["signatures"][0]["sub_indication"] == "HASH_FAILURE"


def test_a_missing_file_is_said_without_a_traceback(tmp_path: Path) -> None:
    done = run("check", tmp_path / "absent.pdf")
    assert done.returncode == 1
    assert "n'existe pas" in done.stderr


def test_the_report_of_the_subprocess_is_whole(tmp_path: Path) -> None:
    signature, content, trust = _files(tmp_path)
    report = validate_isolated(signature, at=NOW, trust=[trust], detached=[content], name="acte.txt.p7s")
    assert report.indication == "TOTAL_PASSED"
    assert {piece.kind for piece in report.evidence} == {"anchor", "certificate"}
    assert read_report(json.loads(json.dumps(report.as_dict()))) == report


def test_a_report_of_an_earlier_version_still_reads() -> None:
    names = ("indication", "sub_indication", "signer", "issuer", "serial", "format", "signing_time")
    row = dict.fromkeys((*names, "coverage", "reason"), "x")
    report = read_report({"indication": "TOTAL_PASSED", "signatures": [row], "reason": ""})
    assert report.signatures[0].signer == "x"
    assert report.signatures[0].qualified is None
