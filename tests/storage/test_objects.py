"""One contract for the folder and for S3 (real Ceph): bytes come back whole, or not at all."""

import errno
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.services.ceph import Ceph
from storage.errors import (
    KeyRefused,
    ObjectMissing,
    ObjectTooLarge,
    PartCorrupt,
    PartTruncated,
    StoreUnavailable,
)
from storage.folder import FolderStore
from storage.objects import ObjectStore, Part
from storage.s3 import S3Store
from storage.stores import parse_object_store, s3_store

MIB = 1024 * 1024


@pytest.fixture(params=["folder", "s3", "s3-tls"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path)
    ceph: Ceph = request.getfixturevalue("ceph_tls" if request.param == "s3-tls" else "ceph")
    return s3_store(parse_object_store(ceph.url))


@pytest.fixture
def key() -> str:
    return f"tests/{uuid.uuid4()}/0.cob"


def send(store: ObjectStore, key: str, upload: str, data: bytes, *, part_bytes: int = 8 * MIB) -> list[Part]:
    parts = []
    for number, start in enumerate(range(0, len(data), part_bytes), start=1):
        block = data[start : start + part_bytes]
        digest = hashlib.sha256(block).hexdigest()
        stream = io.BytesIO(block)
        store.put_part(key, upload, number, stream, size=len(block), part_bytes=part_bytes, sha256=digest)
        parts.append(Part(number, len(block), digest))
    return parts


@pytest.mark.parametrize("size", [1, MIB, 8 * MIB, 8 * MIB + 1, 20 * MIB])
def test_parts_come_back_as_one_object(store: ObjectStore, key: str, size: int) -> None:
    data = os.urandom(size)
    upload = store.begin(key)
    store.complete(key, upload, send(store, key, upload, data))
    assert b"".join(store.open(key)) == data
    assert store.size(key) == size


def test_completing_twice_is_harmless(store: ObjectStore, key: str) -> None:
    upload = store.begin(key)
    parts = send(store, key, upload, b"x" * 100)
    store.complete(key, upload, parts)
    store.complete(key, upload, parts)
    assert store.read(key) == b"x" * 100


def test_a_part_sent_twice_counts_once(store: ObjectStore, key: str) -> None:
    upload = store.begin(key)
    send(store, key, upload, b"x" * 100)
    store.complete(key, upload, send(store, key, upload, b"x" * 100))
    assert store.size(key) == 100


@pytest.mark.parametrize(("start", "length"), [(0, 10), (5, None), (90, 10), (99, 1)])
def test_a_range_is_read_alone(store: ObjectStore, key: str, start: int, length: int | None) -> None:
    data = os.urandom(100)
    store.put(key, data)
    expected = data[start:] if length is None else data[start : start + length]
    assert b"".join(store.open(key, start, length)) == expected


def test_a_truncated_part_is_refused(store: ObjectStore, key: str) -> None:
    upload = store.begin(key)
    with pytest.raises(PartTruncated):
        digest = hashlib.sha256(b"abcd").hexdigest()
        store.put_part(key, upload, 1, io.BytesIO(b"abc"), size=4, part_bytes=8 * MIB, sha256=digest)
    assert not store.exists(key)


def test_a_corrupt_part_is_refused(store: ObjectStore, key: str) -> None:
    upload = store.begin(key)
    with pytest.raises(PartCorrupt):
        digest = hashlib.sha256(b"abcd").hexdigest()
        store.put_part(key, upload, 1, io.BytesIO(b"abcX"), size=4, part_bytes=8 * MIB, sha256=digest)
    assert not store.exists(key)


def test_an_object_before_its_completion_does_not_exist(store: ObjectStore, key: str) -> None:
    send(store, key, store.begin(key), b"x" * 100)
    assert not store.exists(key)
    with pytest.raises(ObjectMissing):
        list(store.open(key))


def test_a_stream_gives_its_size_and_digest(store: ObjectStore, key: str) -> None:
    stored = store.put_stream(key, [b"a" * MIB] * 3)
    assert stored.size == 3 * MIB
    assert stored.sha256 == hashlib.sha256(b"a" * 3 * MIB).hexdigest()


def test_a_stream_that_fails_leaves_nothing(store: ObjectStore, key: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a" * MIB
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.put_stream(key, chunks())
    assert not store.exists(key)


def test_objects_are_listed_by_prefix(store: ObjectStore, key: str) -> None:
    prefix = key.rsplit("/", 1)[0]
    for name in ("a", "b"):
        store.put(f"{prefix}/{name}", b"x")
    assert sorted(store.list(prefix)) == [f"{prefix}/a", f"{prefix}/b"]
    store.delete(f"{prefix}/a")
    assert sorted(store.list(prefix)) == [f"{prefix}/b"]


def test_a_folder_is_listed_as_it_is_walked(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    keys = ["a/b", "a/c/d", "a-b/e", "f", "sealed/1/0.cob", "sealed/1/10.cob", "sealed/2/0.cob"]
    for key in reversed(keys):
        store.put(key, b"x")
    assert list(store.every()) == keys
    assert list(store.list("nowhere")) == []
    listing = store.every()
    assert next(listing) == "a/b"
    shutil.rmtree(tmp_path / "objects" / "sealed" / "1")  # found later than the first is given
    assert list(listing) == [key for key in keys[1:] if not key.startswith("sealed/1/")]


def test_an_object_deleted_while_it_is_read_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b", b"x" * 100)
    measure = FolderStore.size

    def measured(self: FolderStore, key: str) -> int:
        size = measure(self, key)
        self.delete(key)
        return size

    monkeypatch.setattr(FolderStore, "size", measured)
    with pytest.raises(ObjectMissing):  # deleted between two looks, or read whole
        assert store.read("a/b") == b"x" * 100
        store.size("a/b")
        store.read("a/b")


def test_an_object_too_long_is_not_read_at_once(store: ObjectStore, key: str) -> None:
    store.put(key, b"x" * 100)
    assert store.read(key, max_bytes=100) == b"x" * 100
    with pytest.raises(ObjectTooLarge):
        store.read(key, max_bytes=99)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", "a/../b", "", "a/.hidden", "é", "x" * 500])
def test_a_key_that_is_not_plain_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(KeyRefused):
        store.put(key, b"x")


def test_a_store_that_is_down_says_so() -> None:
    options = parse_object_store("s3://k:s@127.0.0.1:9/bucket?tls=0")
    options.pop("kind")
    with pytest.raises(StoreUnavailable):
        S3Store(**options).put("a/b", b"x")


def test_a_writer_killed_in_the_middle_leaves_no_half_object(tmp_path: Path) -> None:
    code = (
        "import sys,time,itertools\nfrom pathlib import Path\nfrom storage.folder import FolderStore\n"
        "def chunks():\n    for _ in itertools.count():\n        yield b'x'*1048576\n"
        "        print('.',flush=True)\n"
        "        time.sleep(0.01)\n"
        f"FolderStore(Path({str(tmp_path)!r})).put_stream('a/b', chunks())"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert not FolderStore(tmp_path).exists("a/b")


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_while_an_object_is_joined_is_a_store_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    store, data = FolderStore(tmp_path), b"x" * 100
    upload, digest = store.begin("sealed/a"), hashlib.sha256(data).hexdigest()
    part = Part(1, len(data), digest)
    store.put_part("sealed/a", upload, 1, io.BytesIO(data), size=100, part_bytes=100, sha256=digest)

    def broken(*_: object) -> None:
        raise OSError(fault, "panne")

    with monkeypatch.context() as patched, pytest.raises(StoreUnavailable):
        patched.setattr(Path, "replace", broken)
        store.complete("sealed/a", upload, [part])
    store.complete("sealed/a", upload, [part])
    assert store.read("sealed/a") == data


def test_an_object_of_the_same_length_is_not_taken_for_it(tmp_path: Path) -> None:
    store, data = FolderStore(tmp_path), b"x" * 100
    store.put("sealed/a", b"y" * 100)
    upload, digest = store.begin("sealed/a"), hashlib.sha256(data).hexdigest()
    store.put_part("sealed/a", upload, 1, io.BytesIO(data), size=100, part_bytes=100, sha256=digest)
    store.complete("sealed/a", upload, [Part(1, 100, digest)])
    assert store.read("sealed/a") == data
    store.complete("sealed/a", upload, [Part(1, 100, digest)])  # twice is once


def test_a_folder_s_parts_end_with_their_upload(tmp_path: Path) -> None:
    """A part that comes late leaves nothing behind: nobody would read it, nor take it away."""
    store, data = FolderStore(tmp_path), b"x" * 100
    upload = store.begin("sealed/a")
    store.complete("sealed/a", upload, send(store, "sealed/a", upload, data))
    with pytest.raises(ObjectMissing):
        send(store, "sealed/a", upload, data)
    assert not list(store.uploads())


def test_what_a_folder_keeps_is_on_disk_with_every_folder_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this a machine that loses its power may have said "received" of what it no longer has."""
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_ino))

    monkeypatch.setattr(os, "fsync", noted)
    store, key = FolderStore(tmp_path / "store"), "sealed/a/b/0.cob"

    def surely_kept(path: Path) -> bool:
        """Its bytes, its name, and the name of each folder above it."""
        folders = {name for name, _ in synced}
        bytes_written = path.is_dir() or path.stat().st_ino in {inode for _, inode in synced}
        return (
            bytes_written and {str(each) for each in path.parents if each.is_relative_to(tmp_path)} <= folders
        )

    upload = store.begin(key)
    parts = send(store, key, upload, bytes(300), part_bytes=100)
    for number in "123":
        assert surely_kept(tmp_path / "store" / "uploads" / upload / number)
    store.complete(key, upload, parts)
    assert surely_kept(tmp_path / "store" / "objects" / key)
    upload = store.begin("other/0.cob")
    store.complete("other/0.cob", upload, send(store, "other/0.cob", upload, bytes(100)))
    assert surely_kept(tmp_path / "store" / "objects" / "other" / "0.cob")
    store.put("third/c", b"c")
    assert surely_kept(tmp_path / "store" / "objects" / "third" / "c")
