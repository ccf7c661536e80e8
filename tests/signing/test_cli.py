"""The command line: exit codes and sentences, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from signing.cli import _state
from tests.conftest import ROOT


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "signing", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", **environment},
    )


def test_a_wrong_use_is_explained() -> None:
    done = run("frobnicate")
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_a_server_that_does_not_answer_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "draft").mkdir()
    state = {"v": "draft/1", "consultation": "x", "deposit": "d", "envelopes": []}
    (tmp_path / "draft" / "draft.json").write_text(json.dumps(state))
    done = run("--server", "http://127.0.0.1:9", "status", tmp_path / "draft")
    assert done.returncode == 3
    assert "relancez" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_receipt_that_is_not_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text("{}")
    (tmp_path / "key").write_text("x+00000000+AAAA")
    done = run("verify", tmp_path, "--journal-key", tmp_path / "key")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_late_state_says_whether_anything_is_left_to_decide(tmp_path: Path) -> None:
    """On the instant of the deadline it began in time; a microsecond later nothing is left to decide."""
    deadline = "2026-12-01T11:00:00.000000+00:00"
    for started, words in (
        (deadline, "décision motivée"),
        (deadline.replace(".000000", ".000001"), "éliminé"),
    ):
        said = {"attempt": {"started": started}, "deadline": deadline}
        (tmp_path / "receipt.json").write_text(json.dumps(said))
        assert words in _state("late", tmp_path)
        assert _state("deposited", tmp_path) == "déposé dans les délais"


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_folder_without_draft_is_said(tmp_path: Path, folder: str) -> None:
    done = run("--server", "http://127.0.0.1:9", "status", tmp_path / folder)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
