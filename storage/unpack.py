"""A child process that unpacks an archive which the antivirus cannot: hostile bytes, hence limits first.

Standard library only: it is run by its path, with an empty environment. It reads the archive on its standard
input (a seekable file) and writes frames on its standard output: four bytes (big-endian length) and a JSON
object that names a member, then the member's blocks, each after its length, an empty one ending it. A last
frame says what could not be unpacked.

    unpack.py zip64   what ClamAV passes over in silence: what ZIP64 archives hold, at any depth
    unpack.py all     every member

A member that is itself an archive is not emitted: its own members are. What neither of us unpacks (ZIP64
behind other bytes, in a container that is none of ours, a member of 2 GiB) is said.
"""

import bz2
import errno
import gzip
import itertools
import json
import lzma
import resource
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, ClassVar

BLOCK = 1024**2
TWO_GIB = 2**31 - 3  # bytes: above, ClamAV passes over a member in silence
MAX_DEPTH = 20  # archives in archives
MAX_ENTRIES = 100_000
MAX_TOTAL = 64 * 1024**3  # bytes unpacked in all
MAX_RATIO = 250  # unpacked over packed, above the floor
RATIO_FLOOR = 512 * 1024**2
MAX_MEMORY = 1024**3
MAX_CPU = 3600  # seconds
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)  # ours, not the archive's
_LOCAL = b"PK\x03\x04"
TAR_MAGIC_END = 262  # bytes from the start
# What the standard library raises for damaged bytes and for methods that it does not know.
_UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


class Zip64Watch:
    """Fed with a stream, says whether it holds ZIP64 structures, wherever they begin; constant memory.

    A ZIP is one by its end: what stands before it (a program, one byte) keeps no reader from opening it.
    """

    def __init__(self) -> None:
        self._tail = b""
        self.found = False

    def feed(self, block: bytes) -> None:
        if self.found:
            return
        data = self._tail + block
        self.found = any(_has(data, mark, is_one) for mark, is_one in _ZIP64_MARKS)
        self._tail = data[-64:]


def _has(data: bytes, mark: bytes, is_one: Callable[[bytes], bool]) -> bool:
    start = 0
    while (position := data.find(mark, start)) != -1:
        if is_one(data[position : position + 30]):
            return True
        start = position + 4
    return False


def _absent(sizes: bytes) -> bool:
    """Sizes of 0xFFFFFFFF send the reader to a ZIP64 extra field."""
    return b"\xff\xff\xff\xff" in (sizes[:4], sizes[4:8])


# Local headers, entries of the directory, the end of a ZIP64 directory and its own length (APPNOTE 4.3).
_ZIP64_MARKS: tuple[tuple[bytes, Callable[[bytes], bool]], ...] = (
    (_LOCAL, lambda header: _absent(header[18:26])),
    (b"PK\x01\x02", lambda header: _absent(header[20:28])),
    (
        b"PK\x06\x06",
        lambda header: len(header) >= 12 and 44 <= int.from_bytes(header[4:12], "little") < 2**20,
    ),
)


class Stop(Exception):
    """A limit was met: nothing more is unpacked."""


