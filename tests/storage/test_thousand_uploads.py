"""A thousand uploads open at once, one part in ten cut at random: each object is the bytes that were sent."""

import hashlib
import io
import os
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.services.ceph import Ceph
from storage.errors import PartTruncated
from storage.folder import FolderStore
from storage.objects import ObjectStore, Part
from storage.stores import parse_object_store, s3_store
from tests.services.faults import Faults, proxied

COUNT = 1000 if os.environ.get("DEMATMP_WHOLE_MATRIX") else 200  # the suite has its minutes
SEED, MIB = 20261126, 1024**2
Send = Callable[[ObjectStore, str, str, int, bytes, str], bool]  # whether the sender was told that it arrived


@dataclass
class Open:
    """One upload: its parts, of which some are still to be sent."""

    key: str
    upload: str
    blocks: list[bytes]

    @property
    def parts(self) -> list[Part]:
        digests = [hashlib.sha256(block).hexdigest() for block in self.blocks]
        return [
            Part(number, len(block), digest)
            for number, (block, digest) in enumerate(zip(self.blocks, digests, strict=True), start=1)
        ]


def run(store: ObjectStore, send: Send, sizes: Callable[[random.Random, int], list[int]]) -> None:
    """All are begun, then their parts go in any order, each until it is known to have arrived."""
    dice = random.Random(SEED)
    uploads = []
    for number in range(COUNT):
        key = f"sealed/{uuid.uuid4()}/{number}.cob"
        uploads.append(Open(key, store.begin(key), [dice.randbytes(size) for size in sizes(dice, number)]))
    waiting = [(each, part) for each in uploads for part in each.parts]
    while waiting:
        dice.shuffle(waiting)
        waiting = [
            (each, part)
            for each, part in waiting
            if not send(store, each.key, each.upload, part.number, each.blocks[part.number - 1], part.sha256)
        ]
    dice.shuffle(uploads)
    for each in uploads:
        store.complete(each.key, each.upload, each.parts)
    for each in uploads:
        stored = hashlib.sha256(b"".join(store.open(each.key))).digest()
        assert stored == hashlib.sha256(b"".join(each.blocks)).digest()
    keys = {each.key for each in uploads}
    assert not [upload for upload in store.uploads() if upload.key in keys or isinstance(store, FolderStore)]


def test_in_a_folder(tmp_path: Path) -> None:
    dice, seen = random.Random(SEED), Counter[str]()

    def send(store: ObjectStore, key: str, upload: str, number: int, block: bytes, sha256: str) -> bool:
        """One in twenty breaks off, one in twenty arrives and its sender never knows."""
        fate = dice.random()
        sent = block[: dice.randrange(len(block))] if fate < 0.05 else block
        try:
            store.put_part(
                key, upload, number, io.BytesIO(sent), size=len(block), part_bytes=4096, sha256=sha256
            )
        except PartTruncated:
            seen["broken off"] += 1
            return False
        seen["not told"] += fate < 0.1
        return fate >= 0.1

    run(FolderStore(tmp_path), send, lambda dice, _: [4096, 4096, dice.randrange(1, 4096)])
    assert min(seen["broken off"], seen["not told"]) > COUNT // 10


@pytest.fixture
def faults() -> Faults:
    return Faults(cut_share=0.1)


@pytest.fixture
def public(ceph: Ceph, faults: Faults) -> Iterator[str]:
    """Where the senders reach the store: a proxy that cuts one request in ten."""
    with proxied(ceph.port, faults) as proxy:
        yield f"http://127.0.0.1:{proxy.port}"


def test_in_s3(ceph: Ceph, faults: Faults, public: str) -> None:
    """Sent straight to the store; one upload in a hundred has two parts, of which S3 wants 5 MiB at least."""
    with httpx.Client(timeout=30) as client:

        def send(store: ObjectStore, key: str, upload: str, number: int, block: bytes, sha256: str) -> bool:
            target = store.target(key, upload, number, size=len(block), sha256=sha256)
            try:
                return client.put(target.url, content=block, headers=dict(target.headers)).is_success
            except httpx.TransportError:
                return False

        store = s3_store({**parse_object_store(ceph.url), "public": public})
        run(
            store,
            send,
            lambda dice, n: ([5 * MIB] if n % 100 == 0 else []) + [dice.randrange(1, 32768)],
        )
    assert faults.seen.count("cut") > COUNT // 20
