"""Hybrid key pairs from 32-byte seeds (as X-Wing expands them) and HPKE sealing to them (RFC 9180, KEM
0x647a).
"""

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from signing.errors import KeyRefused, StanzaRefused

SEED_BYTES = 32
PUBLIC_BYTES = 1216
ENCAPSULATED_BYTES = 1120
OVERHEAD_BYTES = ENCAPSULATED_BYTES + 16
_MLKEM_PUBLIC_BYTES = 1184
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def new_seed() -> bytes:
    """32 random bytes."""
    return os.urandom(SEED_BYTES)


def _private(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    if len(seed) != SEED_BYTES:
        raise KeyRefused("Une graine de clé compte 32 octets.")
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(
        expanded[64:]
    )


def public_key(seed: bytes) -> bytes:
    """ML-KEM-768 public key (1184 bytes) || X25519 public key (32)."""
    mlkem, x25519 = _private(seed)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def key_hash(public: bytes) -> str:
    """Lower-hex SHA-256 over the 1216 bytes; raises KeyRefused on another length."""
    if len(public) != PUBLIC_BYTES:
        raise KeyRefused(f"Une clé publique compte {PUBLIC_BYTES} octets.")
    return hashlib.sha256(public).hexdigest()


def seal_to(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """enc (1120) || ciphertext || tag (16), HPKE base mode, empty aad. Raises KeyRefused."""
    key_hash(public)
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]),
        )
        return _SUITE.encrypt(plaintext, key, info)
    except ValueError as bad:
        raise KeyRefused("Cette clé publique n'est pas valide.") from bad


def open_with(seed: bytes, sealed: bytes, info: bytes) -> bytes:
    """Undo `seal_to`. Raises StanzaRefused when it was sealed to another key, for another use, or altered."""
    if len(sealed) < OVERHEAD_BYTES:
        raise StanzaRefused("Ce secret scellé est trop court.")
    try:
        return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(*_private(seed)), info)
    except (InvalidTag, ValueError) as refused:
        raise StanzaRefused("Ce secret n'a pas été scellé à cette clé pour cet usage.") from refused
