"""A test authority made on the spot and served over real HTTP: root, sub-authority, OCSP, CRL, timestamps."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from signing.authority import Authority

NOW = datetime.now(UTC).replace(microsecond=0)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_KEYS: dict[tuple[str, int], list[Key]] = {}


def new_key(kind: str = "p256") -> Key:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"p224": ec.SECP224R1(), "p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind])


def _name(common: str, organisation: str = "Essai") -> x509.Name:
    pairs = (
        (NameOID.COUNTRY_NAME, "FR"),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.COMMON_NAME, common),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


@dataclass
class Identity:
    """A certificate, its key and the certificates above it, root last."""

    certificate: x509.Certificate
    key: Key
    above: list[x509.Certificate] = field(default_factory=list)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """(certificate, key) as PEM files."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_bytes(self.pem)
        paths[1].write_bytes(self.key_pem)
        return paths


@dataclass
class Issuer:
    """An authority with its own revocations; `base` is where it is served, empty when it is not."""

    identity: Identity
    base: str = ""
    revoked: dict[int, datetime] = field(default_factory=dict)

    @classmethod
    def root(
        cls,
        common: str = "Racine d'essai",
        *,
        base: str = "",
        kind: str = "p256",
        length: int | None = None,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        usages: tuple[str, ...] = (),
    ) -> "Issuer":
        """`length`: of the paths below."""
        key, name = new_key(kind), _name(common)
        certificate = _build(
            name,
            name,
            key,
            key,
            ca=True,
            start=NOW - timedelta(days=3650),
            length=length,
            extensions=list(extensions),
            usages=usages,
        )
        return cls(Identity(certificate, key), base)

    def sub(
        self,
        common: str = "Autorité d'essai",
        *,
        base: str = "",
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    ) -> "Issuer":
        key = new_key()
        certificate = _build(
            _name(common),
            self.identity.certificate.subject,
            key,
            self.identity.key,
            ca=True,
            start=NOW - timedelta(days=3000),
            issuer=self.identity.certificate,
            extensions=list(extensions),
        )
        above = [self.identity.certificate, *self.identity.above]
        return Issuer(Identity(certificate, key, above), base)

    def issue(
        self,
        common: str = "Julie Moreau",
        *,
        kind: str = "p256",
        start: datetime | None = None,
        days: int = 1095,
        declares: bool = False,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        usages: tuple[str, ...] = ("digital_signature", "content_commitment"),
        digest: hashes.HashAlgorithm | None = None,
    ) -> Identity:
        """`declares`: says where its revocation is told, at this authority's own address."""
        key = new_key(kind)
        extra = list(extensions)
        if declares:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{self.base}/ocsp")
            )
            point = x509.DistributionPoint(
                [x509.UniformResourceIdentifier(f"{self.base}/crl")], None, None, None
            )
            extra += [
                (x509.AuthorityInformationAccess([access]), False),
                (x509.CRLDistributionPoints([point]), False),
            ]
        certificate = _build(
            _name(common),
            self.identity.certificate.subject,
            key,
            self.identity.key,
            start=start or NOW - timedelta(days=30),
            days=days,
            issuer=self.identity.certificate,
            extensions=extra,
            usages=usages,
            digest=digest,
        )
        return Identity(certificate, key, [self.identity.certificate, *self.identity.above])

    def revoke(self, identity: Identity, at: datetime) -> None:
        self.revoked[identity.certificate.serial_number] = at

    def crl(
        self,
        *,
        issued: datetime = NOW,
        days: int = 7,
        reason: x509.ReasonFlags | None = None,
        indirect_of: x509.Name | None = None,
    ) -> bytes:
        """DER; `reason`: of every revocation in it; `indirect_of`: the authority of whose it is."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.identity.certificate.subject)
            .last_update(issued)
            .next_update(issued + timedelta(days=days))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.identity.key.public_key()),
                critical=False,
            )
        )
        if indirect_of is not None:
            limits = x509.IssuingDistributionPoint(
                full_name=None,
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=False,
                only_some_reasons=None,
                indirect_crl=True,
                only_contains_attribute_certs=False,
            )
            builder = builder.add_extension(limits, critical=True)
        for rank, (serial, at) in enumerate(self.revoked.items()):
            row = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
            row = row.add_extension(x509.CRLReason(reason), critical=False) if reason else row
            if indirect_of is not None and not rank:  # those that follow are of the same (RFC 5280 §5.3.3)
                row = row.add_extension(
                    x509.CertificateIssuer([x509.DirectoryName(indirect_of)]), critical=True
                )
            builder = builder.add_revoked_certificate(row.build())
        return builder.sign(self.identity.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def ocsp(
        self,
        serial: int,
        certificate: x509.Certificate,
        *,
        issued: datetime = NOW,
        responder: Identity | None = None,
        unknown: bool = False,
        reason: x509.ReasonFlags | None = x509.ReasonFlags.key_compromise,
    ) -> bytes:
        """DER response signed by the authority itself, or by a responder; `unknown`: it knows it not."""
        at, answering = self.revoked.get(serial), responder or self.identity
        status = ocsp.OCSPCertStatus.REVOKED if at else ocsp.OCSPCertStatus.GOOD
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=certificate,
                issuer=self.identity.certificate,
                algorithm=hashes.SHA1(),
                cert_status=ocsp.OCSPCertStatus.UNKNOWN if unknown else status,
                this_update=issued,
                next_update=issued + timedelta(days=7),
                revocation_time=None if unknown else at,
                revocation_reason=reason if at and not unknown else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, answering.certificate)
        )
        if responder is not None:
            builder = builder.certificates([responder.certificate])
        return builder.sign(answering.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def authority(self, folder: Path, common: str = "Horodatage d'essai", **options: object) -> Authority:
        """A timestamp authority whose certificate this one issued."""
        stamping = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
        made = self.issue(common, extensions=(stamping,), usages=("digital_signature",), **options)  # type: ignore[arg-type]
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in [made.certificate, *made.above])
        return Authority(pem, made.key_pem, folder / f"{common}.state")


def _build(
    subject: x509.Name,
    issued_by: x509.Name,
    key: Key,
    signer: Key,
    *,
    start: datetime,
    days: int = 7300,
    ca: bool = False,
    issuer: x509.Certificate | None = None,
    extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
    usages: tuple[str, ...] = (),
    digest: hashes.HashAlgorithm | None = None,
    length: int | None = None,
) -> x509.Certificate:
    named = usages or (("key_cert_sign", "crl_sign") if ca else ())
    every = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issued_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=length), critical=True)
        .add_extension(x509.KeyUsage(**{name: name in named for name in every}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer or key).public_key()), critical=False
        )
    )
    for extension, critical in extensions or []:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    return builder.sign(signer, algorithm)


@contextmanager
def serving(answers: dict[str, object]) -> Iterator[str]:
    """A real HTTP server; an answer is bytes, or a function of the request's body. Gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            found = answers.get(self.path)
            data = found(body) if callable(found) else found
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class World:
    """Root → sub-authority → signers, made once for a module."""

    @cached_property
    def root(self) -> Issuer:
        return Issuer.root()

    @cached_property
    def issuer(self) -> Issuer:
        return self.root.sub()

    @cached_property
    def signer(self) -> Identity:
        return self.issuer.issue()

    @property
    def trust(self) -> list[bytes]:
        return [self.root.identity.pem]
