"""The port of object stores: keys, streams, and uploads in verified parts."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from storage.errors import KeyRefused, PartCorrupt, PartTruncated

BLOCK_BYTES = 1024**2
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class StoredObject:
    """What was written: bytes and lower-hex SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """One part of an upload: number from 1, bytes, lower-hex SHA-256."""

    number: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Target:
    """Where a client itself sends one part: an address, and headers that sign these very bytes."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Upload:
    """What was begun and neither completed nor given up: of which key, since when (UTC)."""

    key: str
    upload_id: str
    begun: datetime


class ObjectStore(Protocol):
    """S3 or a folder. `direct` is the origin to which clients send parts themselves, empty when they do not.

    Every method may raise StoreUnavailable; keys never hold people's or files' names."""

    direct: str

    def put(self, key: str, data: bytes) -> None: ...

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> StoredObject: ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def read(self, key: str, *, max_bytes: int = 64 * 1024**2) -> bytes: ...

    def size(self, key: str) -> int: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]: ...

    def every(self) -> Iterator[str]:
        """All keys, whatever their prefix; one that is not where its key belongs, after its bucket."""
        ...

    def delete(self, key: str) -> None: ...

    def begin(self, key: str) -> str: ...

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        stream: BinaryIO,
        *,
        size: int,
        part_bytes: int,
        sha256: str,
    ) -> None: ...

    def target(self, key: str, upload_id: str, number: int, *, size: int, sha256: str) -> Target: ...

    def held(self, key: str, upload_id: str, number: int) -> int | None: ...

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None: ...

    def abort(self, key: str, upload_id: str) -> None: ...

    def uploads(self) -> Iterator[Upload]: ...


def check_key(key: str) -> str:
    """A relative key of plain segments. Raises KeyRefused."""
    if len(key) > 400 or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise KeyRefused("Cette clé d'objet n'est pas valide.")
    return key


def verified(stream: BinaryIO, *, size: int, sha256: str) -> Iterator[bytes]:
    """Blocks of exactly `size` bytes of this SHA-256; raises PartTruncated or PartCorrupt at the end."""
    digest, left = hashlib.sha256(), size
    while left:
        block = stream.read(min(BLOCK_BYTES, left))
        if not block:
            raise PartTruncated(f"Il manque {left} octets sur {size}.")
        digest.update(block)
        left -= len(block)
        yield block
    if digest.hexdigest() != sha256:
        raise PartCorrupt("Les octets reçus n'ont pas l'empreinte annoncée.")
