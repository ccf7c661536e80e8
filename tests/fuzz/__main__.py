"""Fuzz one target with atheris: python -m tests.fuzz TARGET --seconds 120

The corpus lives in DEMATMP_FUZZ_CORPUS (a folder, kept between runs) or in a temporary folder. What broke a
promise is written in the current folder, its bytes in base64 on the error output, and the exit code is not 0.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

MAX_BYTES = 64 * 1024
SLOWEST = 20  # seconds for one input
MEMORY = 2048  # MiB

with atheris.instrument_imports(include=["signing", "storage", "dematmp.acts", "asn1crypto", "pyhanko"]):
    from tests.fuzz.targets import NAMES, target


def main() -> None:
    """Never returns: the fuzzer ends the process, with 0 when no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=120)
    options = parser.parse_args()
    fuzzed = target(options.target)
    kept = os.environ.get("DEMATMP_FUZZ_CORPUS")
    corpus = Path(kept) / options.target if kept else Path(tempfile.mkdtemp(prefix="corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for rank, seed in enumerate(fuzzed.seeds):
        (corpus / f"seed-{rank}").write_bytes(seed)
    limits = [f"-max_total_time={options.seconds}", f"-max_len={MAX_BYTES}", f"-timeout={SLOWEST}"]
    atheris.Setup([sys.argv[0], *limits, f"-rss_limit_mb={MEMORY}", str(corpus)], fuzzed.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
