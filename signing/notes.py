"""Signed notes (C2SP signed-note), Ed25519 keys only."""

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signing.errors import ProofRefused

_ALGORITHM = b"\x01"
NOTE_LIMIT = 64 * 1024  # bytes


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ALGORITHM + public).digest()[:4]


def check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() for char in name):
        raise ProofRefused("Un nom de clé ne contient ni espace ni « + ».")


class Signer:
    """Signs texts under a key name; `verifier_key` is the C2SP verifier key line."""

    def __init__(self, name: str, private: bytes) -> None:
        check_name(name)
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def verifier_key(self) -> str:
        encoded = base64.b64encode(_ALGORITHM + self._public).decode()
        return f"{self.name}+{_key_id(self.name, self._public).hex()}+{encoded}"

    def sign(self, text: str) -> str:
        """The note: the text, which ends with a newline, a blank line, one signature line."""
        if not text.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in text):
            raise ProofRefused(
                "Le texte d'une note finit par un saut de ligne et n'a pas de caractère de contrôle."
            )
        signature = _key_id(self.name, self._public) + self._key.sign(text.encode())
        return f"{text}\n— {self.name} {base64.b64encode(signature).decode()}\n"


def parse_verifier_key(line: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, 4-byte key id and key. Raises ProofRefused."""
    try:
        name, identifier, encoded = line.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        if raw[:1] != _ALGORITHM or len(raw) != 33 or bytes.fromhex(identifier) != _key_id(name, raw[1:]):
            raise ValueError("key")
        return name, bytes.fromhex(identifier), Ed25519PublicKey.from_public_bytes(raw[1:])
    except (ValueError, binascii.Error) as bad:
        raise ProofRefused("Cette clé de vérification n'est pas valide.") from bad


def key_for(note: str, keys: str) -> str:
    """Which of these verifier key lines, one at least, is the journal's that a checkpoint is of.

    The only one where there is one: `verify_note` says what is wrong. Raises ProofRefused.
    """
    lines = [line.strip() for line in keys.splitlines() if line.strip()]
    if not lines:
        raise ProofRefused("Aucune clé de journal n'est donnée.")
    origin = note.split("\n", 1)[0]
    named = [line for line in lines if line.split("+", 1)[0] == origin]
    if len(lines) > 1 and not named:
        raise ProofRefused(f"La clé du journal « {origin} » n'est pas de celles qui sont données.")
    return next((line for line in named if _signed_by(note, line)), (named or lines)[0])


def _signed_by(note: str, line: str) -> bool:
    """Whether a signature says that it is by this key, which is not verified."""
    _, _, identified = line.partition("+")
    signatures = note.rpartition("\n\n")[2].splitlines()
    for fields in (each.split(" ") for each in signatures):
        try:
            raw = base64.b64decode(fields[-1])
        except ValueError:
            continue
        if fields[:1] == ["—"] and raw[:4].hex() == identified[:8]:
            return True
    return False


def verify_note(note: str, verifier_key: str) -> str:
    """The text, once the signature of this key is verified. Raises ProofRefused."""
    name, identifier, key = parse_verifier_key(verifier_key)
    try:
        size = len(note.encode())
    except UnicodeEncodeError as bad:
        raise ProofRefused("La note n'est pas un texte UTF-8.") from bad
    if size > NOTE_LIMIT or "\n\n" not in note or not note.endswith("\n"):
        raise ProofRefused("Ce n'est pas une note signée.")
    body, _, signatures = note.rpartition("\n\n")
    text = body + "\n"
    verified = False
    for line in signatures[:-1].split("\n"):
        fields = line.split(" ")
        if len(fields) != 3 or fields[0] != "—":
            raise ProofRefused("Une ligne de signature de la note est mal formée.")
        try:
            raw = base64.b64decode(fields[2], validate=True)
        except (ValueError, binascii.Error) as bad:
            raise ProofRefused("Une signature de la note est mal encodée.") from bad
        if fields[1] != name or raw[:4] != identifier:
            continue
        try:
            key.verify(raw[4:], text.encode())
        except InvalidSignature as forged:
            raise ProofRefused("La signature de la note est fausse.") from forged
        verified = True
    if not verified:
        raise ProofRefused("La note n'est pas signée par cette clé.")
    return text
