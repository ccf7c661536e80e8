"""The RGS gate: a certificate may transmit when a chain leads from it to an authority that the settings name.

The front proved that its client holds the key; it passes the certificate alone, so the intermediate
authorities are files here (RFC 5280 §6, without policies: an authority of the RGS list sells nothing else).
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from django.conf import settings

log = logging.getLogger(__name__)
MOST_BELOW = 4  # intermediate authorities between a certificate and a listed one
T = TypeVar("T")
_BEGIN = b"-----BEGIN X509 CRL-----"


def is_rgs(certificate: x509.Certificate | None, *, now: datetime) -> bool:
    """Whether a certificate may transmit: a listed authority issued it, itself or through others in force.

    Where the settings name none, any that the front accepted may. False, and logged, if a file is unreadable.
    """
    known = settings.ACTES
    if certificate is None or not known["rgs"]:
        return certificate is not None
    try:
        listed = _each(known["rgs"], x509.load_pem_x509_certificates)
        between = _each(known["rgs_intermediates"], x509.load_pem_x509_certificates)
        lists = _each(known["rgs_crl"], _crls)
    except (OSError, ValueError) as unread:
        log.error("DEMATMP_ACTES_RGS : une autorité ou une liste de révocation ne se lit pas : %s", unread)
        return False
    return _leads(certificate, listed, between, lists, below=0, now=now)


def _leads(
    certificate: x509.Certificate,
    listed: Sequence[x509.Certificate],
    between: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    *,
    below: int,
    now: datetime,
) -> bool:
    """Whether a listed authority is above; `below` counts the intermediate authorities already climbed."""
    if below > MOST_BELOW or not _in_force(certificate, now):
        return False

    def issued(issuer: x509.Certificate) -> bool:
        return _issues(issuer, certificate, below=below) and not _revoked(certificate, issuer, lists)

    if any(issued(each) and _in_force(each, now) for each in listed):
        return True
    return any(
        issued(each) and _leads(each, listed, between, lists, below=below + 1, now=now) for each in between
    )


def _in_force(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _issues(issuer: x509.Certificate, certificate: x509.Certificate, *, below: int) -> bool:
    """Whether an authority, which may have that many others below it, signed a certificate."""
    try:
        limits = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not limits.ca or (limits.path_length is not None and below > limits.path_length):
            return False
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _revoked(
    certificate: x509.Certificate, issuer: x509.Certificate, lists: Sequence[x509.CertificateRevocationList]
) -> bool:
    """Whether a list of its own issuer names it. Without one, what the front checked stands."""
    for each in lists:
        named = each.issuer == issuer.subject and _signed(each, issuer)
        if named and each.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            return True
    return False


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(cast(CertificateIssuerPublicKeyTypes, issuer.public_key()))
    except TypeError:  # a key that signs no list
        return False


def _crls(data: bytes) -> list[x509.CertificateRevocationList]:
    """One in DER, or as many in PEM as nginx's own file holds."""
    if _BEGIN not in data:
        return [x509.load_der_x509_crl(data)]
    return [x509.load_pem_x509_crl(_BEGIN + each) for each in data.split(_BEGIN)[1:]]


def _each(paths: Sequence[str], load: Callable[[bytes], list[T]]) -> list[T]:
    """What files hold, read again when they change. Raises OSError, ValueError."""
    return [each for path in paths for each in _read(path, Path(path).stat().st_mtime_ns, load)]


@lru_cache(maxsize=64)
def _read(path: str, changed: int, load: Callable[[bytes], list[T]]) -> list[T]:
    return load(Path(path).read_bytes())
