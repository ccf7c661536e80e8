"""Objects in a folder: the embedded default. What appears under a key is whole and on disk."""

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from storage.errors import ObjectMissing, ObjectTooLarge, PartCorrupt, PartTruncated, StoreUnavailable
from storage.objects import BLOCK_BYTES, Part, StoredObject, Target, Upload, check_key, verified


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(folder: Path) -> None:
    """A folder and those above it, each written in its own before anything is said to be kept there."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_directory(each.parent)


def _files(folder: Path) -> Iterator[Path]:
    """Those under a folder, in the order of their names; one folder at a time is held in memory."""
    try:
        found = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # none, or gone meanwhile
        return
    for each in found:
        if each.is_file():
            yield each
        elif each.is_dir() and not each.is_symlink():
            yield from _files(each)


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """A disk that is full or fails is a store that does not answer; what a sender breaks off is not."""
    try:
        yield
    except OSError as failed:
        if failed.errno in _DISK:
            raise StoreUnavailable("Le disque du stockage est plein ou ne répond plus.") from failed
        raise


class FolderStore:
    """Objects under `root/objects`, parts under `root/uploads`; every write is temporary + fsync + rename."""

    direct = ""  # parts come through the platform

    def __init__(self, root: Path) -> None:
        self.root, self._objects, self._uploads = root, root / "objects", root / "uploads"

    def _path(self, key: str) -> Path:
        return self._objects / check_key(key)

    @_disk()
    def _write(self, path: Path, chunks: Iterable[bytes]) -> StoredObject:
        """Into a folder that is there already."""
        draft = path.with_name(f".{uuid.uuid4().hex}")
        digest, size = hashlib.sha256(), 0
        try:
            with draft.open("wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_directory(path.parent)
        return StoredObject(size, digest.hexdigest())

    def put(self, key: str, data: bytes) -> None:
        self.put_stream(key, [data])

    @_disk()
    def put_stream(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        path = self._path(key)
        _make(path.parent)
        return self._write(path, chunks)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self._blocks(self._file(key), start, length)

    def _file(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except FileNotFoundError as missing:
            raise ObjectMissing("Cet objet n'existe pas.") from missing

    @staticmethod
    def _blocks(file: BinaryIO, start: int, length: int | None) -> Iterator[bytes]:
        with file:
            file.seek(start)
            left = length
            while left is None or left > 0:
                block = file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
                if not block:
                    return
                if left is not None:
                    left -= len(block)
                yield block

    def read(self, key: str, *, max_bytes: int = 64 * 1024**2) -> bytes:
        with self._file(key) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ObjectTooLarge("Cet objet est trop long pour être lu d'un bloc.")
        return data

    def size(self, key: str) -> int:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError as missing:
            raise ObjectMissing("Cet objet n'existe pas.") from missing

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        yield from self._under(self._objects / check_key(prefix.rstrip("/")))

    def every(self) -> Iterator[str]:
        yield from self._under(self._objects)

    def _under(self, base: Path) -> Iterator[str]:
        for path in _files(base):
            if not path.name.startswith("."):
                yield path.relative_to(self._objects).as_posix()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    @_disk()
    def begin(self, key: str) -> str:
        check_key(key)
        upload_id = uuid.uuid4().hex
        _make(self._uploads / upload_id)
        return upload_id

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
    ) -> None:
        """An upload that ended, or that was given up, takes no more parts. Raises ObjectMissing."""
        folder = self._uploads / check_key(upload_id)
        try:
            self._write(folder / str(number), verified(stream, size=size, sha256=sha256))
        except FileNotFoundError as ended:
            raise ObjectMissing("Cet envoi est terminé ou abandonné.") from ended

    def target(self, key: str, upload_id: str, number: int, *, size: int, sha256: str) -> Target:
        raise StoreUnavailable("Un dossier ne reçoit rien directement.")

    def held(self, key: str, upload_id: str, number: int) -> int | None:
        """Bytes of a part that is there, or None."""
        try:
            return (self._uploads / check_key(upload_id) / str(number)).stat().st_size
        except FileNotFoundError:
            return None

    @_disk()
    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Join the parts into the object; does nothing when that was done before, by anybody.

        An object that is there already is read again: of the same length, it may be of other bytes.
        """
        path, folder = self._path(key), self._uploads / check_key(upload_id)

        def whole() -> bool:
            return path.is_file() and self._holds(path, parts)

        if not whole():
            try:
                if len(parts) == 1:
                    for _ in self._joined(folder, parts):
                        pass
                    self._move(folder / "1", path)
                else:
                    _make(path.parent)
                    self._write(path, self._joined(folder, parts))
            except PartTruncated:
                if not whole():  # else another process completed it meanwhile
                    raise
        shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _holds(path: Path, parts: Sequence[Part]) -> bool:
        """Whether an object is made of these parts, by its length then by the digest of each."""
        if path.stat().st_size != sum(part.size for part in parts):
            return False
        with path.open("rb") as file:
            try:
                for part in parts:
                    for _ in verified(file, size=part.size, sha256=part.sha256):
                        pass
            except (PartCorrupt, PartTruncated):
                return False
        return True

    @staticmethod
    def _move(source: Path, path: Path) -> None:
        _make(path.parent)
        try:
            source.replace(path)
        except FileNotFoundError as missing:
            raise PartTruncated("Une partie manque dans le stockage.") from missing
        _sync_directory(path.parent)

    @staticmethod
    def _joined(folder: Path, parts: Sequence[Part]) -> Iterator[bytes]:
        """The bytes of the parts, in order, each as it was received. Raises PartTruncated."""
        for part in parts:
            try:
                file = (folder / str(part.number)).open("rb")
            except FileNotFoundError as missing:
                raise PartTruncated("Une partie manque dans le stockage.") from missing
            with file:
                try:
                    yield from verified(file, size=part.size, sha256=part.sha256)
                except PartCorrupt as rotten:
                    raise PartTruncated("Une partie n'a plus les octets reçus.") from rotten

    def abort(self, key: str, upload_id: str) -> None:
        shutil.rmtree(self._uploads / check_key(upload_id), ignore_errors=True)

    def uploads(self) -> Iterator[Upload]:
        """Begun uploads, whose keys a folder does not know, and the drafts that killed writers left."""
        begun = sorted(self._uploads.iterdir()) if self._uploads.is_dir() else []
        for path in [*begun, *sorted(self._objects.rglob(".*"))]:
            with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                name = path.name if path.parent == self._uploads else ""
                yield Upload(path.relative_to(self._objects.parent).as_posix(), name, since)
