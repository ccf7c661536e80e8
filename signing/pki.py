"""Certificates: the platform's own small authority, and a test authority for signatories made on the spot."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SEAL_DAYS = 1825
RENEWAL = timedelta(days=90)  # before its end, a seal is renewed, and whoever forgets it is told


@dataclass(frozen=True)
class Credential:
    """A PEM certificate, its PEM key (unencrypted) and the PEM certificate of its issuer."""

    certificate: bytes
    key: bytes
    authority: bytes


def _short(text: str) -> str:
    """At most the 64 bytes of ub-common-name, never half a character (RFC 5280, appendix A.1)."""
    return text.encode()[:64].decode(errors="ignore").strip()


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _short(organisation)),
            x509.NameAttribute(NameOID.COMMON_NAME, _short(common)),
        ]
    )


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in names for name in every})


def new_authority(
    common: str, organisation: str, *, now: datetime, days: int = 7300, path_length: int = 0
) -> Credential:
    """A self-signed P-256 certificate authority; `path_length` authorities may stand below it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common, organisation)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    return Credential(pem, _pem_key(key), pem)


def issue(
    authority: Credential,
    common: str,
    organisation: str,
    *,
    now: datetime,
    days: int = 1095,
    timestamping: bool = False,
    starts: datetime | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Credential:
    """A P-256 end certificate: for timestamps (critical EKU, RFC 3161 §2.3) or for signing documents.

    Of a new key, or of `key` when it is renewed; never beyond its authority's own.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an elliptic curve key")
    key = key or ec.generate_private_key(ec.SECP256R1())
    usages = ("digital_signature",) if timestamping else ("digital_signature", "content_commitment")
    begin = starts or now - timedelta(minutes=5)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common, organisation))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min(begin + timedelta(days=days), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(*usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if timestamping:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True
        )
    certificate = builder.sign(signer, hashes.SHA256())
    return Credential(certificate.public_bytes(Encoding.PEM), _pem_key(key), authority.certificate)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def make_authority(directory: Path, *, name: str, now: datetime) -> None:
    """ca.pem, ca.key, tsa.pem, tsa.key, seal.pem, seal.key in `directory`, once.

    The authority's own key is kept for `renew_seal`: beside those that it vouches for, it opens nothing more.
    seal.key is written last; a crash before leaves nothing that a second call does not make anew.
    """
    if (directory / "seal.key").exists():
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = new_authority(f"{name} - autorité", name, now=now)
    tsa = issue(authority, f"Horodatage (non qualifié) - {name}", name, now=now, days=5475, timestamping=True)
    seal = issue(authority, f"{name} - cachet", name, now=now, days=_SEAL_DAYS)
    _write(directory / "ca.pem", authority.certificate)
    _write(directory / "ca.key", authority.key)
    _write(directory / "tsa.pem", tsa.certificate)
    _write(directory / "tsa.key", tsa.key)
    _write(directory / "seal.pem", seal.certificate)
    _write(directory / "seal.key", seal.key)


def expires(certificate_pem: bytes) -> datetime:
    """When a certificate ends (UTC)."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def renew_seal(directory: Path, *, name: str, now: datetime) -> bool:
    """A new certificate of the same key, under the same authority, when it has less than 90 days left.

    The former one stays beside it, `seal-<its last day>.pem`. False when nothing was done: it is not time
    yet, or the authority's key was not kept (folders made before it was). A crash anywhere leaves one that
    works: the key is the same.
    """
    former = (directory / "seal.pem").read_bytes()
    if expires(former) - now >= RENEWAL or not (directory / "ca.key").exists():
        return False
    certificate, secret = (directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes()
    key = load_pem_private_key((directory / "seal.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the seal's key is not an elliptic curve key")
    authority = Credential(certificate, secret, certificate)
    renewed = issue(authority, f"{name} - cachet", name, now=now, days=_SEAL_DAYS, key=key)
    if expires(renewed.certificate) <= expires(former):
        return False  # the authority itself is at its end
    _write(directory / f"seal-{expires(former):%Y%m%d}.pem", former)
    _write(directory / "seal.pem", renewed.certificate)
    return True
