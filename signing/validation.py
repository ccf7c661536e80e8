"""Validate the signatures of a file at a given time, without any network, in a subprocess with limits.

    report = validate_isolated(Path("offre.pdf.p7s"), detached=[Path("offre.pdf")], at=now, trust=[ca])

`python -m signing.validation FILE --at ISO --trust ca.pem` prints the report as JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from signing.asic import ContainerRefused, read_asic
from signing.cades import read_cades
from signing.contents import Content
from signing.der import undress
from signing.errors import TrustRefused
from signing.found import Found
from signing.judging import after_others, judge
from signing.pades import Unreadable, read_pades
from signing.report import Evidence, Report, none_found, read_report, unreadable, worst
from signing.sniffing import Kind, kind_of
from signing.trust import Trust, from_paths, from_pems
from signing.xades import read_xades

FILE_LIMIT = 256 * 1024**2  # bytes
MEMORY_LIMIT = 2 * 1024**3  # bytes of address space
TIME_LIMIT = 60  # seconds

__all__ = ["FILE_LIMIT", "none_found", "unreadable", "validate", "validate_isolated"]


def validate(
    path: Path,
    *,
    at: datetime,
    trust: Sequence[bytes] | Trust,
    detached: Path | Sequence[Path] | None = None,
    name: str = "",
) -> Report:
    """The report on a file, whatever its format: its content says which, never its name.

    `trust` holds PEM certificates of authorities, or a Trust; `at` (aware) is a proof that the file existed;
    `detached` are the files among which the content of a detached signature is found by its digest.
    Raises TrustRefused for authorities that cannot be read; a hostile file gives a report.
    """
    if path.stat().st_size > FILE_LIMIT:
        return unreadable("Fichier trop volumineux pour être analysé.")
    others = [detached] if isinstance(detached, Path) else list(detached or ())
    contents = [Content(each.name, each) for each in others]
    known = trust if isinstance(trust, Trust) else from_pems(trust)
    try:
        found = _read(path, name or path.name, contents)
    except Unreadable as why:
        return unreadable(str(why))
    if isinstance(found, Report):
        return found
    return conclude(found, at=at, trust=known)


def _read(path: Path, name: str, contents: list[Content]) -> list[Found] | Report:
    kind = kind_of(path)
    if kind is Kind.PDF:
        return read_pades(path) or none_found("Ce PDF n'est pas signé.")
    if kind is Kind.CMS:
        try:
            data = undress(path.read_bytes())
        except ValueError:
            raise Unreadable("Ce fichier contient plusieurs blocs PEM, ou un bloc illisible.") from None
        if data is not None:
            return read_cades(data, name, contents) or none_found("Ce CMS ne porte aucune signature.")
    if kind is Kind.XML:
        return read_xades(path.read_bytes(), contents) or none_found("Ce fichier XML n'est pas signé.")
    if kind is Kind.ZIP:
        try:
            container = read_asic(path)
        except ContainerRefused as refused:
            raise Unreadable(str(refused)) from refused
        if container is None:
            return none_found("Cette archive ne porte pas de signature : signez chaque document.")
        return container or none_found("Ce conteneur ne porte aucune signature.")
    if kind is Kind.POLYGLOT:
        raise Unreadable(
            "Ce PDF est précédé d'autres données : deux lecteurs n'y verraient pas la même chose."
        )
    return none_found("Ce fichier ne porte pas de signature reconnue.")


def conclude(found: Sequence[Found], *, at: datetime, trust: Trust) -> Report:
    """The report on what engines found; the evidence of all of it, each piece once."""
    signatures, evidence = [], dict[str, Evidence]()
    for each in found:
        signature, pieces, _ = judge(each, at=at, trust=trust)
        signatures.append(signature)
        evidence |= {piece.sha256: piece for piece in pieces}
    signatures = [
        after_others(signature, signatures[rank + 1 :]) if each.followed else signature
        for rank, (each, signature) in enumerate(zip(found, signatures, strict=True))
    ]
    return Report(worst(signatures), tuple(signatures), "", at.isoformat(), tuple(evidence.values()))


def validate_isolated(
    path: Path,
    *,
    at: datetime,
    trust: Sequence[Path],
    detached: Sequence[Path] = (),
    name: str = "",
) -> Report:
    """`validate` in a subprocess bounded in memory and time; what exceeds them is INDETERMINATE."""
    command = [sys.executable, "-m", "signing.validation", str(path), "--at", at.isoformat()]
    for option, files in (("--trust", trust), ("--detached", detached)):
        for each in files:
            command += [option, str(each)]
    command += ["--name", name or path.name]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
            cwd=Path(__file__).resolve().parents[1],
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        )
    except subprocess.TimeoutExpired:
        return unreadable("L'analyse de la signature a dépassé le temps permis.")
    if done.returncode != 0:
        return unreadable("L'analyse de la signature a dépassé les limites permises.")
    return read_report(json.loads(done.stdout))


def main(arguments: Sequence[str] | None = None) -> int:
    """The subprocess: limits first, then parse."""
    parser = argparse.ArgumentParser(prog="python -m signing.validation")
    parser.add_argument("file", type=Path)
    parser.add_argument("--at", type=datetime.fromisoformat, required=True)
    parser.add_argument("--trust", type=Path, action="append", default=[])
    parser.add_argument("--detached", type=Path, action="append", default=[])
    parser.add_argument("--name", default="")
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    try:
        report = validate(
            options.file,
            at=options.at,
            trust=from_paths(options.trust),
            detached=options.detached,
            name=options.name,
        )
    except TrustRefused as refused:
        report = unreadable(str(refused))
    sys.stdout.write(json.dumps(report.as_dict(), ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
