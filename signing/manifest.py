"""The manifest M (object 0) and the closing record t: names and sizes known before, digests known after."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from signing.errors import ManifestRefused, NameRefused
from signing.strict import dump_object, hex64, integer, load_object, text

NAME_CHARS = 255
LIMIT = 64 * 1024**2  # bytes of a manifest or closing record
MAX_FILE_BYTES = 16 * 1024**4
_RECORD_KEYS = frozenset({"nonce", "files"})


@dataclass(frozen=True)
class FileEntry:
    """One file as the bidder named it; `size` in bytes, `type` a media type or the empty string."""

    index: int
    name: str
    size: int
    type: str


@dataclass(frozen=True)
class FileDigest:
    index: int
    size: int
    sha256: str


def check_name(name: str) -> str:
    """A relative name that is safe to write everywhere. Raises NameRefused."""
    if unicodedata.normalize("NFC", name) != name:
        raise NameRefused("Le nom de fichier n'est pas en forme Unicode NFC.")
    if not 1 <= len(name) <= NAME_CHARS or len(name.encode("utf-8", "surrogatepass")) > 4 * NAME_CHARS:
        raise NameRefused(
            f"Un nom de fichier compte de 1 à {NAME_CHARS} caractères ; celui-ci en compte {len(name)}."
        )
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co"} for char in name) or "\\" in name:
        raise NameRefused("Ce nom de fichier contient des caractères interdits.")
    if any(part.strip() in {"", ".", ".."} for part in name.split("/")):
        raise NameRefused("Ce nom de fichier sort de son dossier ou contient un élément vide.")
    return name


def build_manifest(files: Sequence[FileEntry], nonce: bytes | None = None) -> bytes:
    """The frozen bytes of M; the 32-byte nonce makes its hash hiding. Raises NameRefused, ManifestRefused."""
    data = dump_object(
        {
            "nonce": (nonce or os.urandom(32)).hex(),
            "files": [
                {"i": each.index, "name": each.name, "size": each.size, "type": each.type} for each in files
            ],
        }
    )
    parse_manifest(data)
    return data


def _rows(data: bytes, keys: frozenset[str]) -> list[dict[str, object]]:
    value = load_object(data, limit=LIMIT, keys=_RECORD_KEYS, refuse=ManifestRefused)
    hex64(value["nonce"], ManifestRefused, "nonce")
    rows = value["files"]
    if not isinstance(rows, list) or not rows:
        raise ManifestRefused("La liste des fichiers est vide.")
    for row in rows:
        if not isinstance(row, dict) or set(row) != keys:
            raise ManifestRefused("Une ligne n'a pas exactement les champs de la spécification.")
    return rows


def parse_manifest(data: bytes) -> list[FileEntry]:
    """Files in order, indices 1 to n, unique safe names. Raises ManifestRefused, NameRefused."""
    entries = []
    for expected, row in enumerate(_rows(data, frozenset({"i", "name", "size", "type"})), start=1):
        entries.append(
            FileEntry(
                integer(row["i"], ManifestRefused, "i", low=expected, high=expected),
                check_name(text(row["name"], ManifestRefused, "name")),
                integer(row["size"], ManifestRefused, "size", low=0, high=MAX_FILE_BYTES),
                text(row["type"], ManifestRefused, "type")[:200],
            )
        )
    if len({entry.name.casefold() for entry in entries}) != len(entries):
        raise NameRefused("Deux fichiers ont le même nom.")
    return entries


def build_closing(digests: Sequence[FileDigest], nonce: bytes | None = None) -> bytes:
    """The frozen bytes of t."""
    return dump_object(
        {
            "nonce": (nonce or os.urandom(32)).hex(),
            "files": [{"i": each.index, "size": each.size, "sha256": each.sha256} for each in digests],
        }
    )


def parse_closing(data: bytes) -> list[FileDigest]:
    """Digests of the plaintexts in order. Raises ManifestRefused."""
    return [
        FileDigest(
            integer(row["i"], ManifestRefused, "i", low=expected, high=expected),
            integer(row["size"], ManifestRefused, "size", low=0, high=MAX_FILE_BYTES),
            hex64(row["sha256"], ManifestRefused, "sha256"),
        )
        for expected, row in enumerate(_rows(data, frozenset({"i", "size", "sha256"})), start=1)
    ]
