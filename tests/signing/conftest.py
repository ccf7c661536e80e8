"""A sealed envelope and its keys."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from signing.envelope import Ids, SealedEnvelope, Source, open_ek, seal
from signing.keys import new_seed, public_key

IDS = Ids(
    consultation="11111111-1111-4111-8111-111111111111",
    lot="1",
    bidder="22222222-2222-4222-8222-222222222222",
    kind="offre",
    deposit="33333333-3333-4333-8333-333333333333",
    envelope="44444444-4444-4444-8444-444444444444",
)


@dataclass
class Sealed:
    """An envelope on disk, the seeds that open it, and what was sealed."""

    folder: Path
    envelope: SealedEnvelope
    committee: bytes
    platform: bytes
    plain: list[bytes]

    @property
    def ek(self) -> bytes:
        return open_ek(
            self.envelope.header,
            self.envelope.keys,
            committee_seed=self.committee,
            platform_seed=self.platform,
        )


def make(folder: Path, plain: list[bytes]) -> Sealed:
    """Seal these contents under the names 1.bin, 2.bin…"""
    sources = []
    (folder / "in").mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(plain, start=1):
        path = folder / "in" / f"{number}.bin"
        path.write_bytes(data)
        sources.append(Source(path, f"{number}.bin"))
    committee, platform = new_seed(), new_seed()
    envelope = seal(
        sources,
        ids=IDS,
        committee=public_key(committee),
        platform=public_key(platform),
        ceremony="0" * 64,
        out=folder / "sealed",
    )
    return Sealed(folder / "sealed", envelope, committee, platform, plain)


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return make(tmp_path, [b"a" * 40_000, b"", b"b" * 10])
