"""Verify the journal and the deposits that it proves. No code of the platform is used.

Needs Python 3.11+ and the `cryptography` package only:

    python verify_journal.py journal [deposits] [--key FILE]…

`journal` has the files of C2SP tlog-tiles (checkpoint, key, tile/…) and what `manage.py journal export` adds:
checkpoints/SIZE, and after a succession the keys of the former journals (former) and what each succession
says (successions/INDEX.json). `deposits` has those of `--out`: for each `<name>.record` its
`<name>.receipt.json` and `<name>.tlog-proof`.

Without `--key`, the keys of that folder are believed. With it, only those that you kept, one a line: the key
of the journal, and after a succession that of each former one, whose receipts keep their proofs.
"""

import argparse
import base64
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def digest_of(nonce: str, record: bytes) -> str:
    """What a leaf says of a record. The nonce has 32 bytes: others would take some of the record's for it."""
    before = bytes.fromhex(nonce)
    if len(before) != 32:
        raise SystemExit("un nonce n'a pas 32 octets")
    return hashlib.sha256(before + record).hexdigest()


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
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], text.encode())
            except InvalidSignature:
                raise SystemExit(f"la signature de {name} est fausse") from None
            return text
    raise SystemExit("aucune signature de cette clé")


def checkpoint(note: str, key_line: str) -> tuple[int, bytes]:
    lines = signed_text(note, key_line).splitlines()
    if lines[0] != key_line.split("+", 1)[0]:
        raise SystemExit(f"un point de contrôle de {lines[0]}, signé par la clé d'un autre journal")
    return int(lines[1]), base64.b64decode(lines[2])


def key_of(note: str, keys: list[str]) -> str:
    """The key of the journal that a checkpoint names."""
    origin = note.split("\n", 1)[0]
    for line in keys:
        if line.split("+", 1)[0] == origin:
            return line
    raise SystemExit(f"aucune clé du journal {origin} n'est donnée")


def roots(hashes: list[bytes], sizes: set[int]) -> dict[int, bytes]:
    """The root that the tree had at each of these sizes, in one pass."""
    found: dict[int, bytes] = {}
    peaks: list[tuple[int, bytes]] = []  # complete subtrees, the largest first: how many leaves, hash
    for size, leaf in enumerate(hashes, start=1):
        peaks.append((1, leaf))
        while len(peaks) > 1 and peaks[-2][0] == peaks[-1][0]:
            (count, left), (_, right) = peaks[-2:]
            peaks[-2:] = [(2 * count, node(left, right))]
        if size in sizes:
            value = peaks[-1][1]
            for _, left in reversed(peaks[:-1]):
                value = node(left, value)
            found[size] = value
    return found


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


@dataclass
class Journal:
    """Its entries, the keys believed, and how many entries it kept of each former one."""

    entries: list[bytes]
    keys: list[str]
    kept: dict[str, int]

    def check_begins(self, note: str, *, of: str) -> tuple[int, bytes]:
        """Size and root of a checkpoint of before: this journal, or one that it succeeds, began so."""
        key_line = key_of(note, self.keys)
        size, expected = checkpoint(note, key_line)
        name = key_line.split("+", 1)[0]
        here = self.kept.get(key_line, len(self.entries))
        if size > here:
            raise SystemExit(f"{of} : {size} entrées de {name} y sont attestées, ce journal en a {here}")
        if self.root_at(size) != expected:
            raise SystemExit(f"{of} : le journal a été réécrit depuis")
        return size, expected

    def root_at(self, size: int) -> bytes:
        return root([leaf_hash(leaf) for leaf in self.entries[:size]])


