"""Verify the journal and the deposits that it proves. No code of the platform is used.

Needs Python 3.11+ and the `cryptography` package only:

    python verify_journal.py journal [deposits]

`journal` has the files of C2SP tlog-tiles (checkpoint, key, tile/…), `deposits` those of `--out`: for each
`<name>.record` its `<name>.receipt.json` and `<name>.tlog-proof`.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def root(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root(hashes[:split]), root(hashes[split:]))


def signed_text(note: str, key_line: str) -> str:
    """The text of a C2SP signed note, once its Ed25519 signature by this key is verified."""
    name, key_id, encoded = key_line.strip().split("+", 2)
    key = base64.b64decode(encoded)
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    for line in lines.splitlines():
        dash, signer, signature = line.split(" ", 2)
        raw = base64.b64decode(signature)
        if (dash, signer, raw[:4].hex()) == ("—", name, key_id):
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], text.encode())
            return text
    raise SystemExit("aucune signature de cette clé")


def checkpoint(note: str, key_line: str) -> tuple[int, bytes]:
    lines = signed_text(note, key_line).splitlines()
    return int(lines[1]), base64.b64decode(lines[2])


def leaves(journal: Path, size: int) -> list[bytes]:
    """Every entry, from the bundles: each is its length on two bytes, then its bytes."""
    found: list[bytes] = []
    for first in range(0, size, 256):
        digits = f"{first // 256:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        path = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
        width = min(256, size - first)
        data = (journal / "tile" / "entries" / (path if width == 256 else f"{path}.p/{width}")).read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    return found


def included(index: int, size: int, leaf: bytes, proof: list[bytes], expected: bytes) -> bool:
    """RFC 9162, section 2.1.3.2."""
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if position % 2 or position == last:
            value = node(sibling, value)
            while position and position % 2 == 0:
                position, last = position >> 1, last >> 1
        else:
            value = node(value, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and value == expected


def check_deposit(record: Path, entries: list[bytes], key_line: str) -> int:
    """The rank of a deposit in the journal: its receipt, its record, its leaf and its proof agree.

    The tree that the receipt was given under is the beginning of this journal: nothing was rewritten since.
    """
    stem = record.with_suffix("")
    receipt = json.loads(Path(f"{stem}.receipt.json").read_text())
    proof = Path(f"{stem}.tlog-proof").read_text()
    said = json.loads(record.read_bytes())
    for name in ("deposit", "received"):
        if receipt.get(name) != said.get(name) or not said.get(name):
            raise SystemExit(f"{record.name} : l'accusé dit un autre « {name} » que l'enregistrement")
    if "record" in receipt and base64.b64decode(receipt["record"]) != record.read_bytes():
        raise SystemExit(f"{record.name} : l'accusé porte un autre enregistrement")
    head, _, note = proof.partition("\n\n")
    lines = head.splitlines()
    index = int(next(line for line in lines if line.startswith("index ")).split()[1])
    path = [base64.b64decode(line) for line in lines[lines.index(f"index {index}") + 1 :]]
    size, expected = checkpoint(note, key_line)
    if size > len(entries):
        raise SystemExit(f"{record.name} : l'accusé atteste {size} entrées, le journal en a {len(entries)}")
    if root([leaf_hash(leaf) for leaf in entries[:size]]) != expected:
        raise SystemExit(f"{record.name} : le journal a été réécrit depuis cet accusé")
    digest = hashlib.sha256(bytes.fromhex(receipt["journal"]["nonce"]) + record.read_bytes()).hexdigest()
    if index >= size:
        raise SystemExit(f"{record.name} : la preuve d'inclusion est fausse")
    leaf = json.loads(entries[index])
    if (leaf["digest"], leaf["type"], leaf["time"]) != (digest, "deposit", said["received"]):
        raise SystemExit(f"{record.name} : l'entrée {index} n'est pas celle de ce dépôt")
    if not included(index, size, leaf_hash(entries[index]), path, expected):
        raise SystemExit(f"{record.name} : la preuve d'inclusion est fausse")
    return index


def main() -> int:
    journal = Path(sys.argv[1])
    key_line = (journal / "key").read_text()
    size, expected = checkpoint((journal / "checkpoint").read_text(), key_line)
    entries = leaves(journal, size)
    if len(entries) != size or root([leaf_hash(leaf) for leaf in entries]) != expected:
        raise SystemExit("la racine signée n'est pas celle des entrées")
    sys.stdout.write(f"journal : {size} entrées, racine signée conforme\n")
    if len(sys.argv) > 2:
        for record in sorted(Path(sys.argv[2]).rglob("*.record")):
            sys.stdout.write(f"{record.stem} : entrée {check_deposit(record, entries, key_line)} prouvée\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
