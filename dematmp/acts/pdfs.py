"""PDFs are opened and their signatures checked in a subprocess with limits.

`python -m dematmp.acts.pdfs --at ISO [--trust ca.pem] FILE…` prints a JSON list, one verdict per file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader

from signing.report import FAILED, INDETERMINATE
from signing.validation import validate

MEMORY_LIMIT = 2 * 1024**3  # bytes of address space
TIME_LIMIT = 120  # seconds
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PdfVerdict:
    """`problem` is the reason for which the file is refused, or empty; `signed` counts its signatures."""

    pages: int
    signed: int
    problem: str


def judge(path: Path, *, at: datetime, trust: Sequence[bytes], chain: bool) -> PdfVerdict:
    """Open a PDF, count its pages, check its signatures.

    `chain` also asks that each certificate leads to an authority of `trust`.
    """
    try:
        with path.open("rb") as file:
            reader = PdfFileReader(file, strict=False)
            if reader.encrypted:
                return PdfVerdict(0, 0, "fichier pdf protégé par un mot de passe")
            pages = int(reader.root["/Pages"]["/Count"])
    except (PdfError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OSError):
        return PdfVerdict(0, 0, "fichier pdf corrompu")
    if pages < 1:
        return PdfVerdict(0, 0, "fichier pdf corrompu : aucune page")
    report = validate(path, at=at, trust=trust)
    for each in report.signatures:
        if each.indication == FAILED:
            return PdfVerdict(pages, len(report.signatures), f"signature invalide : {each.reason}")
        if chain and each.indication == INDETERMINATE and each.coverage == "whole":
            return PdfVerdict(pages, len(report.signatures), f"signature non reconnue : {each.reason}")
    return PdfVerdict(pages, len(report.signatures), "")


def judge_isolated(
    paths: Sequence[Path], *, at: datetime, trust: Sequence[Path], chain: bool
) -> list[PdfVerdict]:
    """`judge` on each file, in one bounded subprocess; what exceeds its limits is refused."""
    if not paths:
        return []
    command = [sys.executable, "-m", "dematmp.acts.pdfs", "--at", at.isoformat()]
    for each in trust:
        command += ["--trust", str(each)]
    command += ["--chain"] if chain else []
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_ROOT)}
    try:
        done = subprocess.run(
            [*command, *map(str, paths)],
            capture_output=True, timeout=TIME_LIMIT, check=False, cwd=_ROOT, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [PdfVerdict(0, 0, "fichier pdf trop long à lire")] * len(paths)
    if done.returncode != 0:
        return [PdfVerdict(0, 0, "fichier pdf corrompu ou trop lourd à lire")] * len(paths)
    return [PdfVerdict(**each) for each in json.loads(done.stdout)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The subprocess: limits first, then parse."""
    parser = argparse.ArgumentParser(prog="python -m dematmp.acts.pdfs")
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--at", type=datetime.fromisoformat, required=True)
    parser.add_argument("--trust", type=Path, action="append", default=[])
    parser.add_argument("--chain", action="store_true")
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    trust = [each.read_bytes() for each in options.trust]
    verdicts = [judge(each, at=options.at, trust=trust, chain=options.chain) for each in options.file]
    sys.stdout.write(json.dumps([asdict(each) for each in verdicts]) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
