"""Validation in a subprocess bounded in memory and time; only its parent may ask the network."""

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from signing import revocation
from signing.report import Report, none_found, read_report, unreadable
from signing.sniffing import Kind, kind_of
from signing.trust import hosts_of

MEMORY_LIMIT = 2 * 1024**3  # bytes of address space
TIME_LIMIT = 60  # seconds
_ROUNDS = 2  # of questions: who answers may be somebody of whom one must ask first


def limit_this_process() -> None:
    """Before anything hostile is read."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))


def validate_isolated(
    path: Path,
    *,
    at: datetime,
    trust: Sequence[Path],
    stampers: Sequence[Path] = (),
    detached: Sequence[Path] = (),
    beside: Sequence[Path] = (),
    name: str = "",
    online: bool = False,
    kept: Path | None = None,
) -> Report:
    """`validate` in a bounded subprocess; what exceeds the limits is INDETERMINATE.

    `detached` was given as what is signed, `beside` are files of the same bid, among which it may be.
    `trust`: PEM files of authorities, or a folder of trusted lists; `stampers`: of time alone. `online`: ask
    the hosts that those lists name whether certificates are revoked; the subprocess itself never has the
    network. `kept`: a preserved report, whose revocation data and lists are used; its authorities only as far
    as `trust` has them.
    """
    if kind_of(path) is Kind.OTHER:
        return none_found("Ce fichier ne porte pas de signature reconnue.")
    command = [sys.executable, "-m", "signing.validation", str(path.absolute()), "--at", at.isoformat()]
    for option, files in (
        ("--trust", trust),
        ("--stampers", stampers),
        ("--detached", detached),
        ("--beside", beside),
    ):
        for each in files:
            command += [option, str(each.absolute())]
    if kept is not None:
        command += ["--kept", str(kept.absolute())]
    command.append(f"--name={name or path.name}")
    said = _run(command)
    if isinstance(said, Report):
        return said
    answers, asked = list[bytes](), list[revocation.Wanted]()
    for _ in range(_ROUNDS if online else 0):
        wanted = [each for each in _wanted(said) if each not in asked]
        if not wanted:
            break
        hosts, store = hosts_of(trust)
        cache = store / "revocation" if store else None
        more = revocation.collect(wanted, hosts=hosts, cache=cache, now=datetime.now(UTC))
        if not more:
            break
        answers, asked = answers + more, asked + wanted
        said = _again(command, answers)
        if isinstance(said, Report):
            return said
    return _report(said)


def _again(command: Sequence[str], answers: Sequence[bytes]) -> "Mapping[str, object] | Report":
    with tempfile.TemporaryDirectory(prefix="dematmp-revocation-") as folder:
        more = list(command)
        for rank, answer in enumerate(answers):
            kept = Path(folder) / f"{rank}.der"
            kept.write_bytes(answer)
            more += ["--revocation", str(kept)]
        return _run(more)


def _run(command: Sequence[str]) -> "Mapping[str, object] | Report":
    home = str(Path(__file__).resolve().parents[1])
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
            cwd=home,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": home},
        )
    except subprocess.TimeoutExpired:
        return unreadable("L'analyse de la signature a dépassé le temps permis.")
    if done.returncode != 0:
        return unreadable("L'analyse de la signature a dépassé les limites permises.")
    said: Mapping[str, object] = json.loads(done.stdout)
    return said


def _report(said: Mapping[str, object]) -> Report:
    found = said.get("report")
    return read_report(found if isinstance(found, dict) else {})


def _wanted(said: Mapping[str, object]) -> list[revocation.Wanted]:
    rows = said.get("wanted")
    return [
        revocation.Wanted(base64.b64decode(row[0]), base64.b64decode(row[1]))
        for row in (rows if isinstance(rows, list) else [])
    ]