class Unpacker:
    """Walks an archive and what it holds; `problems` says what it could not read."""

    COMPRESSED: ClassVar = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}

    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.entries = self.total = self.packed = 0
        self.problems: list[str] = []

    def frame(self, said: dict[str, object]) -> None:
        data = json.dumps(said).encode()
        self.out.write(len(data).to_bytes(4, "big") + data)

    def count(self, size: int) -> None:
        self.total += size
        if self.total > MAX_TOTAL:
            raise Stop("plus de données que la limite")
        if self.total > RATIO_FLOOR and self.total > MAX_RATIO * max(1, self.packed):
            raise Stop("se décompresse sans mesure")

    def enter(self, depth: int) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise Stop("plus de fichiers que la limite")
        if depth > MAX_DEPTH:
            raise Stop("trop d'archives les unes dans les autres")

    def walk(self, file: BinaryIO, depth: int, *, emit: bool) -> None:
        file.seek(0)
        kind = magic(file.read(TAR_MAGIC_END))
        try:
            if kind == "zip":
                self.zip(file, depth, emit=emit)
            elif kind == "tar":
                self.tar(file, depth, emit=emit)
            elif kind:
                file.seek(0)
                with self.COMPRESSED[kind.encode("latin-1")](file) as inner:  # type: ignore[operator]
                    self.enter(depth)
                    self.member("contenu", blocks(inner), depth, emit=emit)
        except _UNREADABLE as broken:
            _not_ours(broken)
            if emit or kind == "zip":  # its sizes are unknown: the engine passes over what is too long for it
                self.problems.append(f"archive illisible ({type(broken).__name__})")

    def zip(self, file: BinaryIO, depth: int, *, emit: bool) -> None:
        emit = emit or is_zip64(file)
        with zipfile.ZipFile(file) as archive:
            if self.entries + len(archive.infolist()) > MAX_ENTRIES:  # known before the first is unpacked
                raise Stop("plus de fichiers que la limite")
            for info in archive.infolist():
                self.enter(depth)
                if info.filename.endswith("/"):  # is_dir() breaks on an empty name
                    continue
                if info.flag_bits & 1:
                    if emit:
                        self.problems.append("fichier protégé par un mot de passe")
                    continue
                try:
                    with archive.open(info) as inner:
                        self.member(info.filename, blocks(inner), depth, emit=emit)
                except _UNREADABLE as broken:
                    _not_ours(broken)
                    if emit:
                        self.problems.append(f"fichier illisible ({type(broken).__name__})")

    def tar(self, file: BinaryIO, depth: int, *, emit: bool) -> None:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                self.enter(depth)
                inner = archive.extractfile(info) if info.isreg() else None
                if inner is not None:
                    self.member(info.name, blocks(inner), depth, emit=emit)

    def member(self, name: str, data: Iterator[bytes], depth: int, *, emit: bool) -> None:
        """Emit a member; one that is an archive is walked instead, spilled into a file without a name."""
        head = b""
        for block in data:
            head += block
            if len(head) >= TAR_MAGIC_END:
                break
        nested = bool(magic(head))
        if not nested and not emit:
            self.watched(name, itertools.chain([head] if head else [], data))
            return
        every = itertools.chain([head] if head else [], data)
        if nested:
            with tempfile.TemporaryFile() as spill:
                for block in every:
                    self.count(len(block))
                    spill.write(block)
                self.walk(spill, depth + 1, emit=emit)
            return
        self.frame({"name": name[-200:]})
        try:
            for block in every:
                self.count(len(block))
                self.out.write(len(block).to_bytes(4, "big") + block)
        finally:
            self.out.write((0).to_bytes(4, "big"))

    def watched(self, name: str, data: Iterator[bytes]) -> None:
        """What the antivirus sees by itself, but for what it passes over in silence."""
        watch, size = Zip64Watch(), 0
        for block in data:
            self.count(len(block))
            watch.feed(block)
            size += len(block)
        if watch.found:
            self.problems.append(f"archive ZIP64 dans « {name[-80:]} », que l'antivirus ne déplie pas")
        if size >= TWO_GIB:
            self.problems.append(f"« {name[-80:]} » a plus de 2 Gio, que l'antivirus n'analyse pas")


def _not_ours(fault: BaseException) -> None:
    """A full disk, a reader that is gone or a limit of Python is not the archive's fault."""
    if isinstance(fault, BrokenPipeError | RecursionError):
        raise fault
    if isinstance(fault, OSError) and fault.errno == errno.EFBIG:
        raise Stop("trop volumineuse pour être dépliée") from fault
    if isinstance(fault, OSError) and fault.errno in _NO_ROOM:
        raise fault


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Blocks of 1 MiB."""
    while block := file.read(BLOCK):
        yield block


def magic(head: bytes) -> str:
    """zip, tar, or the first bytes of a compressed file; empty for anything else."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    return next((start.decode("latin-1") for start in Unpacker.COMPRESSED if head.startswith(start)), "")


def is_zip64(file: BinaryIO) -> bool:
    """Whether an archive has any ZIP64 structure: in its end, its directory or a local header."""
    file.seek(0)
    watch = Zip64Watch()
    for block in blocks(file):
        watch.feed(block)
        if watch.found:
            return True
    return False


def main(which: str) -> None:
    for name, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_CPU, MAX_CPU),
        (resource.RLIMIT_FSIZE, MAX_TOTAL),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(name, (limit, limit))
    out = sys.stdout.buffer
    unpacker = Unpacker(out)
    raw = open(0, "rb", closefd=False)  # noqa: SIM115  (the archive itself, seekable)
    unpacker.packed = raw.seek(0, 2)
    try:
        unpacker.walk(raw, 1, emit=which == "all")
    except (Stop, MemoryError, RecursionError) as limit:
        unpacker.problems.append(str(limit) or "trop de mémoire pour être dépliée")
    except OSError as full:
        if full.errno not in _NO_ROOM:
            raise
        unpacker.frame({"full": True})
    unpacker.frame({"end": True, "problems": sorted(set(unpacker.problems))[:5]})
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
