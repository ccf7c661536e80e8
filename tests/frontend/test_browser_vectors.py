"""The browser's sealing agrees with the committed vectors, with Wycheproof, and with the Python library."""

import json
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from deploy.install import node
from signing.keys import open_with
from signing.sharing import combine
from tests.conftest import ROOT


def _run(*arguments: str) -> tuple[dict[str, object], str]:
    command = [node()[0], str(ROOT / "frontend" / "vectors.mjs"), str(ROOT / "tests" / "vectors"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    made, checks = done.stdout.splitlines()
    return json.loads(made), checks


@pytest.fixture(scope="module")
def made() -> dict[str, object]:
    return _run()[0]


def test_what_javascript_sealed_python_opens(made: dict[str, object]) -> None:
    known = json.loads((ROOT / "tests" / "vectors" / "keys.json").read_text())["sealed"]
    plain = open_with(
        bytes.fromhex(known["seed"]), bytes.fromhex(str(made["sealed"])), bytes.fromhex(known["info"])
    )
    assert plain.hex() == known["plaintext"]


def test_every_quorum_that_javascript_dealt_python_combines(made: dict[str, object]) -> None:
    seed = json.loads((ROOT / "tests" / "vectors" / "shares.json").read_text())["seed"]
    dealt = made["dealt"]
    assert isinstance(dealt, list)
    for quorum in combinations(dealt, 3):
        assert combine([bytes.fromhex(share) for share in quorum]).hex() == seed


def test_javascript_agrees_with_wycheproof(shared: Path) -> None:
    vectors = shared / "wycheproof" / "c2sp_chunked_encryption_aes_256_gcm_test.json"
    _, checks = _run(str(vectors))
    assert int(checks.split()[0]) >= json.loads(vectors.read_text())["numberOfTests"]
