"""The ceremony record: which keys, which quorum, whose commitments. Its hash is in every header."""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signing.errors import CeremonyRefused
from signing.header import KINDS
from signing.keys import key_hash
from signing.sharing import MAX_HOLDERS
from signing.strict import dump_object, hex64, integer, load_object, text, uuid_text

VERSION = "ceremony/1"
RECORD_LIMIT = 256 * 1024  # bytes


@dataclass(frozen=True)
class Holder:
    """A member of the committee.

    `index` is the one of its shares, `protector_sha256` the hash of its public key.
    """

    index: int
    name: str
    member: str
    protector: str
    protector_sha256: str


@dataclass(frozen=True)
class KindKeys:
    """Public keys of one kind of envelope, and (salt, commitment) of each share by index."""

    committee: bytes
    platform: bytes
    commitments: Mapping[int, tuple[bytes, str]]


@dataclass(frozen=True)
class Record:
    ceremony: str
    consultation: str
    threshold: int
    holders: Sequence[Holder]
    keys: Mapping[str, KindKeys]
    code: str
    date: str


def record_hash(data: bytes) -> str:
    """Lower-hex SHA-256 of the record's bytes."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(sha256: str) -> str:
    """What people compare aloud: the first 16 hex digits in groups of four."""
    return " ".join(sha256[i : i + 4] for i in range(0, 16, 4)).upper()


def build_record(record: Record) -> bytes:
    """The frozen bytes of a record; raises CeremonyRefused on what `parse_record` would refuse."""
    data = dump_object(
        {
            "v": VERSION,
            "ceremony": record.ceremony,
            "consultation": record.consultation,
            "threshold": record.threshold,
            "members": [vars(holder) for holder in record.holders],
            "keys": {
                kind: {
                    "committee": key_hash(keys.committee),
                    "platform": key_hash(keys.platform),
                    "committee_public": base64.b64encode(keys.committee).decode(),
                    "platform_public": base64.b64encode(keys.platform).decode(),
                    "commitments": [
                        {"index": index, "salt": salt.hex(), "commitment": commitment}
                        for index, (salt, commitment) in sorted(keys.commitments.items())
                    ],
                }
                for kind, keys in record.keys.items()
            },
            "code": record.code,
            "date": record.date,
        }
    )
    parse_record(data)
    return data


_KEYS = frozenset({"v", "ceremony", "consultation", "threshold", "members", "keys", "code", "date"})


def _fields(value: object, names: set[str], what: str) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != names:
        raise CeremonyRefused(f"{what} : les champs ne sont pas exactement ceux de la spécification.")
    return value


def _rows(value: object, what: str) -> list[object]:
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_HOLDERS:
        raise CeremonyRefused(f"{what} : de 2 à {MAX_HOLDERS} lignes.")
    return value


def _holder(value: object, expected: int) -> Holder:
    row = _fields(value, {"index", "name", "member", "protector", "protector_sha256"}, "Membre")
    return Holder(
        integer(row["index"], CeremonyRefused, "index", low=expected, high=expected),
        text(row["name"], CeremonyRefused, "name")[:200],
        uuid_text(row["member"], CeremonyRefused, "member"),
        uuid_text(row["protector"], CeremonyRefused, "protector"),
        hex64(row["protector_sha256"], CeremonyRefused, "protector_sha256"),
    )


def _public(value: object, sha256: object) -> bytes:
    try:
        public = base64.b64decode(text(value, CeremonyRefused, "clé"), validate=True)
    except (binascii.Error, ValueError) as bad:
        raise CeremonyRefused("Une clé publique est mal encodée.") from bad
    if key_hash(public) != sha256:
        raise CeremonyRefused("Une clé publique n'a pas l'empreinte annoncée.")
    return public


def _kind_keys(value: object, holders: int) -> KindKeys:
    names = {"committee", "platform", "committee_public", "platform_public", "commitments"}
    row = _fields(value, names, "Clés")
    commitments: dict[int, tuple[bytes, str]] = {}
    for expected, each in enumerate(_rows(row["commitments"], "Engagements"), start=1):
        line = _fields(each, {"index", "salt", "commitment"}, "Engagement")
        index = integer(line["index"], CeremonyRefused, "index", low=expected, high=expected)
        salt = bytes.fromhex(hex64(line["salt"], CeremonyRefused, "salt"))
        commitments[index] = (salt, hex64(line["commitment"], CeremonyRefused, "commitment"))
    if len(commitments) != holders:
        raise CeremonyRefused("Il faut un engagement par détenteur.")
    return KindKeys(
        _public(row["committee_public"], row["committee"]),
        _public(row["platform_public"], row["platform"]),
        commitments,
    )


def parse_record(data: bytes) -> Record:
    """The record in these bytes, strictly. Raises CeremonyRefused, KeyRefused."""
    value = load_object(data, limit=RECORD_LIMIT, keys=_KEYS, refuse=CeremonyRefused)
    if value["v"] != VERSION:
        raise CeremonyRefused("Version de cérémonie inconnue.")
    members = _rows(value["members"], "Membres")
    holders = [_holder(row, expected) for expected, row in enumerate(members, start=1)]
    keys = value["keys"]
    if not isinstance(keys, dict) or not keys or not set(keys) <= set(KINDS):
        raise CeremonyRefused("Les clés ne sont pas celles d'enveloppes connues.")
    return Record(
        uuid_text(value["ceremony"], CeremonyRefused, "ceremony"),
        uuid_text(value["consultation"], CeremonyRefused, "consultation"),
        integer(value["threshold"], CeremonyRefused, "threshold", low=2, high=len(holders)),
        holders,
        {kind: _kind_keys(each, len(holders)) for kind, each in keys.items()},
        text(value["code"], CeremonyRefused, "code"),
        text(value["date"], CeremonyRefused, "date"),
    )
