"""Seal and sign PDFs (PAdES, ETSI EN 319 142) through pyHanko, the only module that writes signatures with
it.
"""

import io
from datetime import datetime

from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.sign import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.general import SigningError as PyhankoSigningError
from pyhanko.sign.signers import SimpleSigner
from pyhanko_certvalidator.registry import SimpleCertificateStore

from signing.errors import SignatureRefused
from signing.pki import Credential


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


def sign_pdf(
    pdf: bytes, credential: Credential, *, reason: str, field: str = "Signature1", name: str = ""
) -> bytes:
    """The PDF with a PAdES baseline-B signature of its whole content, in an invisible field.

    Raises SignatureRefused.

    The signing time is the clock's; a deposit's own timestamp token is its proof of existence.
    """
    try:
        writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
        signer = PdfSigner(
            PdfSignatureMetadata(
                field_name=field,
                md_algorithm="sha256",
                subfilter=SigSeedSubFilter.PADES,
                reason=reason,
                name=name or None,
            ),
            signer=_signer(credential),
            new_field_spec=SigFieldSpec(field),
        )
        out = io.BytesIO()
        signer.sign_pdf(writer, output=out)
    except (PyhankoSigningError, PdfError, ValueError) as refused:
        raise SignatureRefused(f"Ce PDF n'a pas pu être signé : {refused}") from refused
    return out.getvalue()


def seal_pdf(
    pdf: bytes, *, certificate_pem: bytes, key_pem: bytes, ca_pem: bytes, reason: str, now: datetime
) -> bytes:
    """The PDF sealed by the platform's key.

    `now` only dates the field's name, so that two seals never clash.
    """
    return sign_pdf(
        pdf, Credential(certificate_pem, key_pem, ca_pem), reason=reason, field=f"Cachet{now:%Y%m%d%H%M%S}"
    )
