"""The platform's own keys, in DEMATMP_SECRETS_DIR (mode 0700).

Journal, timestamp authority, seal, key-encryption key.

None of them opens a bid alone: the platform's half of an envelope is wrapped by `wrap` and useless without a
quorum.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from dematmp.audit.errors import KeysMissing
from signing import pki
from signing.authority import Authority
from signing.notes import Signer

_NONCE_BYTES = 12
_FORMER = "journal.former"


@dataclass(frozen=True)
class SealMaterial:
    """What signs the platform's PDFs: PEM certificate, PEM key, PEM certificate of its authority."""

    certificate: bytes
    key: bytes
    authority: bytes


def _directory() -> Path:
    return Path(settings.SECRETS_DIR)


def _read(name: str) -> bytes:
    try:
        return (_directory() / name).read_bytes()
    except FileNotFoundError as missing:
        raise KeysMissing(
            f"La clé {name} manque dans DEMATMP_SECRETS_DIR : lancez « manage.py platform_keys »."
        ) from missing


def _write_once(name: str, make: Callable[[], bytes]) -> None:
    """Create a secret if it is absent; two processes racing keep the first one's bytes."""
    path = _directory() / name
    if path.exists():
        return
    draft = path.with_name(f".{name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def create_keys(*, now: datetime) -> list[str]:
    """Make the keys that are missing; existing ones are never replaced.

    Certificates are renewed, for the same keys, in their last 90 days; which ones.
    """
    directory = _directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    _write_once("journal.key", lambda: Ed25519PrivateKey.generate().private_bytes_raw())
    _write_once("channel.key", lambda: Ed25519PrivateKey.generate().private_bytes_raw())
    _write_once("kek.key", lambda: AESGCM.generate_key(256))
    pki.make_authority(directory / "pki", name=settings.OPERATOR_NAME, now=now)
    return pki.renew(directory / "pki", name=settings.OPERATOR_NAME, now=now)


def ending(*, now: datetime) -> dict[str, datetime]:
    """The last hour of each certificate of ours that has less than 90 days left, the seal's included."""
    ends = {file: pki.expires(_read(f"pki/{file}")) for file in ("ca.pem", "tsa.pem", "seal.pem")}
    return {file: end for file, end in ends.items() if end - now < pki.RENEWAL}


def renewable() -> bool:
    """Whether the authority's own key is here: without it, no certificate of ours is renewed."""
    return pki.renewable(_directory() / "pki")


def has_key_of_another_authority() -> bool:
    """Whether pki/ca.key is the key of another authority than the first of pki/ca.pem."""
    return (_directory() / "pki" / "ca.key").exists() and not renewable()


def replace_authority(*, now: datetime) -> None:
    """Another authority for the same keys, where the former one's key is lost. Raises KeysMissing."""
    if renewable():
        raise KeysMissing("La clé de l'autorité (pki/ca.key) est là : il n'y a rien à remplacer.")
    _read("pki/ca.pem")
    pki.replace_authority(_directory() / "pki", name=settings.OPERATOR_NAME, now=now)


def journal_signer() -> Signer:
    """The Ed25519 signer of the journal's checkpoints; its name is the journal's origin."""
    return named(settings.JOURNAL_ORIGIN)


def named(origin: str) -> Signer:
    """The signer of the journal of this name: whose checkpoints are whose is told by it."""
    return _signer(origin, _read("journal.key"))


@functools.lru_cache(maxsize=4)
def _signer(origin: str, key: bytes) -> Signer:
    return Signer(origin, key)


def succeeded() -> list[str]:
    """The verifier key of each journal whose succession was begun here, the oldest first (`succession`)."""
    try:
        return (_directory() / _FORMER).read_text().split()
    except FileNotFoundError:
        return []


def former_verifiers() -> list[str]:
    """The same, but the present journal's: its succession was begun, and given up."""
    return [each for each in succeeded() if each != journal_signer().verifier_key]


def keep_former(verifier_key: str) -> None:
    """One more former journal, once; the file is whole whatever happens."""
    kept = succeeded()
    if verifier_key in kept:
        return
    draft = _directory() / f".{_FORMER}.{os.getpid()}"
    with draft.open("w") as file:
        file.write("".join(f"{each}\n" for each in [*kept, verifier_key]))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(_directory() / _FORMER)


def verifier_of(note: str) -> str:
    """The verifier key of the journal that signed a checkpoint, or a proof that ends with one."""
    for each in former_verifiers():
        if f"\n— {each.split('+', 1)[0]} " in note:
            return each
    return journal_signer().verifier_key


def channel_signer() -> Signer:
    """What signs passes for the backup channel, which only knows its public half."""
    return Signer(f"{settings.JOURNAL_ORIGIN}/secours", _read("channel.key"))


def timestamp_authority() -> Authority:
    """The embedded RFC 3161 authority, monotone across processes through a locked state file."""
    return Authority(_read("pki/tsa.pem"), _read("pki/tsa.key"), _directory() / "pki" / "tsa.state")


def authority_certificate() -> bytes:
    """PEM of the platform's certificate authority, then of those that it replaced."""
    return _read("pki/ca.pem")


def timestamp_anchors() -> bytes:
    """PEM of every authority whose timestamps are recognised: the platform's, and DEMATMP_TSA_TRUST's."""
    return b"\n".join([authority_certificate(), *(Path(name).read_bytes() for name in settings.TSA_TRUST)])


def seal_anchors() -> bytes:
    """PEM of what vouches for a seal of this platform: its own authority first, then each certificate bought.

    Never the authority that sold one: it sells others to anybody.
    """
    return b"\n".join([authority_certificate(), bought_seals()])


def bought_seals() -> bytes:
    """PEM of the seal's certificates that were bought, each of which vouches for itself alone."""
    return b"\n".join(Path(name).read_bytes() for name in settings.SEAL.get("certificates", ()))


def public_certificates() -> dict[str, bytes]:
    """The PEM certificates anybody may have, by file name."""
    return {name: _read(f"pki/{name}") for name in ("ca.pem", "tsa.pem", "seal.pem")}


def seal_material() -> SealMaterial:
    """What seals receipts and minutes."""
    return SealMaterial(_read("pki/seal.pem"), _read("pki/seal.key"), _read("pki/ca.pem"))


def wrap(secret: bytes, *, context: str) -> bytes:
    """Encrypt a secret at rest under the key-encryption key; `context` binds it to its row."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_read("kek.key")).encrypt(nonce, secret, context.encode())


def unwrap(wrapped: bytes, *, context: str) -> bytes:
    """Undo `wrap`; KeysMissing when the key or the row is another one."""
    try:
        return AESGCM(_read("kek.key")).decrypt(
            wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context.encode()
        )
    except InvalidTag as refused:
        raise KeysMissing(
            "La clé de chiffrement de la plateforme n'est pas celle qui a protégé ce secret."
        ) from refused
