"""What protects a member's key, whose seed it gives back.

A passphrase: Argon2id, then AES-256-GCM over the seed (protector/1). A passkey: the 32 bytes of its PRF
extension, HKDF, AES-256-GCM (passkey/1). A sheet of paper: the seed itself, in 33 words (SLIP-39, one share
of one).
"""

import base64
import binascii
import os
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.wordlist import WORDLIST

from signing.errors import KeyRefused, ProtectorRefused
from signing.keys import SEED_BYTES, key_hash, new_seed, public_key
from signing.strict import dump_object, integer, load_object, text

VERSION, PASSKEY_VERSION = "protector/1", "passkey/1"
PASSPHRASE_CHARS = 12
PAPER_WORDS = 33
PREFIX_CHARS = 4  # no two words of SLIP-39 share their first four letters
_LIMIT = 16 * 1024  # bytes
_KEYS = frozenset({"v", "public", "salt", "memory", "passes", "lanes", "nonce", "sealed"})
_CARD_KEYS = frozenset({"v", "public", "certificate", "sealed"})
_PASSKEY_KEYS = frozenset({"v", "public", "credential", "salt", "nonce", "sealed"})


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
    """The public key (1216 bytes) of a protector's file, of either version. Raises ProtectorRefused."""
    start = data[:64]
    keys = _PASSKEY_KEYS if b'"passkey/1"' in start else _CARD_KEYS if b'"card/1"' in start else _KEYS
    value = load_object(data, limit=2 * _LIMIT, keys=keys, refuse=ProtectorRefused)
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


def _passkey_cipher(secret: bytes) -> AESGCM:
    if len(secret) != SEED_BYTES:
        raise ProtectorRefused("Le secret d'une clé d'accès compte 32 octets.")
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=PASSKEY_VERSION.encode()).derive(secret))


def unlock_passkey(data: bytes, secret: bytes) -> bytes:
    """The seed under `secret`, the 32 bytes that the passkey's PRF extension gives for the file's salt.

    Raises ProtectorRefused.
    """
    value = load_object(data, limit=_LIMIT, keys=_PASSKEY_KEYS, refuse=ProtectorRefused)
    if value["v"] != PASSKEY_VERSION:
        raise ProtectorRefused("Version de protecteur inconnue.")
    try:
        public, nonce, sealed = (
            base64.b64decode(text(value[name], ProtectorRefused, name), validate=True)
            for name in ("public", "nonce", "sealed")
        )
        return _passkey_cipher(secret).decrypt(nonce, sealed, PASSKEY_VERSION.encode() + public)
    except (binascii.Error, ValueError, InvalidTag) as refused:
        raise ProtectorRefused("Ce n'est pas la clé d'accès de ce protecteur.") from refused


def paper_words(seed: bytes) -> str:
    """The 33 words of a recovery sheet for this seed (32 bytes): whoever holds them holds the seed."""
    return str(generate_mnemonics(1, [(1, 1)], seed, b"", iteration_exponent=0)[0][0])


def create_paper() -> tuple[str, bytes]:
    """The words of a new sheet, to be printed and put away, and its public key (1216 bytes)."""
    seed = new_seed()
    return paper_words(seed), public_key(seed)


def unlock_paper(typed: str) -> bytes:
    """The seed in these words: any case, any spacing, numbered or not, four letters of each suffice.

    Raises ProtectorRefused, which tells the first word that is not in the list.
    """
    known = {word[:PREFIX_CHARS]: word for word in WORDLIST}
    words = []
    for number, each in enumerate(re.findall(r"[^\W\d_]+", typed.lower()), start=1):
        word = known.get(each[:PREFIX_CHARS])
        if word is None or not word.startswith(each):
            raise ProtectorRefused(f"Le mot n° {number} (« {each[:20]} ») n'est pas dans la liste.")
        words.append(word)
    if len(words) != PAPER_WORDS:
        raise ProtectorRefused(f"Une feuille porte {PAPER_WORDS} mots ; {len(words)} ont été lus.")
    try:
        seed = bytes(combine_mnemonics([" ".join(words)], b""))
    except MnemonicError as refused:
        raise ProtectorRefused(
            "Ces mots existent, mais l'un d'eux n'est pas celui de la feuille : relisez-les."
        ) from refused
    if len(seed) != SEED_BYTES:
        raise ProtectorRefused("Ces mots ne sont pas ceux d'une feuille de secours.")
    return seed
