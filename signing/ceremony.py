"""The ceremony record: which keys, which quorum, whose commitments. Its hash is in every header.

`ceremony/3` is written. `ceremony/2` (neither dealer nor twin) and `ceremony/1` (one protector a member, no
epoch either) are still read.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from signing.errors import CeremonyRefused
from signing.header import KINDS, LOT
from signing.keys import key_hash
from signing.sharing import MAX_HOLDERS
from signing.strict import dump_object, hex64, integer, load_object, text, uuid_text

VERSION, SECOND_VERSION, FIRST_VERSION = "ceremony/3", "ceremony/2", "ceremony/1"
RECORD_LIMIT = 512 * 1024  # bytes
MAX_PROTECTORS = 8
MAX_KEYS = 50


Keys = TypeVar("Keys")


@dataclass(frozen=True)
class Holder:
    """A member of the committee.

    `index` is the one of its shares; `protectors` are those to which they are sealed: (id, hash of its
    public key).
    """

    index: int
    name: str
    member: str
    protectors: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class KindKeys:
    """Public keys of one kind of envelope (of one lot, if so chosen); (salt, commitment) of each share."""

    committee: bytes
    platform: bytes
    commitments: Mapping[int, tuple[bytes, str]]


@dataclass(frozen=True)
class Record:
    """`keys` by name: `key_name`. `twin` is the consultation of the rehearsal, empty in the twin's own."""

    ceremony: str
    consultation: str
    threshold: int
    holders: Sequence[Holder]
    keys: Mapping[str, KindKeys]
    code: str
    date: str
    epoch: int = 1
    previous: str = ""  # hash of the record of the epoch before, empty for the first
    dealer: str = ""  # the member on whose machine the keys were made; empty before ceremony/3
    twin: str = ""


def key_name(kind: str, lot: str = "") -> str:
    """How keys are named in a record and beside a share: `offre`, or `offre/2` where each lot has its own."""
    return f"{kind}/{lot}" if lot else kind


def keys_for(keys: Mapping[str, Keys], kind: str, lot: str) -> Keys | None:
    """Among keys by name, those to which this envelope of this lot is sealed."""
    return keys.get(key_name(kind, lot)) or keys.get(kind)


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
            "epoch": record.epoch,
            "previous": record.previous,
            "dealer": record.dealer,
            "twin": record.twin,
            "threshold": record.threshold,
            "members": [
                {
                    "index": holder.index,
                    "name": holder.name,
                    "member": holder.member,
                    "protectors": [
                        {"protector": each, "sha256": sha256} for each, sha256 in holder.protectors
                    ],
                }
                for holder in record.holders
            ],
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


_FIRST_KEYS = frozenset({"v", "ceremony", "consultation", "threshold", "members", "keys", "code", "date"})
_SECOND_KEYS = _FIRST_KEYS | {"epoch", "previous"}
_KEYS = _SECOND_KEYS | {"dealer", "twin"}
_FIELDS = {FIRST_VERSION: _FIRST_KEYS, SECOND_VERSION: _SECOND_KEYS, VERSION: _KEYS}


def _fields(value: object, names: set[str], what: str) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != names:
        raise CeremonyRefused(f"{what} : les champs ne sont pas exactement ceux de la spécification.")
    return value


def _rows(value: object, what: str) -> list[object]:
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_HOLDERS:
        raise CeremonyRefused(f"{what} : de 2 à {MAX_HOLDERS} lignes.")
    return value


def _holder(value: object, expected: int, *, first: bool) -> Holder:
    names = {"protector", "protector_sha256"} if first else {"protectors"}
    row = _fields(value, {"index", "name", "member", *names}, "Membre")
    if first:
        protectors = [(row["protector"], row["protector_sha256"])]
    else:
        rows = row["protectors"]
        if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_PROTECTORS:
            raise CeremonyRefused(f"Un membre a de 1 à {MAX_PROTECTORS} protecteurs.")
        each = [_fields(line, {"protector", "sha256"}, "Protecteur") for line in rows]
        protectors = [(line["protector"], line["sha256"]) for line in each]
    return Holder(
        integer(row["index"], CeremonyRefused, "index", low=expected, high=expected),
        text(row["name"], CeremonyRefused, "name")[:200],
        uuid_text(row["member"], CeremonyRefused, "member"),
        [
            (uuid_text(known, CeremonyRefused, "protector"), hex64(sha256, CeremonyRefused, "sha256"))
            for known, sha256 in protectors
        ],
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


def _names(value: object, version: str) -> dict[str, object]:
    """The keys by name: one for each kind, or one for each kind of each lot (ceremony/3), never both."""
    keys = value if isinstance(value, dict) else {}
    split = [name.partition("/") for name in keys]
    per_lot = {bool(slash) for _, slash, _ in split}
    known = all(kind in KINDS and (not slash or LOT.fullmatch(lot)) for kind, slash, lot in split)
    if not 1 <= len(keys) <= MAX_KEYS or not known or len(per_lot) != 1:
        raise CeremonyRefused("Les clés ne sont pas celles d'enveloppes connues.")
    if per_lot == {True} and version != VERSION:
        raise CeremonyRefused("Cette version de cérémonie n'a pas de clé par lot.")
    return keys


def _date(value: object) -> str:
    said = text(value, CeremonyRefused, "date")
    try:
        datetime.fromisoformat(said)
    except ValueError as other:
        raise CeremonyRefused("La date de la cérémonie ne se lit pas.") from other
    return said


def parse_record(data: bytes) -> Record:
    """The record in these bytes, strictly. Raises CeremonyRefused, KeyRefused."""
    value = load_object(
        data, limit=RECORD_LIMIT, keys=_KEYS, optional=_KEYS - _FIRST_KEYS, refuse=CeremonyRefused
    )
    version = value["v"]
    if not isinstance(version, str) or version not in _FIELDS or set(value) != _FIELDS[version]:
        raise CeremonyRefused("Version de cérémonie inconnue.")
    first = version == FIRST_VERSION
    members = _rows(value["members"], "Membres")
    holders = [_holder(row, expected, first=first) for expected, row in enumerate(members, start=1)]
    if len({holder.member for holder in holders}) != len(holders):
        raise CeremonyRefused("Un même membre y figure deux fois.")
    keys = _names(value["keys"], version)
    epoch = 1 if first else integer(value["epoch"], CeremonyRefused, "epoch", low=1, high=1000)
    previous = value.get("previous", "")
    if (epoch == 1) != (previous == ""):
        raise CeremonyRefused("Une nouvelle répartition nomme celle qu'elle remplace, la première aucune.")
    dealer, twin = value.get("dealer", ""), value.get("twin", "")
    kinds = {name: _kind_keys(each, len(holders)) for name, each in keys.items()}
    if len({each.committee for each in kinds.values()}) != len(kinds):
        raise CeremonyRefused("Une même clé y porte plusieurs noms : ouvrir l'un ouvrirait l'autre.")
    if version == VERSION and dealer not in {holder.member for holder in holders}:
        raise CeremonyRefused("Qui a réparti les parts n'est pas l'un des détenteurs.")
    return Record(
        uuid_text(value["ceremony"], CeremonyRefused, "ceremony"),
        uuid_text(value["consultation"], CeremonyRefused, "consultation"),
        integer(value["threshold"], CeremonyRefused, "threshold", low=2, high=len(holders)),
        holders,
        kinds,
        text(value["code"], CeremonyRefused, "code"),
        _date(value["date"]),
        epoch,
        hex64(previous, CeremonyRefused, "previous") if previous else "",
        str(dealer),
        uuid_text(twin, CeremonyRefused, "twin") if twin else "",
    )