def check_succession(journal: Journal, index: int, said: dict[str, str]) -> str:
    """What an entry of succession says, once it is the one of the journal; what it kept is then known."""
    record = base64.b64decode(said["record"])
    digest = digest_of(said["nonce"], record)
    if json.loads(journal.entries[index])["digest"] != digest:
        raise SystemExit(f"succession {index} : ce n'est pas ce que dit l'entrée {index} du journal")
    told = json.loads(record)
    former, size = told["former"]["key"], told["kept"]["size"]
    name = former.split("+", 1)[0]
    if former not in journal.keys:
        raise SystemExit(f"succession {index} : la clé de {name} n'est pas de celles qui sont données")
    if size > index or journal.root_at(size).hex() != told["kept"]["root"]:
        raise SystemExit(f"succession {index} : les {size} entrées gardées de {name} ne sont pas celles-ci")
    journal.kept[former] = size
    known = [checkpoint(note, former) for note in (told["former"]["seen"], told["former"]["copied"]) if note]
    for seen, expected in known:
        if 0 < seen <= size and journal.root_at(seen) != expected:
            raise SystemExit(f"succession {index} : {name} avait signé d'autres entrées que celles-ci")
    lost = max((seen for seen, _ in known), default=size) - size
    return (
        f"{name} a été remplacé à l'entrée {index} ({told['reason']}) : {size} entrées gardées, "
        f"{max(lost, 0)} perdues"
    )


def check_deposit(record: Path, journal: Journal) -> int:
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
    size, expected = journal.check_begins(note, of=record.name)
    digest = digest_of(receipt["journal"]["nonce"], record.read_bytes())
    if index >= size:
        raise SystemExit(f"{record.name} : la preuve d'inclusion est fausse")
    leaf = json.loads(journal.entries[index])
    if (leaf["digest"], leaf["type"], leaf["time"]) != (digest, "deposit", said["received"]):
        raise SystemExit(f"{record.name} : l'entrée {index} n'est pas celle de ce dépôt")
    if not included(index, size, leaf_hash(journal.entries[index]), path, expected):
        raise SystemExit(f"{record.name} : la preuve d'inclusion est fausse")
    return index


def check_journal(folder: Path, keys: list[str]) -> Journal:
    """The root signed last is that of the entries, and each checkpoint kept that of their beginning."""
    note = (folder / "checkpoint").read_text()
    key_line = key_of(note, keys)
    size, expected = checkpoint(note, key_line)
    journal = Journal(leaves(folder, size), keys, {})
    if len(journal.entries) != size or journal.root_at(size) != expected:
        raise SystemExit("la racine signée n'est pas celle des entrées")
    say(f"journal : {size} entrées, racine signée conforme, par la clé {key_line}")
    for index, leaf in enumerate(journal.entries):
        if json.loads(leaf).get("type") == "journal-succession":
            path = folder / "successions" / f"{index}.json"
            if path.is_file():
                say(check_succession(journal, index, json.loads(path.read_text())))
            else:
                say(f"NON VÉRIFIÉ : ce que dit l'entrée {index}, une succession ({path.name} n'est pas ici)")
    notes = [path.read_text() for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    stated = [checkpoint(note, key_of(note, keys)) for note in notes]
    known = roots([leaf_hash(leaf) for leaf in journal.entries], {size for size, _ in stated})
    for size, expected in stated:
        if known.get(size) != expected:
            raise SystemExit(f"le point de contrôle publié à {size} entrées n'est pas de ce journal")
    say(f"{len(stated)} points de contrôle publiés, tous de ce journal")
    return journal


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Vérifier le journal, et les dépôts qu'il prouve.")
    parser.add_argument("journal", type=Path)
    parser.add_argument("deposits", type=Path, nargs="?")
    parser.add_argument("--key", type=Path, action="append", help="clés gardées, une par ligne")
    asked = parser.parse_args()
    files = asked.key or [asked.journal / "key", asked.journal / "former"]
    lines = [line for path in files if asked.key or path.is_file() for line in path.read_text().splitlines()]
    journal = check_journal(asked.journal, [line.strip() for line in lines if line.strip()])
    for record in sorted(asked.deposits.rglob("*.record")) if asked.deposits else ():
        say(f"{record.stem} : entrée {check_deposit(record, journal)} prouvée")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
