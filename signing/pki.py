"""Certificates: the platform's own small authority, and a test authority for signatories made on the spot."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
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
_TSA_DAYS = 5475
_AUTHORITY_DAYS = 7300
_DAYS = {"tsa.pem": _TSA_DAYS, "seal.pem": _SEAL_DAYS}
_NEXT = "ca.next"  # another authority, its key and its certificate, until all of it is in place
RENEWAL = timedelta(days=90)  # before its end, a certificate is renewed, and whoever forgets it is told


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
    common: str, organisation: str, *, now: datetime, days: int = _AUTHORITY_DAYS, path_length: int = 0
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


def _stamps_name(name: str) -> str:
    return f"Horodatage (non qualifié) - {name}"


def _seal_name(name: str) -> str:
    return f"{name} - cachet"


def make_authority(directory: Path, *, name: str, now: datetime) -> None:
    """ca.pem, ca.key, tsa.pem, tsa.key, seal.pem, seal.key in `directory`, once.

    The authority's own key is kept for `renew`: beside those that it vouches for, it opens nothing more.
    seal.key is written last; a crash before leaves nothing that a second call does not make anew.
    """
    if (directory / "seal.key").exists():
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = new_authority(f"{name} - autorité", name, now=now)
    tsa = issue(authority, _stamps_name(name), name, now=now, days=_TSA_DAYS, timestamping=True)
    seal = issue(authority, _seal_name(name), name, now=now, days=_SEAL_DAYS)
    _write(directory / "ca.pem", authority.certificate)
    _write(directory / "ca.key", authority.key)
    _write(directory / "tsa.pem", tsa.certificate)
    _write(directory / "tsa.key", tsa.key)
    _write(directory / "seal.pem", seal.certificate)
    _write(directory / "seal.key", seal.key)


def expires(certificate_pem: bytes) -> datetime:
    """When a certificate ends (UTC)."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path.name} is not an elliptic curve key")
    return key


def renewable(directory: Path) -> bool:
    """Whether ca.key is the key of the first authority of ca.pem, and no other is being put in its place."""
    if (directory / _NEXT).exists() or not (directory / "ca.key").exists():
        return False
    first = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    return first.public_key() == _key(directory / "ca.key").public_key()


def renew(directory: Path, *, name: str, now: datetime) -> list[str]:
    """New certificates of the same keys for those that have less than 90 days left; which ones.

    The authority's first, then those of the timestamps and of the seal under it. The former one stays beside,
    `seal-<its last day>.pem`. Nothing where the authority's key was not kept (folders made before it was), or
    is another's. A crash anywhere leaves certificates that work: the keys are the same. What a crash left of
    `replace_authority` is completed.
    """
    if (directory / _NEXT).exists():
        return _install(directory, name=name, now=now)
    if not renewable(directory):
        return []
    due = [
        file for file in ("tsa.pem", "seal.pem") if expires((directory / file).read_bytes()) - now < RENEWAL
    ]
    # Under an authority that ends first, theirs would be cut short, and all that they prove with them.
    needed = max([RENEWAL, *(timedelta(days=_DAYS[file]) for file in due)])
    done = ["ca.pem"] if _renew_authority(directory, needed, now=now) else []
    authority = Credential(*((directory / each).read_bytes() for each in ("ca.pem", "ca.key", "ca.pem")))
    for file in due:
        renewed = _again(directory, file, authority, name=name, now=now)
        _keep_former(directory, file)
        _write(directory / file, renewed)
    return [*done, *due]


def _again(directory: Path, file: str, authority: Credential, *, name: str, now: datetime) -> bytes:
    """A new certificate, of the same key, for the timestamps or the seal."""
    stamps = file == "tsa.pem"
    return issue(
        authority,
        _stamps_name(name) if stamps else _seal_name(name),
        name,
        now=now,
        days=_DAYS[file],
        timestamping=stamps,
        key=_key((directory / file).with_suffix(".key")),
    ).certificate


def _keep_former(directory: Path, file: str) -> None:
    """Under the name of its last day; of two of one day, the second has a number."""
    former = (directory / file).read_bytes()
    stem, rank = f"{file.removesuffix('.pem')}-{expires(former):%Y%m%d}", 1
    path = directory / f"{stem}.pem"
    while path.exists() and path.read_bytes() != former:
        rank += 1
        path = directory / f"{stem}-{rank}.pem"
    _write(path, former)


def _renew_authority(directory: Path, needed: timedelta, *, now: datetime) -> bool:
    """Where it has less left than is needed, a later end, for the same name, key and beginning.

    It so vouches for all that the former one did.
    """
    first, *others = x509.load_pem_x509_certificates((directory / "ca.pem").read_bytes())
    if first.not_valid_after_utc - now >= needed:
        return False
    key = _key(directory / "ca.key")
    builder = (
        x509.CertificateBuilder()
        .subject_name(first.subject)
        .issuer_name(first.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first.not_valid_before_utc)
        .not_valid_after(now + timedelta(days=_AUTHORITY_DAYS))
    )
    for extension in first.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    renewed = [builder.sign(key, hashes.SHA256()), *others]
    _keep_former(directory, "ca.pem")
    _write(directory / "ca.pem", b"".join(each.public_bytes(Encoding.PEM) for each in renewed))
    return True


def _vouches(authority: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError):  # of another key, of another name
        return False
    return True


def replace_authority(directory: Path, *, name: str, now: datetime) -> None:
    """Another authority, whose key is kept, for the keys of the timestamps and of the seal that are there.

    The former one stays in ca.pem, after it: what it vouched for stays proven. After a crash anywhere, this
    or `renew` goes on with the same one.
    """
    if not (directory / _NEXT).exists():
        authority = new_authority(f"Autorité {now:%Y} - {name}", name, now=now)
        _write(directory / _NEXT, authority.key + authority.certificate)
    _install(directory, name=name, now=now)


def _install(directory: Path, *, name: str, now: datetime) -> list[str]:
    """The authority of ca.next, where it is not yet; which certificates are new."""
    pending = (directory / _NEXT).read_bytes()  # its key, then its certificate: each is found in both
    certificate = x509.load_pem_x509_certificate(pending)
    pem, done = certificate.public_bytes(Encoding.PEM), []
    authority = Credential(pem, _pem_key(_key(directory / _NEXT)), pem)
    _write(directory / "ca.key", authority.key)
    known = (directory / "ca.pem").read_bytes()
    if x509.load_pem_x509_certificate(known) != certificate:
        _write(directory / "ca.pem", pem + known)
        done.append("ca.pem")
    for file in ("tsa.pem", "seal.pem"):
        if _vouches(certificate, x509.load_pem_x509_certificate((directory / file).read_bytes())):
            continue
        renewed = _again(directory, file, authority, name=name, now=now)
        _keep_former(directory, file)
        _write(directory / file, renewed)
        done.append(file)
    (directory / _NEXT).unlink()
    return done
