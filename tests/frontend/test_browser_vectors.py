"""The browser's sealing agrees with the committed vectors, with Wycheproof, and with the Python library."""

import json
import subprocess
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from deploy.install import node
from signing.ceremony import Holder, KindKeys, Record, build_record, parse_record
from signing.errors import CeremonyRefused
from signing.keys import key_hash, new_seed, open_with, public_key
from signing.sharing import combine, deal
from tests.conftest import ROOT

CEREMONY = "55555555-5555-4555-8555-555555555555"


def _run(*arguments: str) -> tuple[dict[str, object], str]:
    command = [node()[0], str(ROOT / "frontend" / "vectors.mjs"), str(ROOT / "tests" / "vectors"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    made, checks = done.stdout.splitlines()
    return json.loads(made), checks


@pytest.fixture(scope="module")
def made() -> dict[str, object]:
    return _run()[0]


def test_what_javascript_sealed_python_opens(made: dict[str, object]) -> None:
    known = json.loads((ROOT / "tests" / "vectors" / "keys.json").read_text())["sealed"]
    plain = open_with(
        bytes.fromhex(known["seed"]), bytes.fromhex(str(made["sealed"])), bytes.fromhex(known["info"])
    )
    assert plain.hex() == known["plaintext"]


def test_every_quorum_that_javascript_dealt_python_combines(made: dict[str, object]) -> None:
    seed = json.loads((ROOT / "tests" / "vectors" / "shares.json").read_text())["seed"]
    dealt = made["dealt"]
    assert isinstance(dealt, list)
    for quorum in combinations(dealt, 3):
        assert combine([bytes.fromhex(share) for share in quorum]).hex() == seed


def test_javascript_agrees_with_wycheproof(shared: Path) -> None:
    vectors = shared / "wycheproof" / "c2sp_chunked_encryption_aes_256_gcm_test.json"
    _, checks = _run(str(vectors))
    assert int(checks.split()[0]) >= json.loads(vectors.read_text())["numberOfTests"]


def _reads(data: bytes) -> bool:
    """Whether the browser's parser takes these bytes for a ceremony record."""
    program = (
        'import { parseRecord } from "./frontend/sealing/record.js";'
        f'parseRecord(Buffer.from("{data.hex()}", "hex"))'
        '.then(() => console.log("yes"), () => console.log("no"));'
    )
    command = [node()[0], "--input-type=module", "-e", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "yes"


def test_javascript_refuses_the_records_that_python_refuses() -> None:
    seed = new_seed()
    dealt = deal(seed, ceremony=CEREMONY, holders=2, threshold=2)
    commitments = {each.index: (each.salt, each.commitment) for each in dealt}
    keys = {"offre": KindKeys(public_key(seed), public_key(new_seed()), commitments)}
    names = (CEREMONY, "66666666-6666-4666-8666-666666666666")
    holders = [Holder(at, f"Élise n° {at}", who, [(who, "0" * 64)]) for at, who in enumerate(names, start=1)]
    record = Record(
        CEREMONY, CEREMONY, 2, holders, keys, "essai", "2026-11-24T12:00:00+00:00", dealer=CEREMONY
    )
    good = build_record(record)
    seed_2 = new_seed()
    dealt_2 = deal(seed_2, ceremony=CEREMONY, holders=2, threshold=2)
    second = KindKeys(
        public_key(seed_2),
        public_key(new_seed()),
        {each.index: (each.salt, each.commitment) for each in dealt_2},
    )
    by_lot = build_record(replace(record, keys={"offre/1": keys["offre"], "offre/2": second}))
    assert _reads(good)
    assert _reads(by_lot)
    said = json.loads(good)
    other = key_hash(public_key(new_seed()))

    def changed(**more: object) -> bytes:
        return json.dumps({**said, **more}, ensure_ascii=False, separators=(",", ":")).encode()

    def member(**more: object) -> bytes:
        return changed(members=[said["members"][0], {**said["members"][1], **more}])

    def committed(rows: list[object]) -> bytes:
        return changed(keys={"offre": {**said["keys"]["offre"], "commitments": rows}})

    one, two = said["keys"]["offre"]["commitments"]
    mixed = {"offre/1": said["keys"]["offre"], "offre": said["keys"]["offre"]}
    stranger = "00000000-0000-4000-8000-000000000000"
    slipped = {"offre": {**said["keys"]["offre"], "committee": other}}
    twice = {"offre/1": said["keys"]["offre"], "offre/2": said["keys"]["offre"]}
    both = (
        changed(keys=slipped),
        changed(v="ceremony/4"),
        changed(v="ceremony/2"),
        changed(dealer=stranger),
        changed(more=1),
        changed(keys={}),
        changed(keys=mixed),
        changed(keys=twice),
        changed(keys={"offre/": said["keys"]["offre"]}),
        changed(threshold=1),
        changed(threshold=3),
        changed(threshold="2"),
        changed(epoch=0),
        changed(epoch=2),
        changed(twin="x"),
        changed(date="demain"),
        changed(ceremony="x"),
        changed(code=7),
        changed(previous=7, epoch=2),
        changed(members=said["members"][:1]),
        changed(members=said["members"][::-1]),
        member(member=CEREMONY),
        member(member="x"),
        member(name=None),
        member(more=1),
        member(protectors=[]),
        member(protectors=[{"protector": CEREMONY, "sha256": "0"}]),
        member(protectors=[{"protector": CEREMONY, "sha256": "0" * 64, "more": 1}]),
        committed([one]),
        committed([two, one]),
        committed([one, two, {**two, "index": 3}]),
        committed([one, {**two, "salt": "0"}]),
        committed([one, {**two, "commitment": None}]),
    )
    for bad in (
        *both,
        good.replace(b'"threshold":2', b'"threshold":2,"threshold":2'),
        good.replace(b'":', b'": ', 1),
    ):
        assert not _reads(bad)
    for bad in both:
        with pytest.raises(CeremonyRefused):
            parse_record(bad)
