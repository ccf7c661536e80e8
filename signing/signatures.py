"""Sign files for a deposit: PAdES inside a PDF, CAdES beside any other file.

sign_file(Path("offre.pdf"), Path("offre-signee.pdf"), signer, stamper=HttpStamper("https://tsa…"))
"""

import asyncio
import io
import itertools
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from asn1crypto import crl, ocsp, x509
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter, enumerate_sig_fields
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.signers import Signer
from pyhanko.sign.timestamps import TimeStamper
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko.sign.validation.errors import NoDSSFoundError, SignatureValidationError
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.errors import PathError, ValidationError

from signing.errors import SignatureRefused
from signing.pdf_reading import Reader
from signing.pdf_revisions import is_hybrid_plain
from signing.sniffing import Kind, kind_of

_REFUSED = (
    PyhankoSigningError,
    SignatureValidationError,
    PdfError,
    PathError,
    ValidationError,
    ValueError,
    ArithmeticError,
    zlib.error,
)


def sign_file(
    path: Path,
    out: Path,
    signer: Signer,
    *,
    reason: str = "",
    stamper: TimeStamper | None = None,
    long_term: Sequence[x509.Certificate] = (),
) -> str:
    """« PAdES B-T », « CAdES B-B »…: what was written in `out`, which is never there half made.

    `long_term`: the authorities up to which revocation data is fetched and kept in a PDF (level LT), from the
    signatory's own authorities and nobody else. Raises SignatureRefused, TimestampRefused, OSError.
    """
    if out.exists():
        raise SignatureRefused(f"« {out} » existe déjà : rien n'est écrasé.")
    if kind_of(path) is Kind.PDF:
        if long_term and stamper is None:
            raise SignatureRefused("Le niveau LT demande une autorité d'horodatage.")
        data = _sign_pdf(path.read_bytes(), signer, reason, stamper, long_term)
        level, name = ("B-LT" if long_term else "B-T" if stamper else "B-B"), "PAdES"
    else:
        if long_term:
            raise SignatureRefused("Le niveau LT n'est écrit que dans un PDF.")
        data = _sign_beside(path, signer, stamper)
        level, name = ("B-T" if stamper else "B-B"), "CAdES"
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(out)
    return f"{name} {level}"


def _sign_pdf(
    data: bytes,
    signer: Signer,
    reason: str,
    stamper: TimeStamper | None,
    long_term: Sequence[x509.Certificate],
) -> bytes:
    try:
        reader = Reader(io.BytesIO(data))
        hybrid = reader.xrefs.hybrid_xrefs_present  # as office suites write
        if hybrid and not is_hybrid_plain(reader, reader.xrefs.total_revisions):
            raise SignatureRefused(
                "Ce PDF se lit de deux façons (deux tables qui se contredisent) : enregistrez-le de nouveau."
            )
        field = _free_name(reader)
        context = None
        if long_term:
            context = ValidationContext(
                trust_roots=list(long_term), allow_fetching=True, revocation_mode="hard-fail"
            )
        metadata = PdfSignatureMetadata(
            field_name=field,
            md_algorithm="sha256",
            subfilter=SigSeedSubFilter.PADES,
            reason=reason or None,
            embed_validation_info=context is not None,
            validation_context=context,
        )
        out = io.BytesIO()
        PdfSigner(metadata, signer=signer, timestamper=stamper, new_field_spec=SigFieldSpec(field)).sign_pdf(
            IncrementalPdfFileWriter(io.BytesIO(data), strict=not hybrid), output=out
        )
        kept = context is None or _keeps_revocation(out, signer, strict=not hybrid)
    except _REFUSED as refused:
        raise SignatureRefused(f"Ce PDF n'a pas pu être signé : {refused}") from refused
    if not kept:
        raise SignatureRefused(
            "Aucune donnée de révocation n'a été obtenue pour ce certificat, qui ne dit pas où la demander : "
            "le niveau LT ne peut pas être atteint. Signez sans --long-term (niveau B-T)."
        )
    return out.getvalue()


def _free_name(reader: PdfFileReader) -> str:
    """A name for the signature that no other field has, but one that waits for a signature."""
    held = reader.root.get("/AcroForm")
    form = held.get_object() if held is not None else None
    listed = form["/Fields"] if isinstance(form, generic.DictionaryObject) and "/Fields" in form else ()
    fields = [each.get_object() for each in listed] if isinstance(listed, generic.ArrayObject) else []
    taken = {
        str(each["/T"]) for each in fields if isinstance(each, generic.DictionaryObject) and "/T" in each
    }
    waiting = {name for name, _, _ in enumerate_sig_fields(reader, filled_status=False)}
    names = (f"Signature{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken - waiting)


def _keeps_revocation(signed: io.BytesIO, signer: Signer, *, strict: bool) -> bool:
    """Whether a list or an answer about the signatory's certificate is in the file (EN 319 142-1 §6.3)."""
    certificate = signer.signing_cert
    if certificate is None:
        return False
    try:
        store = DocumentSecurityStore.read_dss(PdfFileReader(signed, strict=strict))
    except NoDSSFoundError:
        return False
    lists = (crl.CertificateList.load(each.get_object().data) for each in store.crls)
    if any(each.issuer == certificate.issuer for each in lists):
        return True
    answers = (ocsp.OCSPResponse.load(each.get_object().data) for each in store.ocsps)
    said = (single for each in answers for single in each.response_data["responses"])
    return any(each["cert_id"]["serial_number"].native == certificate.serial_number for each in said)


def _sign_beside(path: Path, signer: Signer, stamper: TimeStamper | None) -> bytes:
    async def sign() -> bytes:
        with path.open("rb") as file:
            made = await signer.async_sign_general_data(
                file, "sha256", detached=True, use_cades=True, timestamper=stamper
            )
        return bytes(made.dump())

    try:
        return asyncio.run(sign())
    except _REFUSED as refused:
        raise SignatureRefused(f"Ce fichier n'a pas pu être signé : {refused}") from refused
