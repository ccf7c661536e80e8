"""The append-only log.

RFC 6962 hashing, C2SP tiles of 256 hashes, checkpoints, inclusion and consistency proofs.
"""

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from signing.errors import ProofRefused
from signing.notes import verify_note

WIDTH = 256  # hashes in a full tile
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_HASH = 32  # bytes
ReadTile = Callable[[int, int], bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash of these leaf hashes; the empty tree's is SHA-256 of nothing."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    # Pairing neighbours and carrying an odd one up gives RFC 6962's tree.
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


@functools.lru_cache(maxsize=1024)
def _root_in_tile(hashes: bytes) -> bytes:
    """The root of these hashes end to end: a subtree once complete is asked again at each append."""
    return root_of([hashes[i : i + _HASH] for i in range(0, len(hashes), _HASH)])


class _Tree:
    """Hashes of complete subtrees, from tiles and from what was just appended."""

    def __init__(self, read_tile: ReadTile) -> None:
        self._read = read_tile
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._complete: dict[tuple[int, int], bytes] = {}
        self.changed: dict[tuple[int, int], bytes] = {}

    def tile(self, level: int, index: int) -> bytes:
        if (level, index) not in self._tiles:
            self._tiles[level, index] = self._read(level, index)
        return self._tiles[level, index]

    def put(self, level: int, position: int, value: bytes) -> None:
        """Append one hash at the end of a tile level; a full tile's root goes one level up."""
        index, offset = divmod(position, WIDTH)
        tile = (self.tile(level, index) if offset else b"")[: offset * _HASH] + value
        self._tiles[level, index] = self.changed[level, index] = tile
        if offset == WIDTH - 1:
            self.put(level + 1, index, _root_in_tile(tile))

    def complete(self, height: int, index: int) -> bytes:
        """The hash of the complete subtree of 2**height leaves number `index`; it never changes again."""
        if (height, index) not in self._complete:
            self._complete[height, index] = self._hash_of(height, index)
        return self._complete[height, index]

    def _hash_of(self, height: int, index: int) -> bytes:
        level, inner = divmod(height, 8)
        first = index << inner
        tile = self.tile(level, first // WIDTH)
        start = first % WIDTH * _HASH
        hashes = tile[start : start + (1 << inner) * _HASH]
        if len(hashes) != (1 << inner) * _HASH:
            raise ProofRefused("Une tuile du journal est trop courte.")
        return _root_in_tile(hashes)

    def range(self, start: int, end: int) -> bytes:
        """The hash of leaves start to end, a subtree of the RFC 6962 recursion."""
        count = end - start
        if count & (count - 1) == 0 and start % count == 0:
            return self.complete(count.bit_length() - 1, start // count)
        middle = start + _split(count)
        return node_hash(self.range(start, middle), self.range(middle, end))


@dataclass(frozen=True)
class Grown:
    """A log after an append: its size, its root, the tiles that changed, the proof of the first new entry."""

    size: int
    root: bytes
    tiles: dict[tuple[int, int], bytes]
    proof: list[bytes]


def append(size: int, read_tile: ReadTile, leaves: Sequence[bytes]) -> Grown:
    """Append these leaf hashes, one at least, to a log of `size` entries."""
    tree = _Tree(read_tile)
    for offset, leaf in enumerate(leaves):
        tree.put(0, size + offset, leaf)
    new_size = size + len(leaves)
    return Grown(new_size, tree.range(0, new_size), tree.changed, _inclusion(tree, size, new_size))


def root_at(size: int, read_tile: ReadTile) -> bytes:
    """The root that the log had when it counted `size` entries, from the tiles of a longer or equal one."""
    return _Tree(read_tile).range(0, size) if size else root_of([])


def inclusion_proof(index: int, size: int, read_tile: ReadTile) -> list[bytes]:
    """From the leaf's sibling up (RFC 6962 §2.1.1). Raises ProofRefused when the index is out of the tree."""
    if not 0 <= index < size:
        raise ProofRefused("Cette entrée n'est pas dans le journal.")
    return _inclusion(_Tree(read_tile), index, size)


def _inclusion(tree: _Tree, index: int, size: int) -> list[bytes]:
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(tree.range(middle, end))
            end = middle
        else:
            proof.append(tree.range(start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, size: int, read_tile: ReadTile) -> list[bytes]:
    """That the tree of `old` entries is a prefix of that of `size` (RFC 6962 §2.1.2)."""
    if not 0 < old <= size:
        raise ProofRefused("Les tailles ne se suivent pas.")
    tree = _Tree(read_tile)

    def subproof(count: int, start: int, end: int, whole: bool) -> list[bytes]:
        if count == end - start:
            return [] if whole else [tree.range(start, end)]
        middle = _split(end - start)
        if count <= middle:
            return [*subproof(count, start, start + middle, whole), tree.range(start + middle, end)]
        return [*subproof(count - middle, start + middle, end, False), tree.range(start, start + middle)]

    return subproof(old, 0, size, True)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofRefused unless this leaf hash is entry `index` of the tree of this root (RFC 9162
    §2.1.3.2).
    """
    if not 0 <= index < size:
        raise ProofRefused("Cette entrée n'est pas dans le journal.")
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRefused("La preuve d'inclusion est trop longue.")
        if node % 2 or node == last:
            value = node_hash(sibling, value)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or value != root:
        raise ProofRefused("La preuve d'inclusion ne mène pas à la racine signée.")


def verify_consistency(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Raises ProofRefused unless the tree of `size` extends that of `old` (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= size:
        raise ProofRefused("Les tailles ne se suivent pas.")
    if old == size:
        if proof or old_root != root:
            raise ProofRefused("Deux arbres de même taille diffèrent.")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofRefused("La preuve de cohérence est vide.")
    node, last = old - 1, size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    first = second = path[0]
    for value in path[1:]:
        if last == 0:
            raise ProofRefused("La preuve de cohérence est trop longue.")
        if node % 2 or node == last:
            first, second = node_hash(value, first), node_hash(value, second)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, value)
        node, last = node >> 1, last >> 1
    if last != 0 or first != old_root or second != root:
        raise ProofRefused("Le journal n'est pas le prolongement de celui qui était connu.")


@dataclass(frozen=True)
class Checkpoint:
    """Origin, number of entries and root of a log (C2SP tlog-checkpoint)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Strict; raises ProofRefused."""
        lines = text.split("\n")
        try:
            origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
        except (IndexError, binascii.Error, ValueError) as bad:
            raise ProofRefused("Ce point de contrôle est mal formé.") from bad
        if not origin or _SIZE.fullmatch(size) is None or len(root) != _HASH:
            raise ProofRefused("Ce point de contrôle est mal formé.")
        return cls(origin, int(size), root)


def format_proof(index: int, proof: Sequence[bytes], note: str, extra: bytes = b"") -> str:
    """A C2SP tlog-proof: index, inclusion proof, signed checkpoint."""
    lines = ["c2sp.org/tlog-proof@v1"]
    if extra:
        lines.append("extra " + base64.b64encode(extra).decode())
    lines.append(f"index {index}")
    lines += [base64.b64encode(each).decode() for each in proof]
    return "\n".join(lines) + "\n\n" + note


def parse_proof(text: str) -> tuple[int, list[bytes], str]:
    """Index, hashes and the signed note of a tlog-proof. Raises ProofRefused."""
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != "c2sp.org/tlog-proof@v1":
        raise ProofRefused("Ce n'est pas une preuve de journal.")
    rest = lines[2:] if len(lines) > 1 and lines[1].startswith("extra ") else lines[1:]
    try:
        word, number = rest[0].split(" ")
        if word != "index" or str(int(number)) != number:
            raise ValueError("index")
        hashes = [base64.b64decode(line, validate=True) for line in rest[1:]]
    except (IndexError, ValueError, binascii.Error) as bad:
        raise ProofRefused("La preuve de journal est mal formée.") from bad
    if len(hashes) > 63 or any(len(each) != _HASH for each in hashes):
        raise ProofRefused("La preuve de journal est mal formée.")
    return int(number), hashes, note


def verify_proof(text: str, leaf: bytes, verifier_key: str) -> tuple[int, Checkpoint]:
    """Index and checkpoint, once the note's signature and the leaf's inclusion are verified.

    Raises ProofRefused.
    """
    index, hashes, note = parse_proof(text)
    checkpoint = Checkpoint.parse(verify_note(note, verifier_key))
    if checkpoint.origin != verifier_key.split("+", 1)[0]:
        raise ProofRefused("Le point de contrôle est celui d'un autre journal.")
    verify_inclusion(index, checkpoint.size, leaf_hash(leaf), hashes, checkpoint.root)
    return index, checkpoint


def _index_path(index: int) -> str:
    digits = f"{index:03d}"
    digits = digits.rjust(-(-len(digits) // 3) * 3, "0")
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*("x" + group for group in groups[:-1]), groups[-1]])


def tile_path(level: int, index: int, width: int) -> str:
    """tile/<level>/<index>, with .p/<width> when the tile is not full."""
    return f"tile/{level}/{_index_path(index)}" + ("" if width == WIDTH else f".p/{width}")


def entries_path(index: int, width: int) -> str:
    """tile/entries/<index>, with .p/<width> when the bundle is not full."""
    return f"tile/entries/{_index_path(index)}" + ("" if width == WIDTH else f".p/{width}")


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each after its length as two big-endian bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unbundled(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises ProofRefused for one that is cut."""
    found, at = list[bytes](), 0
    while at < len(data):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if len(data) < at:
            raise ProofRefused("Un paquet d'entrées du journal est coupé.")
        found.append(data[start:at])
    return found
