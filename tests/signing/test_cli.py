"""The command line: exit codes and sentences, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_folder_without_draft_is_said(tmp_path: Path, folder: str) -> None:
    done = run("--server", "http://127.0.0.1:9", "status", tmp_path / folder)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
