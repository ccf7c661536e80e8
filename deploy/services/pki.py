"""A certificate authority for tests and demonstrations: its server, its clients, the revoked, the expired."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

P12_PASSWORD = "essai"
_LONG = timedelta(days=3650)


@dataclass
class Held:
    """A certificate with its key, and where both are."""

    name: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    folder: Path

    @property
    def pem(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def key_pem(self) -> Path:
        return self.folder / f"{self.name}.key"

    @property
    def p12(self) -> Path:
        return self.folder / f"{self.name}.p12"

    def write(self) -> "Held":
        self.pem.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        secret = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key_pem.touch(mode=0o600)
        self.key_pem.write_bytes(secret)
        data = pkcs12.serialize_key_and_certificates(
            self.name.encode(),
            self.key,
            self.certificate,
            None,
            BestAvailableEncryption(P12_PASSWORD.encode()),
        )
        self.p12.touch(mode=0o600)
        self.p12.write_bytes(data)
        return self


class TestAuthority:
    """An authority in a folder; every certificate that it gives is written there, PEM and PKCS#12."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(
        self, folder: Path, name: str = "ca", *, above: "TestAuthority | None" = None, expired: bool = False
    ) -> None:
        """A root, or an intermediate authority under the one `above`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._revoked = folder, list[int]()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"Autorité d'essai {name}")
        now = datetime.now(UTC)
        issuer, signing = (above.held.certificate.subject, above.held.key) if above else (subject, key)
        built = (
            _builder(
                subject,
                issuer,
                key,
                now - timedelta(days=1),
                now + (timedelta(hours=-1) if expired else _LONG),
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0 if above else None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        self.held = Held(name, built.sign(signing, hashes.SHA256()), key, folder).write()
        self.write_crl()

    def server(self, name: str = "server") -> Held:
        """For 127.0.0.1 and localhost."""
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        )
        return self._issue(name, names, ExtendedKeyUsageOID.SERVER_AUTH, timedelta(days=365))

    def client(self, name: str, *, expired: bool = False) -> Held:
        names = x509.SubjectAlternativeName([x509.RFC822Name(f"{name}@ville.example.fr")])
        life = timedelta(seconds=-3600) if expired else timedelta(days=365)
        return self._issue(name, names, ExtendedKeyUsageOID.CLIENT_AUTH, life)

    def _issue(
        self, name: str, names: x509.SubjectAlternativeName, usage: x509.ObjectIdentifier, life: timedelta
    ) -> Held:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        issuer = self.held.certificate.subject
        built = (
            _builder(_name(name), issuer, key, now - timedelta(days=2), now + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(names, critical=False)
        )
        return Held(name, built.sign(self.held.key, hashes.SHA256()), key, self.folder).write()

    def revoke(self, held: Held) -> None:
        self._revoked.append(held.certificate.serial_number)
        self.write_crl()

    @property
    def crl(self) -> Path:
        return self.folder / f"{self.held.name}.crl"

    def write_crl(self) -> None:
        now = datetime.now(UTC)
        built = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.held.certificate.subject)
            .last_update(now - timedelta(hours=1))
            .next_update(now + _LONG)
        )
        for serial in self._revoked:
            built = built.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
        self.crl.write_bytes(built.sign(self.held.key, hashes.SHA256()).public_bytes(Encoding.PEM))


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ville d'essai"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=not signs, key_cert_sign=signs, crl_sign=signs,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(16)) >> 1)
        .not_valid_before(since)
        .not_valid_after(until)
    )
