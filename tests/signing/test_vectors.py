"""The committed vectors still open: a change of bytes would be seen here first."""

import base64
import hashlib
import hmac
import json
import zlib
from pathlib import Path

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from signing import tlog
from signing.digests import CompositeDigest
from signing.envelope import file_key, open_ek, unseal
from signing.header import header_hash
from signing.keys import key_hash, open_with, public_key
from signing.sharing import check_share, combine

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def vector(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def test_the_envelope_opens_to_its_files(tmp_path: Path) -> None:
    known = vector("envelope")
    header, keys = str(known["header_text"]).encode(), bytes.fromhex(str(known["keys"]))
    seeds = {f"{who}_seed": bytes.fromhex(str(known[f"{who}_seed"])) for who in ("committee", "platform")}
    ek = open_ek(header, keys, **seeds)
    assert ek.hex() == known["ek"]
    (tmp_path / "header.json").write_bytes(header)
    for name, data in known["objects"].items():  # type: ignore[attr-defined]
        (tmp_path / name).write_bytes(bytes.fromhex(data))
        digest = CompositeDigest()
        digest.update(bytes.fromhex(data))
        assert digest.hexdigest() == known["composite"][name]  # type: ignore[index]
    unseal(tmp_path, ek, tmp_path / "out")
    for name, data in known["plain"].items():  # type: ignore[attr-defined]
        assert (tmp_path / "out" / name).read_bytes().hex() == data


def test_each_derivation_is_the_one_of_the_specification() -> None:
    known = vector("envelope")
    header = str(known["header_text"]).encode()
    hh = hashlib.sha256(b"pli/1 header\x00" + header).digest()
    assert header_hash(header) == hh
    assert hh.hex() == known["header_hash"]
    halves = known["halves"]
    joined = bytes.fromhex(halves["committee"] + halves["platform"])  # type: ignore[index]
    ek = hmac.digest(hh, joined, hashlib.sha256)
    assert ek.hex() == known["ek"]
    assert [file_key(ek, index).hex() for index in range(5)] == known["file_keys"]


def test_seeds_expand_to_the_known_public_keys() -> None:
    known = vector("keys")
    for pair in known["pairs"]:  # type: ignore[attr-defined]
        public = public_key(bytes.fromhex(pair["seed"]))
        assert (public.hex(), key_hash(public)) == (pair["public"], pair["sha256"])
    sealed = {name: bytes.fromhex(value) for name, value in known["sealed"].items()}  # type: ignore[attr-defined]
    assert open_with(sealed["seed"], sealed["sealed"], sealed["info"]) == sealed["plaintext"]


def test_shares_combine_to_the_seed_and_match_their_commitments() -> None:
    known = vector("shares")
    rows = known["shares"]
    for row in rows:  # type: ignore[attr-defined]
        salt, share = bytes.fromhex(row["salt"]), bytes.fromhex(row["share"])
        check_share(str(known["ceremony_text"]), row["index"], salt, share, row["commitment"])
    assert combine([bytes.fromhex(row["share"]) for row in rows[1:]]).hex() == known["seed"]  # type: ignore[index]


def test_the_journal_s_proof_verifies() -> None:
    known = vector("journal")
    leaves = [bytes.fromhex(leaf) for leaf in known["leaves"]]  # type: ignore[attr-defined]
    assert (
        base64.b64encode(tlog.root_of([tlog.leaf_hash(leaf) for leaf in leaves])).decode()
        == known["root_base64"]
    )
    index, checkpoint = tlog.verify_proof(
        str(known["proof_of_3_text"]), leaves[3], str(known["verifier_key_text"])
    )
    assert (index, checkpoint.size) == (3, 5)


def test_wycheproof_agrees_on_the_sealed_objects(shared: Path) -> None:
    data = json.loads((shared / "wycheproof" / "c2sp_chunked_encryption_aes_256_gcm_test.json").read_text())
    done = 0
    for group in data["testGroups"]:
        for each in group["tests"]:
            done += 1
            try:
                decryptor = Cobblestone256Decryptor(bytes.fromhex(each["key"]), bytes.fromhex(each["ctx"]))
                plain = decryptor.update(zlib.decompress(bytes.fromhex(each["ct"]))) + decryptor.finalize()
            except (InvalidTag, ValueError):
                assert each["result"] == "invalid", each["tcId"]
            else:
                assert each["result"] == "valid", each["tcId"]
                assert hashlib.sha512(plain).hexdigest() == each["msgSha512"]
    assert done == data["numberOfTests"]


@pytest.mark.parametrize("name", ["envelope", "keys", "shares", "journal"])
def test_the_script_still_makes_vectors_of_this_shape(name: str) -> None:
    from tests.vectors import make

    assert set(getattr(make, name)()) == set(vector(name))
