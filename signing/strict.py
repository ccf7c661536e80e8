"""Strict JSON: exact keys, no duplicates, bounded size. What is hashed is always the bytes received."""

import json
import re

from signing.errors import SigningError

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def parse(data: bytes) -> object:
    """The value of a JSON text that two readers read alike. Raises ValueError, RecursionError."""
    return json.loads(data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_constant)


def load_object(
    data: bytes,
    *,
    limit: int,
    keys: frozenset[str],
    refuse: type[SigningError],
    optional: frozenset[str] = frozenset(),
) -> dict[str, object]:
    """The JSON object in `data`, of exactly these keys, of which all of `optional` may be absent.

    Raises `refuse`.
    """
    if len(data) > limit:
        raise refuse(f"{len(data)} octets dépassent la limite de {limit}.")
    try:
        value = parse(data)
    except (UnicodeDecodeError, ValueError, RecursionError) as bad:
        raise refuse(f"JSON invalide : {bad}") from bad
    if not isinstance(value, dict) or set(value) not in (keys, keys - optional):
        raise refuse("Les champs ne sont pas exactement ceux de la spécification.")
    return value


def dump_object(value: dict[str, object]) -> bytes:
    """The bytes we write: UTF-8, no spaces, keys in the given order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def text(value: object, refuse: type[SigningError], what: str) -> str:
    if not isinstance(value, str):
        raise refuse(f"{what} n'est pas un texte.")
    return value


def uuid_text(value: object, refuse: type[SigningError], what: str) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise refuse(f"{what} n'est pas un identifiant UUID en minuscules.")
    return value


def hex64(value: object, refuse: type[SigningError], what: str) -> str:
    if not isinstance(value, str) or not _HEX64.fullmatch(value):
        raise refuse(f"{what} n'est pas une empreinte SHA-256 en hexadécimal minuscule.")
    return value


def integer(value: object, refuse: type[SigningError], what: str, *, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise refuse(f"{what} n'est pas un entier de {low} à {high}.")
    return value
