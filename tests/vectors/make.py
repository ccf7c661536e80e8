"""Make the committed vectors: `python -m tests.vectors.make`. What is random differs at each run, by design.

Every value is hex unless its name says text. `tests/signing/test_vectors.py` reads them; they are meant for
other implementations: each file is enough by itself.
"""

import base64
import hashlib
import json
import os
import tempfile
from pathlib import Path

from signing import tlog
from signing.envelope import Ids, Source, file_key, open_ek, open_half, seal
from signing.header import header_hash
from signing.keys import key_hash, new_seed, public_key, seal_to
from signing.notes import Signer
from signing.sharing import deal

HERE = Path(__file__).parent
PLAIN = {"offre.txt": b"Mon offre : 1000 euros.\n", "vide.bin": b"", "bloc.bin": bytes(range(256)) * 64}
IDS = Ids(
    consultation="11111111-1111-4111-8111-111111111111",
    lot="1",
    bidder="22222222-2222-4222-8222-222222222222",
    kind="offre",
    deposit="33333333-3333-4333-8333-333333333333",
    envelope="44444444-4444-4444-8444-444444444444",
)
CEREMONY = "55555555-5555-4555-8555-555555555555"


def envelope() -> dict[str, object]:
    """A whole envelope of three files (24 bytes, empty, exactly one chunk), and what opens it."""
    committee, platform = new_seed(), new_seed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each, data in PLAIN.items():
            (folder / each).write_bytes(data)
        sources = [Source(folder / each, each) for each in PLAIN]
        keys = {"committee": public_key(committee), "platform": public_key(platform)}
        made = seal(sources, ids=IDS, ceremony="0" * 64, out=folder / "sealed", **keys)
        objects = {each.name: (folder / "sealed" / each.name).read_bytes().hex() for each in made.objects}
    ek = open_ek(made.header, made.keys, committee_seed=committee, platform_seed=platform)
    halves = {"committee": committee, "platform": platform}
    return {
        "ids": vars(IDS),
        "committee_seed": committee.hex(),
        "platform_seed": platform.hex(),
        "header_text": made.header.decode(),
        "header_hash": header_hash(made.header).hex(),
        "keys": made.keys.hex(),
        "halves": {
            who: open_half(made.header, made.keys, recipient=who, seed=seed).hex()
            for who, seed in halves.items()
        },
        "ek": ek.hex(),
        "file_keys": [file_key(ek, index).hex() for index in range(len(PLAIN) + 2)],
        "objects": objects,
        "composite": {each.name: each.sha256 for each in made.objects},
        "plain": {each: data.hex() for each, data in PLAIN.items()},
    }


def keys() -> dict[str, object]:
    """Seeds, their public keys and hashes; one message sealed to the first."""
    seeds = [bytes(32), bytes(range(32)), new_seed()]
    return {
        "pairs": [
            {"seed": each.hex(), "public": public_key(each).hex(), "sha256": key_hash(public_key(each))}
            for each in seeds
        ],
        "sealed": {
            "seed": seeds[1].hex(),
            "info": b"pli/1 vector".hex(),
            "plaintext": bytes(32).hex(),
            "sealed": seal_to(public_key(seeds[1]), bytes(32), b"pli/1 vector").hex(),
        },
    }


def shares() -> dict[str, object]:
    """A seed dealt 2 of 3, with salts and commitments."""
    seed = bytes(range(32))
    return {
        "ceremony_text": CEREMONY,
        "seed": seed.hex(),
        "threshold": 2,
        "shares": [
            {
                "index": each.index,
                "share": each.share.hex(),
                "salt": each.salt.hex(),
                "commitment": each.commitment,
            }
            for each in deal(seed, ceremony=CEREMONY, holders=3, threshold=2)
        ],
    }


def journal() -> dict[str, object]:
    """Five leaves, their checkpoint signed by a known key, the proof of the fourth."""
    signer = Signer("vector.example/journal", bytes(range(32)))
    leaves = [json.dumps({"n": n}).encode() for n in range(5)]
    grown = tlog.append(0, lambda level, index: b"", [tlog.leaf_hash(leaf) for leaf in leaves])
    note = signer.sign(tlog.Checkpoint(signer.name, grown.size, grown.root).text())
    proof = tlog.inclusion_proof(3, 5, lambda level, index: grown.tiles[level, index])
    return {
        "verifier_key_text": signer.verifier_key,
        "private_key": bytes(range(32)).hex(),
        "leaves": [leaf.hex() for leaf in leaves],
        "root_base64": base64.b64encode(grown.root).decode(),
        "checkpoint_text": note,
        "proof_of_3_text": tlog.format_proof(3, proof, note),
        "tile_0_0": grown.tiles[0, 0].hex(),
    }


def main() -> None:
    for make in (envelope, keys, shares, journal):
        data = json.dumps(make(), ensure_ascii=False, indent=1) + "\n"
        path = HERE / f"{make.__name__}.json"
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(data)
        draft.replace(path)
        print(f"{hashlib.sha256(data.encode()).hexdigest()}  {path.name}")


if __name__ == "__main__":
    main()
