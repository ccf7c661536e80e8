"""The last files of the journal's copy: they betray an old backup where its checkpoint is lost."""

from collections.abc import Mapping

from dematmp.audit import mark
from dematmp.audit.copies import folder
from dematmp.audit.errors import JournalBroken
from dematmp.audit.publication import parse_path
from signing import tlog
from storage.errors import ObjectMissing
from storage.stores import object_store


def copied_edges() -> dict[str, tuple[int, int, str]]:
    """The last file of each level of the copy: its index, how much it holds, its key."""
    found: dict[str, tuple[int, int, str]] = {}
    for key in object_store().list(f"{folder()}tile"):
        if (said := parse_path(key.removeprefix(folder()))) is not None:
            level, index, width = said
            found[level] = max(found.get(level, (0, 0, "")), (index, width, key))
    return found


def check_edges(edges: Mapping[str, tuple[int, int, str]], size: int, read_tile: tlog.ReadTile) -> None:
    """Refuse `size` entries that do not reach the copy's last files, or contradict them.

    Raises JournalBroken, StoreUnavailable.
    """
    for level, (index, width, key) in edges.items():
        least = (index * tlog.WIDTH + width) * tlog.WIDTH ** (int(level) if level.isdigit() else 0)
        if size < least:
            raise JournalBroken(
                f"{key} de la copie ne correspond pas aux entrées : la base en a {size}, il y en avait au "
                f"moins {least}. Rien n'est signé tant que les entrées manquantes ne sont pas "
                f"retrouvées{mark.OR}."
            )
    for level, (index, width, key) in edges.items():
        if not level.isdigit():
            continue
        try:
            same = object_store().read(key) == read_tile(int(level), index)[: width * 32]
        except ObjectMissing:
            continue  # it was there a moment ago: `journal verify` says so
        if not same:
            raise JournalBroken(f"{key} de la copie ne correspond pas aux entrées.")
