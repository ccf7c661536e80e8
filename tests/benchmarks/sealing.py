"""Sealing and unsealing against cp and openssl, from memory to memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor

from signing.envelope import Ids, Source, blocks, open_ek, seal
from signing.keys import new_seed, public_key
from tests.benchmarks.figures import GB, Figure, best, workplace

IDS = Ids(
    consultation="11111111-1111-4111-8111-111111111111",
    lot="1",
    bidder="22222222-2222-4222-8222-222222222222",
    kind="offre",
    deposit="33333333-3333-4333-8333-333333333333",
    envelope="44444444-4444-4444-8444-444444444444",
)
SIZE = GB


def random_file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size // (16 * 1024**2)):
            file.write(os.urandom(16 * 1024**2))
    return path


def sealed(files: list[Path], out: Path) -> str:
    """Seal these files; the EK in hex."""
    committee, platform = new_seed(), new_seed()
    made = seal(
        [Source(path, path.name) for path in files],
        ids=IDS,
        committee=public_key(committee),
        platform=public_key(platform),
        ceremony="0" * 64,
        out=out,
    )
    return open_ek(made.header, made.keys, committee_seed=committee, platform_seed=platform).hex()


def seal_figures() -> Iterator[Figure]:
    """1 GB, one process, against `cp` of the same file."""
    with workplace(4 * SIZE) as folder:
        plain = random_file(folder / "plain.bin", SIZE)
        copy = best(lambda: subprocess.run(["cp", plain, folder / "copy.bin"], check=True))
        (folder / "copy.bin").unlink()
        seconds = best(lambda: sealed([plain], folder / "sealed"))
        yield Figure("seal.python", SIZE / 1e6 / seconds, "MB/s", "cp", SIZE / 1e6 / copy)
        cipher = best(lambda: _cipher_only(plain, folder / "cipher.cob"))
        yield Figure("seal.cipher", SIZE / 1e6 / cipher, "MB/s", "cp", SIZE / 1e6 / copy)


def _cipher_only(plain: Path, out: Path) -> None:
    """The encryption alone, without the two SHA-256 passes of the deposit and closing records."""
    encryptor = Cobblestone256Encryptor(bytes(32), b"bench")
    with out.open("wb") as file:
        for block in blocks(plain):
            file.write(encryptor.update(block))
        file.write(encryptor.finalize())


_UNSEAL = """
import hashlib, sys
from pathlib import Path
from signing.envelope import blocks, unseal_blocks
folder, ek = Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
index, hashed = int(sys.argv[3]), sys.argv[4] == "1"
header, digest = (folder / "header.json").read_bytes(), hashlib.sha256()
for block in unseal_blocks(ek, header, index, blocks(folder / f"{index}.cob")):
    if hashed:
        digest.update(block)
"""


def _two(folder: Path, ek: str, *, hashed: bool) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", _UNSEAL, str(folder), ek, str(index), "01"[hashed]])
        for index in (1, 2)
    ]
    assert all(worker.wait() == 0 for worker in workers)


def _digest_two(files: list[Path]) -> None:
    workers = [
        subprocess.Popen(["openssl", "dgst", "-sha256", each], stdout=subprocess.DEVNULL) for each in files
    ]
    assert all(worker.wait() == 0 for worker in workers)


def unseal_figures() -> Iterator[Figure]:
    """Two files of 512 MB by two workers, against `cp` and against two `openssl dgst -sha256`."""
    with workplace(4 * SIZE) as folder:
        files = [random_file(folder / f"{n}.bin", SIZE // 2) for n in (1, 2)]
        ek = sealed(files, folder / "sealed")
        target = folder / "copy.bin"
        copy = best(lambda: [subprocess.run(["cp", each, target], check=True) for each in files])
        digest = best(lambda: _digest_two(files))
        plain = best(lambda: _two(folder / "sealed", ek, hashed=False))
        hashed = best(lambda: _two(folder / "sealed", ek, hashed=True))
        yield Figure("unseal.files", SIZE / 1e6 / plain, "MB/s", "cp", SIZE / 1e6 / copy)
        yield Figure("unseal.hashed", SIZE / 1e6 / hashed, "MB/s", "2 x openssl dgst", SIZE / 1e6 / digest)
