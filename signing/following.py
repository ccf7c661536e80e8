"""Is the journal that is published now the continuation of the one that a receipt was given under?

    published = read("https://marches.ville.example/journal/", keys, witnesses=[])
    published.check_follows(seen)

Read from a site, or offline from a copy in the same layout (C2SP tlog-tiles): `checkpoint`, or
`checkpoints/SIZE`, with `tile/` beside. Tiles are believed for nothing: the consistency proof that is made of
them leads to both signed roots, or is refused.
"""

import functools
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urljoin

import httpx

from signing.cosigning import verify_cosignature
from signing.errors import JournalUnreachable, ProofRefused
from signing.notes import NOTE_LIMIT, key_for, verify_note
from signing.tlog import (
    WIDTH,
    Checkpoint,
    consistency_proof,
    entries_path,
    leaf_hash,
    root_of,
    tile_path,
    unbundled,
    verify_consistency,
)

_HASH = 32  # bytes
_BUNDLE = 1024**2  # bytes, of 256 entries
_SECONDS = 10.0  # for one file
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_Read = Callable[[str, int], bytes | None]  # a name beside the checkpoint, at most so many bytes
UNCOMPARED = "NON COMPARÉ au journal publié : aucun point de contrôle donné (--checkpoint)"


@dataclass(frozen=True)
class Published:
    """A published checkpoint, its key, when each witness saw it (UTC), and how to read its tiles."""

    where: str
    checkpoint: Checkpoint
    key: str
    witnessed: tuple[tuple[str, datetime], ...]  # each by its verifier key
    _read: _Read

    def check_follows(self, seen: Checkpoint) -> None:
        """Raises ProofRefused unless this journal begins with the whole of the one that was seen."""
        now = self.checkpoint
        if now.size < seen.size:
            if now.origin != seen.origin:
                raise self._another(seen)
            raise ProofRefused(
                f"Le journal publié compte {now.size} entrées, et il en a compté {seen.size} : il en manque. "
                "Un point de contrôle paraît chaque minute : prenez le dernier."
            )
        proof = consistency_proof(seen.size, now.size, self._tile)
        try:
            verify_consistency(seen.size, now.size, seen.root, now.root, proof)
        except ProofRefused as forked:
            if now.origin == seen.origin:
                raise
            raise self._another(seen) from forked

    def _another(self, seen: Checkpoint) -> ProofRefused:
        """Of another name, and without its entries: another journal, or a successor that lost some."""
        now = self.checkpoint
        return ProofRefused(
            f"Ce point de contrôle est celui d'un autre journal : {now.origin}, et non {seen.origin}, dont "
            f"il n'a pas les {seen.size} entrées. Donnez celui de {seen.origin} (le canal de secours a le "
            "sien). S'il lui a succédé, son inscription « journal-succession » dit ce qu'il en a gardé, et "
            "pourquoi."
        )

    def _tile(self, level: int, index: int) -> bytes:
        """At least what this checkpoint has of a tile: that width, or a wider one."""
        width = min(WIDTH, (self.checkpoint.size >> 8 * level) - index * WIDTH)
        for name in dict.fromkeys((tile_path(level, index, width), tile_path(level, index, WIDTH))):
            found = self._read(name, WIDTH * _HASH)
            if found is not None and len(found) >= width * _HASH:
                return found[: width * _HASH]
        raise ProofRefused(f"{tile_path(level, index, width)} manque à côté du point de contrôle.")

    def leaves(self, seen: Checkpoint) -> list[bytes]:
        """The leaves of the journal that was seen, the first ones: up to those that are not published yet.

        Raises ProofRefused where this journal does not begin with them, JournalUnreachable where none is.
        """
        found = list[bytes]()
        for index in range(-(-seen.size // WIDTH)):
            width = min(WIDTH, seen.size - index * WIDTH)
            names = dict.fromkeys((entries_path(index, width), entries_path(index, WIDTH)))
            given = next((data for name in names if (data := self._read(name, _BUNDLE)) is not None), None)
            if given is None:
                break
            found += unbundled(given)[:width]
        if not found:
            raise JournalUnreachable("ses premières entrées ne sont pas publiées, ou pas encore")
        self.check_follows(Checkpoint(seen.origin, len(found), root_of([leaf_hash(each) for each in found])))
        return found

    def told(self, seen: Collection[Checkpoint]) -> tuple[list[str], list[str]]:
        """What was checked, once all that was seen is followed, and on whose word. Raises ProofRefused."""
        if not seen:
            return ["NON COMPARÉ au journal publié : aucune entrée n'a de preuve ici"], []
        for each in seen:
            self.check_follows(each)
        sizes = ", ".join(str(size) for size in sorted({each.size for each in seen}))
        checked = [
            f"le journal publié ({self.where}, {self.checkpoint.size} entrées) prolonge celui d'alors "
            f"({sizes} entrées) : preuve de cohérence refaite depuis ses tuiles"
        ]
        checked += [
            f"ce point de contrôle est cosigné par {who.split('+', 1)[0]}, le {at.isoformat()}"
            for who, at in self.witnessed
        ]
        if not self.witnessed:
            checked.append("NON VÉRIFIÉ : que d'autres voient le même journal (aucun témoin, --witness)")
        trusted = [f"clé du point de contrôle publié : {self.key}"]
        return checked, [*trusted, *(f"clé de témoin donnée : {who}" for who, _ in self.witnessed)]


def read(where: str, keys: str, *, witnesses: Sequence[str] = ()) -> Published:
    """The checkpoint at this address or path (its folder will do), signed by one of `keys`, one a line.

    Each of `witnesses` (verifier key lines) must have cosigned it. Raises ProofRefused, JournalUnreachable.
    """
    name, reading = _beside(where)
    note = reading(name, NOTE_LIMIT)
    if note is None:
        raise ProofRefused(f"Aucun point de contrôle ici : {where}")
    try:
        text = note.decode()
    except UnicodeDecodeError as bad:
        raise ProofRefused("Ce point de contrôle n'est pas un texte UTF-8.") from bad
    key = key_for(text, keys)
    stated = Checkpoint.parse(verify_note(text, key))
    if stated.origin != key.split("+", 1)[0]:
        raise ProofRefused("Le point de contrôle est celui d'un autre journal.")
    witnessed = tuple(_witnessed(text, each) for each in witnesses)
    return Published(where, stated, key, witnessed, functools.cache(reading))


def _witnessed(note: str, witness: str) -> tuple[str, datetime]:
    try:
        return witness.strip(), verify_cosignature(note, witness)
    except ProofRefused as absent:
        raise ProofRefused(
            f"{witness.split('+', 1)[0]} : {absent} Recommencez dans une minute, ou donnez un point de "
            "contrôle gardé (checkpoints/TAILLE)."
        ) from absent


def _beside(where: str) -> tuple[str, _Read]:
    """The checkpoint's name in its journal, and what reads that journal's files."""
    if _ADDRESS.match(where):
        address = (
            where
            if re.search(r"/(checkpoint|checkpoints/\d+)$", where)
            else f"{where.rstrip('/')}/checkpoint"
        )
        base, _, last = address.rpartition("/")
        kept = base.endswith("/checkpoints")
        base = f"{base.removesuffix('/checkpoints') if kept else base}/"
        return f"checkpoints/{last}" if kept else last, lambda name, most: _fetched(urljoin(base, name), most)
    path = Path(where)
    path = path / "checkpoint" if path.is_dir() else path
    kept = path.parent.name == "checkpoints"
    folder = path.parent.parent if kept else path.parent
    return str(path.relative_to(folder)), lambda name, most: _held(folder, name, most)


def _held(folder: Path, name: str, most: int) -> bytes | None:
    """A file of a copy; of a partial tile, one as wide or wider that was kept later."""
    path = folder / name
    if not path.is_file() and path.parent.suffix == ".p":
        wanted = int(path.name)
        wider = sorted(int(each.name) for each in path.parent.glob("*") if each.name.isdigit())
        path = path.parent / str(next((each for each in wider if each >= wanted), wanted))
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(most)


def _fetched(address: str, most: int) -> bytes | None:
    """Of a site, within limits of bytes and of seconds; None when it has no such file."""
    data, until = b"", time.monotonic() + _SECONDS
    try:
        with httpx.stream("GET", address, timeout=_SECONDS, follow_redirects=True) as answer:
            if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                return None
            answer.raise_for_status()
            for block in answer.iter_bytes():
                data += block
                if len(data) > most or time.monotonic() > until:
                    raise ProofRefused(f"{address} : réponse trop longue, ou trop lente.")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as away:
        raise JournalUnreachable(f"{address} ne répond pas : {away}") from away
    return data
