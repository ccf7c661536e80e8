"""The journal's copy in the object store: immutable tiles and bundles first, the checkpoint last.

It outlives the database, and betrays a database restored from an old backup. Only what our key signed does
so: each checkpoint is kept under its size too, so that one lost or spoilt leaves another. A tile is signed by
nobody: one that is not ours holds nothing back, is put aside, and is told.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterable, Iterator
from itertools import islice

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
_LISTED, _TRIED = 1000, 16  # kept checkpoints that an append lists, and reads: the head is locked meanwhile
_SIZE = re.compile(r"[1-9][0-9]{0,17}")  # the one spelling of a kept checkpoint's name
_COPY = "la copie du journal en atteste"
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


def _kept_keys(most: int | None = None) -> list[str]:
    """Of what is among the checkpoints that the copy keeps under their size, the longest first."""
    return sorted(islice(object_store().list(f"{folder()}checkpoints/"), most), key=_size_of, reverse=True)


def _size_of(key: str) -> int:
    """What the name of a kept checkpoint says; 0 for another name."""
    name = key.removeprefix(f"{folder()}checkpoints/")
    return int(name) if _SIZE.fullmatch(name) else 0


def _kept(key: str) -> tlog.Checkpoint | None:
    """One of them; None when our key did not sign it, under this name. Raises StoreUnavailable."""
    try:
        note = object_store().read(key, max_bytes=NOTE_LIMIT).decode()
        stated = tlog.Checkpoint.parse(verify_note(note, journal_signer().verifier_key))
    except StoreUnavailable:
        raise
    except (SigningError, StorageError, ValueError):
        return None
    return stated if stated.size == _size_of(key) else None


def kept_checkpoint(*, briefly: bool = False) -> tlog.Checkpoint | None:
    """The longest of those that our key signed; None when none is. Raises StoreUnavailable.

    `briefly`, while the head is locked: few are listed and read, and what was left is told.
    """
    keys = _kept_keys(_LISTED if briefly else None)
    tried = keys[:_TRIED] if briefly else keys
    found = next((each for key in tried if (each := _kept(key)) is not None), None)
    if tried and (found is None or found.size != _size_of(tried[0])):
        log.error("journal : %s n'est pas de notre clé (manage.py journal copy)", tried[0])
    if briefly and (len(keys) == _LISTED or (found is None and len(tried) < len(keys))):
        log.error("journal : la copie garde trop de points de contrôle, ils ne sont pas tous lus ici")
    return found


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


def attested(*, briefly: bool = False) -> tuple[tlog.Checkpoint | None, CopyUnreadable | None]:
    """What the copy attests: its checkpoint, or those that it keeps where that one says nothing, and why.

    Raises StorageError.
    """
    try:
        seen = copied_checkpoint()
    except CopyUnreadable as spoilt:
        return kept_checkpoint(briefly=briefly), spoilt
    # None: no copy, or a first one that was killed, or one whose checkpoint was lost.
    return seen or kept_checkpoint(briefly=briefly), None


def refuse_rollback(size: int, read_tile: tlog.ReadTile) -> None:
    """Before an append, `refuse_rollback_now` once a minute in each process, briefly: the head is locked.

    A database may be restored under a process that runs.
    """
    global _not_before
    if time.monotonic() < _not_before:
        return
    refuse_rollback_now(size, read_tile, briefly=True)
    _not_before = time.monotonic() + _RETRY


def refuse_rollback_now(size: int, read_tile: tlog.ReadTile, *, briefly: bool = False) -> None:
    """Refuse what contradicts this machine's memory, or the copy. Raises JournalBroken.

    A store that does not answer never blocks a deposit, nor does a checkpoint lost or spoilt where those that
    are kept agree, nor a file that nobody signed: all are said in the log.
    """
    _refuse_another_name(size)
    check_continued(size, mark.last(), read_tile, where="cette machine en a vu")
    try:
        seen, spoilt = attested(briefly=briefly)
    except StorageError as failed:
        log.warning("journal : la copie n'a pas pu être comparée (%s)", failed)
        return
    check_continued(size, seen, read_tile, where=_COPY)
    if spoilt is not None:
        log.error("journal : %s", spoilt)


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
    if not Head.objects.filter(pk=1, size__gt=0).exists():
        return 0
    store = object_store()
    seen, spoilt = attested()
    head = Head.objects.get(pk=1)  # after the copy was read: another run may write it meanwhile
    check_continued(head.size, seen, stored_tile, where=_COPY)
    if spoilt is not None:
        log.error("journal : %s Elle est refaite depuis la base.", spoilt)
        _keep_aside(f"{folder()}checkpoint")
        again = True
    missing = _missing_again(head.size) if again else _missing(head.size)
    # The oldest first: what is there rests on what is there, and the next run stops at it.
    for key in reversed(missing):
        store.put(key, _content(key))
    store.put(f"{folder()}checkpoints/{head.size}", head.note.encode())
    if (further := _further(head.size)) is not None:
        return further
    # Every tile of this checkpoint is there: a crash from here leaves the former checkpoint, still true.
    store.put(f"{folder()}checkpoint", head.note.encode())
    return head.size


def _further(size: int) -> int | None:
    """The size of the checkpoint that is there, of another run that went further meanwhile.

    Raises JournalBroken, StorageError.
    """
    try:
        there = copied_checkpoint()
    except CopyUnreadable:
        return None
    check_continued(Head.objects.get(pk=1).size, there, stored_tile, where=_COPY)
    return there.size if there is not None and there.size > size else None


def _is_ours(key: str) -> bool:
    """Whether the store has this file as it must be; what it has in its place is kept aside too.

    Nothing is deleted of what will be written over: another run may have written it already.
    """
    content = _content(key)
    try:
        if object_store().read(key, max_bytes=len(content)) == content:
            return True
    except ObjectMissing:
        return False
    except ObjectTooLarge:
        pass
    _keep_aside(key)
    return False


def _keep_aside(key: str) -> bool:
    """Keep what is not ours out of the way, and tell it: somebody else writes in the store.

    False when it is not there any more, or has a name that nothing reads.
    """
    store = object_store()
    try:
        found = store.read(key, max_bytes=_ASIDE_BYTES)
    except ObjectMissing:
        return False
    except KeyRefused:
        log.error("journal : %r n'est pas de nous, et a un nom que rien ne lit : il est laissé", key)
        return False
    except ObjectTooLarge:
        log.error("journal : %s n'est pas de nous, et trop long pour être gardé", key)
        return True
    aside = f"{folder()}aside/{hashlib.sha256(found).hexdigest()[:16]}/{key.removeprefix(folder())}"
    try:
        store.put(aside, found)
    except KeyRefused:
        aside = f"{folder()}aside/{hashlib.sha256(key.encode() + found).hexdigest()}"
        store.put(aside, found)
    log.error("journal : %s n'est pas de nous, et est mis de côté : %s", key, aside)
    return True


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
    store = object_store()
    for key in _kept_keys():
        if _kept(key) is None and _keep_aside(key):
            store.delete(key)
    held = set(store.list(f"{folder()}tile"))
    for key in sorted(held):
        if not _is_explained(key, size):
            if _keep_aside(key):
                store.delete(key)
        elif not _is_ours(key):
            store.put(key, _content(key))
    return [key for key in _published(size) if key not in held][::-1]


def _is_explained(key: str, size: int) -> bool:
    """Whether the journal has or had a file of this name: of `size` entries, or as long as it is by now.

    What another run wrote meanwhile is not foreign.
    """
    said = parse_path(key.removeprefix(folder()))
    if said is None or key != _key(*said):
        return False
    return _is_within(key, size) or _is_within(key, Head.objects.get(pk=1).size)


def _key(level: str, index: int, width: int) -> str:
    """The one name of a file of the copy, of those that `parse_path` reads."""
    if level == "entries":
        return f"{folder()}{tlog.entries_path(index, width)}"
    return f"{folder()}{tlog.tile_path(int(level), index, width)}"


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
    kept = _kept_keys()  # before the head is read: it only grows
    size = Head.objects.get(pk=1).size
    _check_files(held, size)
    for key in kept:
        if (stated := _kept(key)) is None:
            raise JournalBroken(f"{key} de la copie n'est pas de notre clé, ou n'est pas sous sa taille.")
        check_continued(size, stated, stored_tile, where=_COPY)
    return len(held)
