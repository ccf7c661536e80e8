"""Our log and an independent implementation agree."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing import following, tlog
from signing.errors import ProofRefused, SigningError
from signing.notes import Signer, verify_note


class Log:
    """A log kept in memory by the very functions of the journal."""

    def __init__(self) -> None:
        self.size, self.tiles, self.leaves = 0, {}, []  # type: ignore[var-annotated]

    def read(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]  # type: ignore[no-any-return]

    def append(self, *leaves: bytes) -> bytes:
        hashes = [tlog.leaf_hash(leaf) for leaf in leaves]
        grown = tlog.append(self.size, self.read, hashes)
        index = self.size
        self.size = grown.size
        self.tiles.update(grown.tiles)
        self.leaves.extend(leaves)
        assert grown.proof == tlog.inclusion_proof(index, self.size, self.read)
        return grown.root


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=25))
def test_the_root_does_not_depend_on_how_entries_came(batches: list[int]) -> None:
    log, root = Log(), b""
    for batch in batches:
        root = log.append(*(f"{log.size + n}".encode() for n in range(batch)))
    assert root == tlog.root_of([tlog.leaf_hash(leaf) for leaf in log.leaves])


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 600])
def test_every_entry_is_proven_and_nothing_else(size: int) -> None:
    log = Log()
    root = log.append(*(str(n).encode() for n in range(size)))
    for index in {0, size // 2, size - 1}:
        proof = tlog.inclusion_proof(index, size, log.read)
        tlog.verify_inclusion(index, size, tlog.leaf_hash(log.leaves[index]), proof, root)
        with pytest.raises(SigningError):
            tlog.verify_inclusion(index, size, tlog.leaf_hash(b"autre"), proof, root)


@pytest.mark.parametrize(("old", "size"), [(1, 2), (3, 7), (200, 256), (256, 257), (100, 600)])
def test_a_log_that_grew_is_consistent_and_a_rewritten_one_is_not(old: int, size: int) -> None:
    log = Log()
    before = log.append(*(str(n).encode() for n in range(old)))
    after = log.append(*(str(n).encode() for n in range(old, size)))
    proof = tlog.consistency_proof(old, size, log.read)
    tlog.verify_consistency(old, size, before, after, proof)
    with pytest.raises(SigningError):
        tlog.verify_consistency(old, size, tlog.leaf_hash(b"x"), after, proof)


def test_a_proof_reads_back_with_its_checkpoint() -> None:
    log, signer = Log(), Signer("essai.example/journal", os.urandom(32))
    root = log.append(b"un", b"deux")
    note = signer.sign(tlog.Checkpoint(signer.name, 2, root).text())
    text = tlog.format_proof(1, tlog.inclusion_proof(1, 2, log.read), note)
    index, checkpoint = tlog.verify_proof(text, b"deux", signer.verifier_key)
    assert (index, checkpoint.size) == (1, 2)
    with pytest.raises(SigningError):
        tlog.verify_proof(text, b"un", signer.verifier_key)


def test_a_note_changed_or_signed_by_another_is_refused() -> None:
    signer, other = (
        Signer("essai.example/journal", os.urandom(32)),
        Signer("essai.example/journal", os.urandom(32)),
    )
    note = signer.sign("bonjour\n")
    assert verify_note(note, signer.verifier_key) == "bonjour\n"
    for text, key in ((note.replace("bonjour", "bonsoir"), signer.verifier_key), (note, other.verifier_key)):
        with pytest.raises(SigningError):
            verify_note(text, key)


def test_entries_are_read_up_to_those_that_are_not_published_yet(tmp_path: Path) -> None:
    signer, entries = Signer("ville.example/journal", bytes(32)), [b"%d" % number for number in range(300)]
    grown = tlog.append(0, lambda _level, _index: b"", [tlog.leaf_hash(each) for each in entries])
    stated = tlog.Checkpoint(signer.name, grown.size, grown.root)
    files = {tlog.tile_path(*place, len(data) // 32): data for place, data in grown.tiles.items()}
    files |= {"checkpoint": signer.sign(stated.text()).encode()}
    first = tlog.entries_path(0, 256)
    for name, data in (files | {first: tlog.bundle(entries[:256])}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    published = following.read(str(tmp_path), signer.verifier_key)
    assert published.leaves(stated) == entries[:256]
    (tmp_path / first).write_bytes(tlog.bundle([b"x", *entries[1:256]]))
    with pytest.raises(ProofRefused):
        following.read(str(tmp_path), signer.verifier_key).leaves(stated)
    (tmp_path / first).write_bytes(tlog.bundle(entries[:256])[:-1])
    with pytest.raises(ProofRefused, match="coupé"):
        following.read(str(tmp_path), signer.verifier_key).leaves(stated)
