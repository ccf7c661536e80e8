"""The verbs about people's signatures: `check` before depositing.

python -m signing check offre.pdf.p7s --detached offre.pdf --trust autorite.pem
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from signing.errors import SignatureRefused
from signing.report import LABELS, PASSED, Report
from signing.validation import validate_isolated

Verb = Callable[[str, Callable[[argparse.Namespace], dict[str, object]], str], argparse.ArgumentParser]
NOT_PASSED = 1


def signature_verbs(verb: Verb) -> None:
    one = verb("check", check, "vérifier les signatures d'un fichier, avant de le déposer")
    one.add_argument("file", type=Path, metavar="FICHIER")
    one.add_argument(
        "--detached",
        type=Path,
        action="append",
        default=[],
        metavar="CONTENU",
        help="fichier signé, quand la signature en est séparée (peut être répété)",
    )
    one.add_argument(
        "--trust",
        type=Path,
        action="append",
        default=[],
        metavar="PEM",
        help="certificats d'autorités, ou dossier des listes de confiance (peut être répété)",
    )
    one.add_argument("--at", type=_instant, help="date à laquelle juger (ISO 8601) ; par défaut, maintenant")
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="rapport en JSON")


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check(options: argparse.Namespace) -> dict[str, object]:
    """Exit code 0 when every signature passes, else 1. Raises SignatureRefused, OSError."""
    for path in (options.file, *options.detached, *options.trust):
        if not path.exists():
            raise SignatureRefused(f"« {path} » n'existe pas.")
    report = validate_isolated(
        options.file,
        at=options.at or datetime.now(UTC),
        trust=options.trust,
        detached=options.detached,
    )
    options.exit_code = 0 if report.indication == PASSED else NOT_PASSED
    if options.json:
        return report.as_dict()
    for line in explain(report, options.file.name):
        sys.stdout.write(line + "\n")
    return {}


def explain(report: Report, name: str) -> list[str]:
    """The report in French, for a person."""
    if not report.has_signature:
        return [f"{name} : {report.reason}"]
    lines = [f"{name} : signature {LABELS[report.indication]}"]
    for number, signature in enumerate(report.signatures, start=1):
        role = "Contre-signature" if signature.role == "counter-signature" else "Signature"
        lines += ["", f"{role} {number}"]
        lines += [f"  {label} : {value}" for label, value in signature.lines()]
    return lines
