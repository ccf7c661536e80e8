"""Who is trusted: certificates given as PEM, and the state of the trusted lists they come from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asn1crypto import crl, ocsp, pem, x509

from signing.errors import TrustRefused

_PEM_LIMIT = 4 * 1024 * 1024  # bytes


@dataclass
class Trust:
    """Authorities, and revocation data at hand: nothing here was taken from what is judged."""

    anchors: list[x509.Certificate] = field(default_factory=list)
    crls: list[crl.CertificateList] = field(default_factory=list)
    ocsps: list[ocsp.OCSPResponse] = field(default_factory=list)


def from_pems(texts: Iterable[bytes]) -> Trust:
    """Raises TrustRefused for what is not PEM certificates."""
    return Trust(anchors=[each for text in texts for each in certificates_in(text)])


def certificates_in(text: bytes) -> list[x509.Certificate]:
    """PEM, several, or one DER. Raises TrustRefused."""
    if len(text) > _PEM_LIMIT:
        raise TrustRefused("Ce fichier de certificats est trop long.")
    try:
        if not pem.detect(text):
            return [_loaded(text)]
        return [_loaded(der) for _, _, der in pem.unarmor(text, multiple=True)]
    except (ValueError, TypeError) as bad:
        raise TrustRefused("Ce fichier ne contient pas de certificat lisible.") from bad


def _loaded(der: bytes) -> x509.Certificate:
    certificate = x509.Certificate.load(der, strict=True)
    _ = certificate.native
    return certificate


def from_paths(paths: Sequence[Path]) -> Trust:
    """Files of certificates. Raises TrustRefused, OSError."""
    return from_pems(path.read_bytes() for path in paths)
