"""Cosignatures of checkpoints (C2SP tlog-cosignature, Ed25519): a witness saw this tree, at this time.

The time is in the signature, in seconds since 1970; the key's algorithm byte is 0x04, so that no key of a log
is taken for a witness's.
"""

import base64
import binascii
import hashlib
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signing.errors import ProofRefused
from signing.notes import NOTE_LIMIT, check_name

_ALGORITHM = b"\x04"
_TIME_BYTES = 8


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ALGORITHM + public).digest()[:4]


def _message(body: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{body}".encode()


def split(note: str) -> tuple[str, list[str]]:
    """The text of a note, with its last newline, and its signature lines. Raises ProofRefused."""
    if len(note.encode()) > NOTE_LIMIT or "\n\n" not in note or not note.endswith("\n"):
        raise ProofRefused("Ce n'est pas une note signée.")
    body, _, lines = note.rpartition("\n\n")
    return body + "\n", lines[:-1].split("\n")


class Cosigner:
    """A witness's key; `verifier_key` is the line by which others know it."""

    def __init__(self, name: str, private: bytes) -> None:
        check_name(name)
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def verifier_key(self) -> str:
        encoded = base64.b64encode(_ALGORITHM + self._public).decode()
        return f"{self.name}+{_key_id(self.name, self._public).hex()}+{encoded}"

    def cosign(self, body: str, *, now: datetime) -> str:
        """The signature line over a checkpoint's text, with its newline."""
        seconds = int(now.timestamp())
        signed = self._key.sign(_message(body, seconds))
        raw = _key_id(self.name, self._public) + seconds.to_bytes(_TIME_BYTES, "big") + signed
        return f"— {self.name} {base64.b64encode(raw).decode()}\n"


def _parse_key(line: str) -> tuple[str, bytes, Ed25519PublicKey]:
    try:
        name, identifier, encoded = line.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        if raw[:1] != _ALGORITHM or len(raw) != 33 or bytes.fromhex(identifier) != _key_id(name, raw[1:]):
            raise ValueError("key")
        return name, bytes.fromhex(identifier), Ed25519PublicKey.from_public_bytes(raw[1:])
    except (ValueError, binascii.Error) as bad:
        raise ProofRefused("Cette clé de témoin n'est pas valide.") from bad


def verify_cosignature(note: str, verifier_key: str) -> datetime:
    """When this witness saw the checkpoint of a note (UTC). Raises ProofRefused when it did not sign it."""
    name, identifier, key = _parse_key(verifier_key)
    body, lines = split(note)
    for line in lines:
        fields = line.split(" ")
        if len(fields) != 3 or fields[:2] != ["—", name]:
            continue
        try:
            raw = base64.b64decode(fields[2], validate=True)
        except (ValueError, binascii.Error):
            continue
        seconds = int.from_bytes(raw[4 : 4 + _TIME_BYTES], "big")
        if raw[:4] != identifier:
            continue
        try:
            key.verify(raw[4 + _TIME_BYTES :], _message(body, seconds))
            return datetime.fromtimestamp(seconds, UTC)
        except (InvalidSignature, ValueError, OverflowError) as forged:
            raise ProofRefused("La cosignature de ce témoin est fausse.") from forged
    raise ProofRefused("Ce témoin n'a pas cosigné ce point de contrôle.")
