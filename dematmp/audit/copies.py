"""The journal's copy in the object store: immutable tiles and bundles first, the checkpoint last.

It outlives the database, and betrays a database restored from an old backup.
"""

import logging
from collections.abc import Iterator

from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import journal_signer
from dematmp.audit.models import Entry, Head, Tile
from signing import tlog
from signing.errors import SigningError
from signing.notes import verify_note
from storage.errors import ObjectMissing, StoreUnavailable
from storage.stores import object_store

log = logging.getLogger(__name__)
_CHECKPOINT = "journal/checkpoint"
_checked = False


def copied_size() -> int:
    """How many entries the copied checkpoint attests; 0 when there is none of our key."""
    try:
        note = object_store().read(_CHECKPOINT).decode()
        return tlog.Checkpoint.parse(verify_note(note, journal_signer().verifier_key)).size
    except (ObjectMissing, SigningError, UnicodeDecodeError):
        return 0


def refuse_rollback(size: int) -> None:
    """Refuse to sign a journal shorter than one already seen.

    Checked once in each process: a restore restarts them. Raises JournalBroken. A store that does not answer
    never blocks a deposit.
    """
    global _checked
    if _checked:
        return
    try:
        seen = copied_size()
    except StoreUnavailable:
        log.warning("journal : la copie n'a pas pu être comparée")
        return
    if size < seen:
        raise JournalBroken(
            f"La base a {size} entrées, la copie du journal en atteste {seen} : la base a été "
            "restaurée d'une sauvegarde ancienne. Rien n'est signé tant que les entrées manquantes ne sont "
            "pas retrouvées."
        )
    _checked = True


def copy() -> int:
    """Copy what is new; the size copied. May run twice or be killed anywhere. Raises JournalBroken."""
    head = Head.objects.filter(pk=1).first()
    if head is None or head.size == 0:
        return 0
    refuse_rollback(head.size)
    store = object_store()
    for key, data in _missing(head.size):
        store.put(key, data)
    # Every tile of this checkpoint is there: a crash from here leaves the former checkpoint, still true.
    store.put(_CHECKPOINT, head.note.encode())
    return head.size


def _missing(size: int) -> Iterator[tuple[str, bytes]]:
    """Tiles and bundles that the store has not, from the newest back to the first one that it has."""
    store = object_store()
    level, count = 0, size
    while count:
        for index in range((count - 1) // tlog.WIDTH, -1, -1):
            width = min(tlog.WIDTH, count - index * tlog.WIDTH)
            key = f"journal/{tlog.tile_path(level, index, width)}"
            if store.exists(key):
                break
            tile = Tile.objects.get(level=level, index=index)
            yield key, bytes(tile.hashes)[: width * 32]
        level, count = level + 1, count // tlog.WIDTH
    for index in range((size - 1) // tlog.WIDTH, -1, -1):
        first, width = index * tlog.WIDTH, min(tlog.WIDTH, size - index * tlog.WIDTH)
        key = f"journal/{tlog.entries_path(index, width)}"
        if store.exists(key):
            break
        rows = Entry.objects.filter(index__gte=first, index__lt=first + width).order_by("index")
        yield key, tlog.bundle([bytes(row.leaf) for row in rows])
