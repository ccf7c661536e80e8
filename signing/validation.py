"""Validate the PAdES signatures of a PDF at a given time, without any network, in a subprocess with limits.

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
from typing import BinaryIO

from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.validation import EmbeddedPdfSignature, SignatureCoverageLevel, validate_pdf_signature
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.errors import PathError

from signing.report import FAILED, INDETERMINATE, PASSED, Report, SignatureReport, worst

FILE_LIMIT = 256 * 1024**2  # bytes
MEMORY_LIMIT = 2 * 1024**3  # bytes of address space
TIME_LIMIT = 60  # seconds
MAX_SIGNATURES = 50
_TAIL_BYTES = 64 * 1024


def none_found(reason: str) -> Report:
    return Report("", (), reason)


def unreadable(reason: str) -> Report:
    """A file that cannot be judged: INDETERMINATE, which never rejects a bid."""
    return Report(INDETERMINATE, (), reason)


def validate(path: Path, *, at: datetime, trust: Sequence[bytes]) -> Report:
    """The report on a PDF.

    `trust` holds PEM certificates of authorities, `at` is the proof of existence (UTC).
    """
    if path.stat().st_size > FILE_LIMIT:
        return unreadable("Fichier trop volumineux pour être analysé.")
    with path.open("rb") as file:
        if file.read(5) != b"%PDF-":
            return none_found(
                "Ce fichier n'est pas un PDF : les autres formats de signature seront traités plus tard."
            )
        file.seek(0)
        try:
            reader = PdfFileReader(file)
            if reader.encrypted:
                return unreadable("PDF protégé par un mot de passe.")
            embedded = list(reader.embedded_regular_signatures)[:MAX_SIGNATURES]
            if not embedded:
                return none_found("Ce PDF n'est pas signé.")
            ends = _ends_cleanly(file)
            signatures = tuple(_judge(signature, at, trust, ends=ends) for signature in embedded)
        except (
            PdfError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            RecursionError,
        ) as broken:
            return unreadable(f"PDF illisible : {type(broken).__name__}.")
    return Report(worst(signatures), signatures, "")


def _roots(trust: Sequence[bytes]) -> list[asn1_x509.Certificate]:
    found = []
    for text in trust:
        for _, _, der in pem.unarmor(text, multiple=True):
            found.append(asn1_x509.Certificate.load(der))
    return found


def _ends_cleanly(file: BinaryIO) -> bool:
    """Nothing but white space follows the last end-of-file mark: no bytes that no revision accounts for."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - _TAIL_BYTES))
    _, mark, after = file.read().rpartition(b"%%EOF")
    return bool(mark) and not after.strip()


def _judge(
    signature: EmbeddedPdfSignature, at: datetime, trust: Sequence[bytes], *, ends: bool
) -> SignatureReport:
    context = ValidationContext(
        trust_roots=_roots(trust),
        moment=at,
        allow_fetching=False,
        revocation_mode="soft-fail",
        best_signature_time=at,
    )
    certificate = signature.signer_cert
    facts = {
        "signer": certificate.subject.human_friendly,
        "issuer": certificate.issuer.human_friendly,
        "serial": f"{certificate.serial_number:x}",
        "format": "PAdES" if "ETSI" in str(signature.sig_object.get("/SubFilter")) else "PDF",
    }
    try:
        status = validate_pdf_signature(signature, signer_validation_context=context)
    except (SignatureValidationError, PyhankoSigningError, PathError) as refused:
        return SignatureReport(
            FAILED, "FORMAT_FAILURE", signing_time="", coverage="unclear", reason=str(refused), **facts
        )
    coverage = _coverage(status) if ends else "partial"
    indication, sub, reason = _verdict(status, coverage)
    moment = status.signer_reported_dt.isoformat() if status.signer_reported_dt else ""
    return SignatureReport(indication, sub, signing_time=moment, coverage=coverage, reason=reason, **facts)


def _coverage(status: object) -> str:
    """Whole only when nothing follows the signed bytes, or what follows is long-term validation data."""
    level = status.coverage  # type: ignore[attr-defined]
    if level == SignatureCoverageLevel.ENTIRE_FILE:
        return "whole"
    if (
        level == SignatureCoverageLevel.ENTIRE_REVISION
        and status.modification_level is not None  # type: ignore[attr-defined]
        and status.modification_level <= ModificationLevel.LTA_UPDATES  # type: ignore[attr-defined]
    ):
        return "whole"
    return "partial" if level == SignatureCoverageLevel.ENTIRE_REVISION else "unclear"


def _verdict(status: object, coverage: str) -> tuple[str, str, str]:
    if not status.intact:  # type: ignore[attr-defined]
        return FAILED, "HASH_FAILURE", "Le contenu signé a été modifié après la signature."
    if not status.valid:  # type: ignore[attr-defined]
        return FAILED, "SIG_CRYPTO_FAILURE", "La signature ne correspond pas au certificat du signataire."
    if coverage != "whole":
        return (
            INDETERMINATE,
            "FORMAT_FAILURE",
            "Le document a reçu des modifications que cette signature ne couvre pas.",
        )
    if not status.trusted:  # type: ignore[attr-defined]
        problem = str(status.trust_problem_indic or "NO_CERTIFICATE_CHAIN_FOUND")  # type: ignore[attr-defined]
        sub = problem.rsplit(".", 1)[-1]
        return (
            INDETERMINATE,
            sub,
            "Le certificat n'a pas pu être rattaché à une autorité de confiance à cette date.",
        )
    return PASSED, "", "Signature intacte, document entier, certificat reconnu à la date du dépôt."


def validate_isolated(path: Path, *, at: datetime, trust: Sequence[Path]) -> Report:
    """`validate` in a subprocess bounded in memory and time; what exceeds them is INDETERMINATE."""
    command = [sys.executable, "-m", "signing.validation", str(path), "--at", at.isoformat()]
    for each in trust:
        command += ["--trust", str(each)]
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
    data = json.loads(done.stdout)
    return Report(
        data["indication"], tuple(SignatureReport(**each) for each in data["signatures"]), data["reason"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The subprocess: limits first, then parse."""
    parser = argparse.ArgumentParser(prog="python -m signing.validation")
    parser.add_argument("file", type=Path)
    parser.add_argument("--at", type=datetime.fromisoformat, required=True)
    parser.add_argument("--trust", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    report = validate(options.file, at=options.at, trust=[each.read_bytes() for each in options.trust])
    sys.stdout.write(json.dumps(report.as_dict(), ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
