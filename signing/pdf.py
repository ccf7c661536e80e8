"""Seal and sign PDFs (PAdES, ETSI EN 319 142) through pyHanko, the only module that writes signatures with
it.
"""

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import keys as asn1_keys
from asn1crypto import tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.embed import EmbeddedFileObject, FileSpec, embed_file
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.sign import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.signers import Signer, SimpleSigner
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

import signing.pdf_reading  # noqa: F401  # what is written keeps its names
from signing.errors import SignatureRefused, TimestampRefused
from signing.pki import Credential

_ROOM = 32 * 1024  # hexadecimal digits


@dataclass(frozen=True)
class Attachment:
    """A file inside a PDF: its name, bytes, media type and what it is."""

    name: str
    data: bytes
    media: str
    description: str


def _load(pem: bytes) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))


def _signer(credential: Credential) -> SimpleSigner:
    key = load_pem_private_key(credential.key, None)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    store: SimpleCertificateStore = SimpleCertificateStore()  # type: ignore[no-untyped-call]
    store.register(_load(credential.authority))
    return SimpleSigner(
        signing_cert=_load(credential.certificate),
        signing_key=asn1_keys.PrivateKeyInfo.load(der),
        cert_registry=store,
    )


class _Stamper(TimeStamper):
    """Tokens from whoever answers a DER request with a DER response."""

    def __init__(self, ask: Callable[[bytes], bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ask = ask

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        return tsp.TimeStampResp.load(self._ask(bytes(req.dump())))


def sign_pdf(
    pdf: bytes,
    credential: Credential | Signer,
    *,
    reason: str,
    field: str = "Signature1",
    name: str = "",
    attachments: Sequence[Attachment] = (),
    ask: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """The PDF with a PAdES baseline signature of its whole content, in an invisible field.

    `attachments` are embedded first, hence signed too. With `ask`, which answers a DER TimeStampReq with a
    DER TimeStampResp, the signature carries a token (B-T); without, the time is the clock's (B-B).
    Raises SignatureRefused, and what `ask` raises.
    """
    try:
        writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
        for each in attachments:
            _embed(writer, each)
        signer = PdfSigner(
            PdfSignatureMetadata(
                field_name=field,
                md_algorithm="sha256",
                subfilter=SigSeedSubFilter.PADES,
                reason=reason,
                name=name or None,
            ),
            signer=_signer(credential) if isinstance(credential, Credential) else credential,
            timestamper=_Stamper(ask) if ask else None,
            new_field_spec=SigFieldSpec(field),
        )
        out = io.BytesIO()
        # Room for the token, known beforehand: the authority is asked once.
        signer.sign_pdf(writer, output=out, bytes_reserved=_ROOM if ask else None)
    except (PyhankoSigningError, PdfError, ValueError, ArithmeticError, zlib.error) as refused:
        raise SignatureRefused(f"Ce PDF n'a pas pu être signé : {refused}") from refused
    return out.getvalue()


def _embed(writer: IncrementalPdfFileWriter, attachment: Attachment) -> None:
    held = EmbeddedFileObject.from_file_data(writer, attachment.data, mime_type=attachment.media)
    spec = FileSpec(
        file_spec_string=attachment.name,
        file_name=attachment.name,
        embedded_data=held,
        description=attachment.description,
        af_relationship=generic.pdf_name("/Data"),
    )
    embed_file(writer, spec)


def seal_pdf(
    pdf: bytes,
    credential: Credential | Signer,
    *,
    reason: str,
    now: datetime,
    attachments: Sequence[Attachment] = (),
    ask: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """The PDF sealed by the platform's key or its HSM, with a token if an authority of time answers `ask`.

    `now` only dates the field's name, so that two seals never clash.
    """
    field = f"Cachet{now:%Y%m%d%H%M%S}"
    if ask is not None:
        try:
            return sign_pdf(pdf, credential, reason=reason, field=field, attachments=attachments, ask=ask)
        except (TimestampRefused, SignatureRefused):
            pass  # no good answer: a seal without its time is better than none
    return sign_pdf(pdf, credential, reason=reason, field=field, attachments=attachments)
