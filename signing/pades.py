"""PAdES and signed PDFs (ETSI EN 319 142-1): pyHanko reads, the coverage rule decides what is whole."""

import os
from pathlib import Path
from typing import BinaryIO

from asn1crypto import cms, core
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import DEFAULT_DIFF_POLICY, DiffResult, ModificationLevel
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.validation import EmbeddedPdfSignature, SignatureCoverageLevel
from pyhanko.sign.validation.errors import SignatureValidationError

from signing.found import PARTIAL, UNCLEAR, WHOLE, Found, malformed
from signing.signers import BROKEN, certificates_of, read_signer

MAX_SIGNATURES = 50
_TAIL_BYTES = 64 * 1024
PDF_BROKEN = (PdfError, SignatureValidationError, PyhankoSigningError, *BROKEN)


class Unreadable(Exception):
    """A PDF that cannot be judged; the message says why, in French."""


def read_pades(path: Path) -> list[Found]:
    """Every signature of a PDF, in the order of the file. Raises Unreadable."""
    with path.open("rb") as file:
        try:
            reader = PdfFileReader(file)
            if reader.encrypted:
                raise Unreadable("PDF protégé par un mot de passe.")
            embedded = list(reader.embedded_regular_signatures)[: MAX_SIGNATURES + 1]
            if len(embedded) > MAX_SIGNATURES:
                raise Unreadable(f"Plus de {MAX_SIGNATURES} signatures.")
            ends = _ends_cleanly(file)
            return [_read(each, ends=ends) for each in embedded]
        except PDF_BROKEN as broken:
            raise Unreadable(f"PDF illisible : {type(broken).__name__}.") from broken


def _ends_cleanly(file: BinaryIO) -> bool:
    """Nothing but white space follows the last end-of-file mark: no bytes that no revision accounts for."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - _TAIL_BYTES))
    _, mark, after = file.read().rpartition(b"%%EOF")
    return bool(mark) and not after.strip()


def _read(embedded: EmbeddedPdfSignature, *, ends: bool) -> Found:
    name = "PAdES" if "ETSI" in str(embedded.sig_object.get("/SubFilter")) else "PDF"
    try:
        signed: cms.SignedData = embedded.signed_data
        found = read_signer(
            embedded.signer_info,
            certificates_of(signed),
            lambda algorithm: bytes(embedded.compute_digest(algorithm)),
            format_name=name,
            content_type="data",
        )
        if not isinstance(signed["encap_content_info"]["content"], core.Void):
            found.problem = found.problem or malformed("La signature d'un PDF ne doit pas porter de contenu.")
        found.coverage = _coverage(embedded) if ends else PARTIAL
    except PDF_BROKEN as broken:
        return Found(
            name, problem=malformed(f"Signature illisible ({type(broken).__name__})."), coverage=UNCLEAR
        )
    return found


def _coverage(embedded: EmbeddedPdfSignature) -> str:
    """Whole only when nothing follows the signed bytes, or what follows is long-term validation data."""
    level = embedded.evaluate_signature_coverage()
    embedded.coverage = level  # type: ignore[assignment]  # which the analysis below reads
    if level == SignatureCoverageLevel.ENTIRE_FILE:
        return WHOLE
    if level != SignatureCoverageLevel.ENTIRE_REVISION:
        return UNCLEAR
    difference = embedded.evaluate_modifications(DEFAULT_DIFF_POLICY)
    if not isinstance(difference, DiffResult):
        return PARTIAL
    return WHOLE if difference.modification_level <= ModificationLevel.LTA_UPDATES else PARTIAL
