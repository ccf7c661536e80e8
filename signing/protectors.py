"""A passphrase that protects a member's key: Argon2id, then AES-256-GCM over the seed (protector/1)."""

import base64
import binascii
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from signing.errors import KeyRefused, ProtectorRefused
from signing.keys import key_hash, new_seed, public_key
from signing.strict import dump_object, integer, load_object, text

VERSION = "protector/1"
PASSPHRASE_CHARS = 12
_LIMIT = 16 * 1024  # bytes
_KEYS = frozenset({"v", "public", "salt", "memory", "passes", "lanes", "nonce", "sealed"})


@dataclass(frozen=True)
class Cost:
    """Argon2id: `memory` in KiB, `passes`, `lanes`. The default is the one of sealing (256 MiB, 3, 4)."""

    memory: int = 256 * 1024
    passes: int = 3
    lanes: int = 4


DEFAULT_COST = Cost()


def _key(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    argon2 = Argon2id(salt=salt, length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory)
    return argon2.derive(passphrase.encode())


def create_protector(passphrase: str, cost: Cost = DEFAULT_COST) -> tuple[bytes, bytes]:
    """The protector's file (JSON bytes, to be kept by the member) and its public key (1216 bytes)."""
    seed, salt, nonce = new_seed(), os.urandom(16), os.urandom(12)
    public = public_key(seed)
    sealed = AESGCM(_key(passphrase, salt, cost)).encrypt(nonce, seed, VERSION.encode() + public)
    fields = {"public": public, "salt": salt, "nonce": nonce, "sealed": sealed}
    encoded: dict[str, object] = {name: base64.b64encode(value).decode() for name, value in fields.items()}
    return dump_object({"v": VERSION, **encoded, **vars(cost)}), public


def protector_public(data: bytes) -> bytes:
    """The public key (1216 bytes) of a protector's file. Raises ProtectorRefused."""
    value = load_object(data, limit=_LIMIT, keys=_KEYS, refuse=ProtectorRefused)
    try:
        public = base64.b64decode(text(value["public"], ProtectorRefused, "public"), validate=True)
        key_hash(public)
    except (binascii.Error, ValueError, KeyRefused) as refused:
        raise ProtectorRefused("Ce fichier n'est pas un protecteur.") from refused
    return public


def unlock_protector(data: bytes, passphrase: str) -> bytes:
    """The seed.

    Raises ProtectorRefused on a wrong passphrase, an altered file or parameters out of bounds.
    """
    value = load_object(data, limit=_LIMIT, keys=_KEYS, refuse=ProtectorRefused)
    if value["v"] != VERSION:
        raise ProtectorRefused("Version de protecteur inconnue.")
    cost = Cost(
        integer(value["memory"], ProtectorRefused, "memory", low=1024, high=1024 * 1024),
        integer(value["passes"], ProtectorRefused, "passes", low=1, high=10),
        integer(value["lanes"], ProtectorRefused, "lanes", low=1, high=16),
    )
    try:
        raw = {
            name: base64.b64decode(text(value[name], ProtectorRefused, name), validate=True)
            for name in ("public", "salt", "nonce", "sealed")
        }
        key_hash(raw["public"])
        associated = VERSION.encode() + raw["public"]
        return AESGCM(_key(passphrase, raw["salt"], cost)).decrypt(raw["nonce"], raw["sealed"], associated)
    except (binascii.Error, ValueError, InvalidTag) as refused:
        raise ProtectorRefused("Phrase secrète fausse, ou fichier de protecteur altéré.") from refused
