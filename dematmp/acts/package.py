"""The archive of a transmission: a flat tar.gz of the envelope, the message and its documents, in this order.

Written and read as a stream: its size never shows in memory.
"""

import gzip
import io
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from dematmp.acts import names
from dematmp.acts.errors import ActRefused, MessageRefused
from dematmp.acts.rules import ARCHIVE_BYTES

MEMBERS = 200
UNPACKED_BYTES = 2 * ARCHIVE_BYTES
BLOCK = 1024 * 1024
_NAMES = (names.ENVELOPE, names.MESSAGE, names.DOCUMENT)
_HEADER = 512
_UNREADABLE = (OSError, EOFError, tarfile.TarError, zlib.error, ValueError)


@dataclass(frozen=True)
class Member:
    """A file to be packed: its name, its size, where its bytes come from."""

    name: str
    size: int
    blocks: Iterable[bytes]


class _Blocks(io.RawIOBase):
    """A readable file over blocks of bytes."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._rest = iter(blocks), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview[int]") -> int:  # type: ignore[override]
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextmanager
def packed(members: Iterable[Member]) -> Iterator[BinaryIO]:
    """The archive as a temporary file at its start; the same files always give the same bytes.

    Raises ActRefused over 150 MiB.
    """
    with tempfile.TemporaryFile() as out:
        with (
            gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6, mtime=0, filename="") as zipped,
            tarfile.open(fileobj=zipped, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for member in members:
                header = tarfile.TarInfo(member.name)
                header.size, header.mode = member.size, 0o644
                tar.addfile(header, cast(IO[bytes], io.BufferedReader(_Blocks(member.blocks), BLOCK)))
        size = out.tell()
        if size > ARCHIVE_BYTES:
            raise ActRefused(
                f"La taille de l'archive n'est pas conforme : {size} octets (max : {ARCHIVE_BYTES})."
            )
        out.seek(0)
        yield cast(BinaryIO, out)


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of files held in memory: letters, receipts, tests."""
    with packed(Member(name, len(data), [data]) for name, data in files.items()) as out:
        return out.read()


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """A file's blocks from where it stands."""
    while block := stream.read(BLOCK):
        yield block


class _Bounded(io.RawIOBase):
    """What a gzip stream gives, refused beyond the limit: a bomb costs no more than the limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._gzip, self._given = gzip.GzipFile(fileobj=stream, mode="rb"), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._gzip.read(min(size, BLOCK) if size >= 0 else BLOCK)
        self._given += len(block)
        if self._given > UNPACKED_BYTES:
            raise MessageRefused("L'archive est trop volumineuse une fois dépliée.")
        return block


class _Content(io.RawIOBase):
    """The bytes of a member, read after the generator gave it: what is cut short is refused like the rest."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._inner.read(size)
        except _UNREADABLE as broken:
            raise MessageRefused("L'archive n'est pas un tar.gz lisible.") from broken


def members(stream: BinaryIO, *, strict: bool = True) -> Iterator[tuple[str, int, BinaryIO]]:
    """Each member in order: its name, its size, its bytes to be read before the next one.

    Raises MessageRefused: unreadable, too big once unpacked, too many, folders, links, twice the same
    name, or (`strict`) a name outside the grammar.
    """
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Bounded(stream)), mode="r|", bufsize=_HEADER * 20) as tar:
            for member in tar:
                if len(seen) >= MEMBERS:
                    raise MessageRefused(f"L'archive porte plus de {MEMBERS} fichiers.")
                known = any(grammar.fullmatch(member.name) for grammar in _NAMES)
                if not member.isfile() or "/" in member.name or (strict and not known):
                    raise MessageRefused("L'archive porte un nom de fichier hors de la grammaire ACTES.")
                content = tar.extractfile(member)
                if content is None or member.name in seen:
                    raise MessageRefused("L'archive porte deux fois le même nom.")
                seen.add(member.name)
                yield member.name, member.size, cast(BinaryIO, _Content(content))
    except _UNREADABLE as broken:
        raise MessageRefused("L'archive n'est pas un tar.gz lisible.") from broken
    if not seen:
        raise MessageRefused("L'archive n'est pas un tar.gz lisible : elle est vide.")


def unpack(data: bytes) -> dict[str, bytes]:
    """The members by name, in memory: for small archives. Raises MessageRefused."""
    if len(data) > ARCHIVE_BYTES:
        raise MessageRefused("L'archive dépasse 150 Mio.")
    return {name: content.read() for name, _, content in members(io.BytesIO(data))}
