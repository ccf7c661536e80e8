"""The journal's five statements, in plain SQL: every deposit waits for them behind the head's lock.

The same on PostgreSQL and SQLite. Through the ORM, building these queries took half of an append.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.db import connection, models, transaction

from dematmp.audit.models import Entry, Head, Tile

_HEAD = "SELECT size FROM audit_head WHERE id = 1"
_INSERT_ENTRY = (
    'INSERT INTO audit_entry ("index", kind, consultation, subject, at, leaf, record, nonce) VALUES '
)
_ENTRY = ("index", "kind", "consultation", "subject", "at", "leaf", "record", "nonce")


def _values(row: models.Model, names: Sequence[str]) -> list[object]:
    """What the database driver takes for these fields."""
    fields = {field.name: field for field in row._meta.concrete_fields}
    return [fields[name].get_db_prep_save(getattr(row, name), connection) for name in names]


@contextmanager
def snapshot() -> Iterator[None]:
    """Read one state of the database, whatever others commit meanwhile, and hold nobody back."""
    if connection.in_atomic_block:  # the caller's
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")  # Django's own would be IMMEDIATE, and stop every deposit
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")


def locked_head() -> int:
    """The size of the journal; its head stays locked until the end of the transaction."""
    locks = connection.features.has_select_for_no_key_update
    with connection.cursor() as cursor:
        cursor.execute(_HEAD + " FOR NO KEY UPDATE" if locks else _HEAD)
        row = cursor.fetchone()
    if row is None:
        Head.objects.get_or_create(pk=1)
        return locked_head()
    return int(row[0])


def edge(size: int, width: int) -> dict[tuple[int, int], bytes]:
    """The last tile of each level of a journal of `size` entries: all that an append and its proof need."""
    wanted, level, count = [], 0, size
    while count:
        wanted.append((level, (count - 1) // width))
        level, count = level + 1, count // width
    if not wanted:
        return {}
    places = " OR ".join(['(level = %s AND "index" = %s)'] * len(wanted))
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT level, "index", hashes FROM audit_tile WHERE {places}',  # noqa: S608  (placeholders only)
            [value for pair in wanted for value in pair],
        )
        return {(level, index): bytes(hashes) for level, index, hashes in cursor.fetchall()}


def write(entries: Sequence[Entry], tiles: Mapping[tuple[int, int], bytes], *, size: int, note: str) -> None:
    """Tiles, entries, then the head."""
    with connection.cursor() as cursor:
        _insert(
            cursor,
            'INSERT INTO audit_tile (level, "index", hashes) VALUES ',
            [
                _values(Tile(level=level, index=index, hashes=data), ("level", "index", "hashes"))
                for (level, index), data in tiles.items()
            ],
            ' ON CONFLICT (level, "index") DO UPDATE SET hashes = excluded.hashes',
        )
        _insert(
            cursor,
            _INSERT_ENTRY,
            [_values(entry, _ENTRY) for entry in entries],
        )
        cursor.execute("UPDATE audit_head SET size = %s, note = %s WHERE id = 1", [size, note])


def _insert(cursor: object, start: str, rows: Iterable[Sequence[object]], end: str = "") -> None:
    listed = list(rows)
    one = "(" + ", ".join(["%s"] * len(listed[0])) + ")"
    statement = start + ", ".join([one] * len(listed)) + end
    cursor.execute(statement, [value for row in listed for value in row])  # type: ignore[attr-defined]
