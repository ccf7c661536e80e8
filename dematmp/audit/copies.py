"""The journal's copy in the object store: immutable tiles and bundles first, the checkpoint last.

It outlives the database, and betrays a database restored from an old backup. Only what our key signed does
so: each checkpoint is kept under its size too, so that one lost or spoilt leaves another. A tile is signed by
nobody: one that is not ours holds nothing back, is put aside, and is told.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator

from django.conf import settings

from dematmp.audit import mark
from dematmp.audit.errors import CopyUnreadable, JournalBroken
from dematmp.audit.keys import former_verifiers, journal_signer
from dematmp.audit.models import Entry, Head, PublicCheckpoint, Tile
from dematmp.audit.publication import parse_path
from signing import tlog
from signing.errors import SigningError
from signing.notes import NOTE_LIMIT, verify_note
from storage.errors import KeyRefused, ObjectMissing, ObjectTooLarge, StorageError, StoreUnavailable
from storage.stores import object_store

log = logging.getLogger(__name__)
_RETRY = 60.0  # seconds between two looks at the copy
_TRIED = 16  # kept checkpoints that are read before none is believed to be ours
_ASIDE_BYTES = 1024**2  # of a file that is not ours, and is kept aside: no tile of ours is so long
_not_before = 0.0


def folder(rank: int | None = None) -> str:
    """Where the copy is of this journal, or of the former one of that rank, which stays as it was."""
    rank = len(former_verifiers()) if rank is None else rank
    return f"journal/{rank + 1}/" if rank else "journal/"


def copied_note(rank: int | None = None) -> str:
    """The checkpoint of the copy, as it is. Raises StorageError, ValueError."""
    return object_store().read(f"{folder(rank)}checkpoint", max_bytes=NOTE_LIMIT).decode()


def copied_checkpoint() -> tlog.Checkpoint | None:
    """The checkpoint of the copy, or None when there is none. Raises StoreUnavailable, CopyUnreadable.

    One that is not of our key may be all that betrays an old backup: `journal verify` says so.
    """
    store = object_store()
    try:
        return tlog.Checkpoint.parse(verify_note(copied_note(), journal_signer().verifier_key))
    except ObjectMissing:
        if PublicCheckpoint.objects.exists() and next(iter(store.list(f"{folder()}tile")), None):
            raise CopyUnreadable(
                f"La copie du journal ({folder()}) n'a plus son point de contrôle, et en a les tuiles."
            ) from None
        return None
    except (SigningError, ValueError, ObjectTooLarge) as broken:
        raise CopyUnreadable(
            f"Le point de contrôle de la copie ({folder()}) n'est pas lisible, ou pas de notre clé."
        ) from broken


def _kept_sizes() -> list[int]:
    """Of the checkpoints that the copy keeps under their size, the longest first."""
    prefix = f"{folder()}checkpoints/"
    names = (key.removeprefix(prefix) for key in object_store().list(prefix))
    return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)


def _kept(size: int) -> tlog.Checkpoint | None:
    """One of them; None when our key did not sign it. Raises StoreUnavailable."""
    try:
        note = object_store().read(f"{folder()}checkpoints/{size}", max_bytes=NOTE_LIMIT).decode()
        stated = tlog.Checkpoint.parse(verify_note(note, journal_signer().verifier_key))
    except StoreUnavailable:
        raise
    except (SigningError, StorageError, ValueError):
        return None
    return stated if stated.size == size else None


def kept_checkpoint() -> tlog.Checkpoint | None:
    """The longest of those; None when none of the last ones is ours. Raises StoreUnavailable."""
    for size in _kept_sizes()[:_TRIED]:
        if (found := _kept(size)) is not None:
            return found
        log.error("journal : %scheckpoints/%s n'est pas de notre clé", folder(), size)
    return None


def check_continued(size: int, seen: tlog.Checkpoint | None, read_tile: tlog.ReadTile, *, where: str) -> None:
    """Refuse `size` entries that are not the continuation of what was seen. Raises JournalBroken."""
    if seen is None:
        return
    if size < seen.size:
        raise JournalBroken(
            f"La base a {size} entrées, {where} {seen.size} : la base a été restaurée d'une sauvegarde "
            f"ancienne. Rien n'est signé tant que les entrées manquantes ne sont pas retrouvées{mark.OR}."
        )
    if tlog.root_at(seen.size, read_tile) != seen.root:
        raise JournalBroken(
            f"Les {seen.size} premières entrées de la base ne sont pas celles qui étaient signées ({where} "
            f"{seen.size})."
        )


def check_against_copy(size: int, read_tile: tlog.ReadTile) -> None:
    """Refuse a journal of `size` entries that is not the continuation of the copy. Raises JournalBroken.

    Where its checkpoint says nothing, those that it keeps do. Raises CopyUnreadable, once they agree, and
    StorageError.
    """
    try:
        seen = copied_checkpoint()
    except CopyUnreadable:
        check_continued(size, kept_checkpoint(), read_tile, where="la copie du journal en atteste")
        raise
    if seen is None:  # no copy, or a first one that was killed, or one whose checkpoint was lost
        seen = kept_checkpoint()
    check_continued(size, seen, read_tile, where="la copie du journal en atteste")


def refuse_rollback(size: int, read_tile: tlog.ReadTile) -> None:
    """The same, once a minute in each process: a database may be restored under one that runs."""
    global _not_before
    if time.monotonic() < _not_before:
        return
    refuse_rollback_now(size, read_tile)
    _not_before = time.monotonic() + _RETRY


def refuse_rollback_now(size: int, read_tile: tlog.ReadTile) -> None:
    """Refuse what contradicts this machine's memory, or the copy. Raises JournalBroken.

    A store that does not answer never blocks a deposit, nor does a checkpoint lost or spoilt where those that
    are kept agree, nor a file that nobody signed: all are said in the log.
    """
    _refuse_another_name(size)
    check_continued(size, mark.last(), read_tile, where="cette machine en a vu")
    try:
        check_against_copy(size, read_tile)
    except CopyUnreadable as broken:
        log.error("journal : %s", broken)
    except StorageError as failed:
        log.warning("journal : la copie n'a pas pu être comparée (%s)", failed)


def _refuse_another_name(size: int) -> None:
    """A journal does not change its name by a setting: `succession` says it to whoever reads it."""
    note = Head.objects.values_list("note", flat=True).get(pk=1) if size else ""
    name = note.split("\n", 1)[0]
    if note and name != settings.JOURNAL_ORIGIN:
        raise JournalBroken(
            f"Ce journal se nomme {name}, et DEMATMP_JOURNAL_ORIGIN dit {settings.JOURNAL_ORIGIN} : "
            "rendez-lui son nom, ou lancez « manage.py journal succeed »."
        )


def stored_tile(level: int, index: int) -> bytes:
    """The hashes of a tile in the database; JournalBroken when one that must exist does not."""
    tile = Tile.objects.filter(level=level, index=index).only("hashes").first()
    if tile is None:
        raise JournalBroken(f"La tuile {level}/{index} du journal manque.")
    return bytes(tile.hashes)


def copy(*, again: bool = False) -> int:
    """Copy what is new; the size copied. May run twice or be killed anywhere. Raises JournalBroken.

    A file of the copy that is not ours is put aside, told, and written again. `again`: every file is read,
    and whatever the store has not any more is put back too; so it is where the checkpoint is spoilt.
    """
    head = Head.objects.filter(pk=1).first()
    if head is None or head.size == 0:
        return 0
    store = object_store()
    try:
        check_against_copy(head.size, stored_tile)
    except CopyUnreadable as spoilt:
        log.error("journal : %s Elle est refaite depuis la base.", spoilt)
        _put_aside(f"{folder()}checkpoint")
        again = True
    missing = _missing_again(head.size) if again else _missing(head.size)
    # The oldest first: what is there rests on what is there, and the next run stops at it.
    for key in reversed(missing):
        store.put(key, _content(key))
    store.put(f"{folder()}checkpoints/{head.size}", head.note.encode())
    # Every tile of this checkpoint is there: a crash from here leaves the former checkpoint, still true.
    store.put(f"{folder()}checkpoint", head.note.encode())
    return head.size


def _is_ours(key: str) -> bool:
    """Whether the store has this file as it must be; what it has in its place is put aside."""
    content = _content(key)
    try:
        if object_store().read(key, max_bytes=len(content)) == content:
            return True
    except ObjectMissing:
        return False
    except ObjectTooLarge:
        pass
    _put_aside(key)
    return False


def _put_aside(key: str) -> None:
    """Keep what is not ours out of the way, and tell it: somebody else writes in the store."""
    store = object_store()
    try:
        found = store.read(key, max_bytes=_ASIDE_BYTES)
    except ObjectMissing:
        return
    except KeyRefused:
        log.error("journal : %r n'est pas de nous, et a un nom que rien ne lit : il est laissé", key)
        return
    except ObjectTooLarge:
        log.error("journal : %s n'est pas de nous, et trop long : il est effacé", key)
    else:
        aside = f"{folder()}aside/{hashlib.sha256(found).hexdigest()[:16]}/{key.removeprefix(folder())}"
        try:
            store.put(aside, found)
        except KeyRefused:
            aside = f"{folder()}aside/{hashlib.sha256(key.encode() + found).hexdigest()}"
            store.put(aside, found)
        log.error("journal : %s n'est pas de nous, et est mis de côté : %s", key, aside)
    store.delete(key)


def _check_files(held: Iterable[str], size: int) -> None:
    """Each file of the copy is of a journal of `size` entries, and of this one. Raises JournalBroken."""
    for key in sorted(held):
        try:
            same = _is_within(key, size) and object_store().read(key) == _content(key)
        except ObjectTooLarge:
            same = False
        if not same:
            raise JournalBroken(f"{key} de la copie ne correspond pas aux entrées.")


def _is_within(key: str, size: int) -> bool:
    """Whether a journal of `size` entries has, or had, a file of this name. Raises JournalBroken."""
    level, index, width = parse_path(key.removeprefix(folder())) or ("", 0, 0)
    unit = tlog.WIDTH ** (int(level) if level.isdigit() else 0)
    return bool((index * tlog.WIDTH + width) * unit <= size)


def _missing(size: int) -> list[str]:
    """Keys of tiles and bundles that the store has not, the newest first, up to the first one that it has."""
    found, level, count = list[str](), 0, size
    while count:
        for index in range((count - 1) // tlog.WIDTH, -1, -1):
            width = min(tlog.WIDTH, count - index * tlog.WIDTH)
            key = f"{folder()}{tlog.tile_path(level, index, width)}"
            if _is_ours(key):
                break
            found.append(key)
        level, count = level + 1, count // tlog.WIDTH
    for index in range((size - 1) // tlog.WIDTH, -1, -1):
        key = f"{folder()}{tlog.entries_path(index, min(tlog.WIDTH, size - index * tlog.WIDTH))}"
        if _is_ours(key):
            break
        found.append(key)
    return found


def _missing_again(size: int) -> list[str]:
    """The same of all, once each file that is not ours is put aside."""
    for kept in _kept_sizes():
        if _kept(kept) is None:
            _put_aside(f"{folder()}checkpoints/{kept}")
    held = set(object_store().list(f"{folder()}tile"))
    for key in sorted(held):
        if parse_path(key.removeprefix(folder())) is None or not _is_within(key, size):
            _put_aside(key)
        elif not _is_ours(key):
            held.discard(key)
    return [key for key in _published(size) if key not in held][::-1]


def _content(key: str) -> bytes:
    """What a file of the copy holds, from the database. Raises JournalBroken."""
    said = parse_path(key.removeprefix(folder()))
    if said is None:
        raise JournalBroken(f"La copie du journal contient {key}, qui n'est pas du journal.")
    level, index, width = said
    if level != "entries":
        return stored_tile(int(level), index)[: width * 32]
    first = index * tlog.WIDTH
    rows = Entry.objects.filter(index__gte=first, index__lt=first + width).order_by("index")
    return tlog.bundle([bytes(row.leaf) for row in rows])


def _published(size: int) -> Iterator[str]:
    """Keys of the tiles and bundles that a checkpoint of this size rests on."""
    level, count = 0, size
    while count:
        for index in range((count - 1) // tlog.WIDTH + 1):
            width = min(tlog.WIDTH, count - index * tlog.WIDTH)
            yield f"{folder()}{tlog.tile_path(level, index, width)}"
        level, count = level + 1, count // tlog.WIDTH
    for index in range((size - 1) // tlog.WIDTH + 1):
        yield f"{folder()}{tlog.entries_path(index, min(tlog.WIDTH, size - index * tlog.WIDTH))}"


def compare() -> int:
    """How many tiles and bundles the copy has, each read again, and each checkpoint that it keeps.

    Raises JournalBroken, StoreUnavailable.
    """
    store, seen = object_store(), copied_checkpoint()
    if seen is None:
        return 0
    held = set(store.list(f"{folder()}tile"))
    if absent := [key for key in _published(seen.size) if key not in held]:
        raise JournalBroken(f"La copie du journal n'a plus {absent[0]} ({len(absent)} fichier(s) absent(s)).")
    kept = _kept_sizes()  # before the head is read: it only grows
    size = Head.objects.get(pk=1).size
    _check_files(held, size)
    for each in kept:
        if (stated := _kept(each)) is None:
            raise JournalBroken(f"{folder()}checkpoints/{each} de la copie n'est pas de notre clé.")
        check_continued(size, stated, stored_tile, where="la copie du journal en atteste")
    return len(held)
