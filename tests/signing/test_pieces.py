"""Which pieces seem to be missing: by their words, by their initials, whatever the accents and the dashes."""

import json
import subprocess

import pytest

from deploy.install import node
from signing.pieces import brings, missing
from tests.conftest import ROOT

CASES = [
    ("acte-d-engagement.pdf", "Acte d'engagement", True),
    ("ActeEngagement_signé.pdf", "Acte d'engagement", True),
    ("AE lot 1.pdf", "Acte d'engagement", True),
    ("BPU-v2.xlsx", "Bordereau des prix unitaires", True),
    ("bordereau_prix.xlsx", "Bordereau des prix unitaires", True),
    ("DC1.pdf", "DC1", True),
    ("DC2.pdf", "DC1", False),
    ("mémoire technique.pdf", "Mémoire technique", True),
    ("memoire-justificatif.pdf", "Mémoire technique", False),
    ("plan.pdf", "Acte d'engagement", False),
    ("", "Acte d'engagement", False),
    ("n'importe quoi.pdf", "???", True),
]


@pytest.mark.parametrize(("name", "title", "expected"), CASES)
def test_a_name_brings_a_piece(name: str, title: str, expected: bool) -> None:
    assert brings(name, title) is expected


def test_what_is_missing_keeps_its_order() -> None:
    assert missing(["DC1", "Acte d'engagement", "Mémoire technique"], ["ae.pdf"]) == [
        "DC1",
        "Mémoire technique",
    ]


def test_the_page_says_the_same() -> None:
    program = (
        'import { brings } from "./frontend/deposit/pieces.js";'
        f"console.log(JSON.stringify({json.dumps(CASES)}.map(([name, title]) => brings(name, title))))"
    )
    done = subprocess.run(
        [node()[0], "--input-type=module", "-e", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [expected for _, _, expected in CASES]
