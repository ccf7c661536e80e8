"""Each target holds on examples, whole and damaged; with DEMATMP_WHOLE_MATRIX, atheris looks for more."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, absent, whole_matrix
from tests.fuzz.targets import NAMES, target

SECONDS = int(os.environ.get("DEMATMP_FUZZ_SECONDS", "120"))


@pytest.fixture
def atheris() -> None:
    if importlib.util.find_spec("atheris") is None:
        absent("Robustesse : atheris n'existe pas pour cette machine (Linux x86_64 seulement)")


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_on_its_examples_and_on_damaged_ones(name: str) -> None:
    fuzzed = target(name)
    assert fuzzed.seeds
    for seed in fuzzed.seeds:
        fuzzed.run(seed)
        fuzzed.run(seed[: len(seed) // 2])
        fuzzed.run(seed[: len(seed) // 3] + b"\x00\xff" + seed[len(seed) // 3 :])
    fuzzed.run(b"")


@pytest.mark.usefixtures("atheris")
def test_the_fuzzer_finds_a_promise_that_is_broken(tmp_path: Path) -> None:
    """A fuzzer that cannot fail proves nothing: this parser refuses to be given « PLI »."""
    program = tmp_path / "broken.py"
    program.write_text(
        "import sys, atheris\n"
        "@atheris.instrument_func\n"
        "def run(data):\n"
        "    if data[:1] == b'P' and data[1:2] == b'L' and data[2:3] == b'I': raise IndexError\n"
        "atheris.Setup([sys.argv[0], '-max_total_time=60', '-seed=1'], run)\n"
        "atheris.Fuzz()\n"
    )
    done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"IndexError" in done.stdout + done.stderr


@whole_matrix
@pytest.mark.usefixtures("atheris")
@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.parametrize("name", NAMES)
def test_atheris_breaks_no_promise(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said[-4000:]
    assert " DONE " in said or "Done " in said
