"""The journal's five statements, in plain SQL: every deposit waits for them behind the head's lock.

The same on PostgreSQL and SQLite. Through the ORM, building these queries took half of an append. PostgreSQL
is asked twice, two statements then three: each answer that one waits for, all who append wait for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.db import connection, models, transaction

from dematmp.audit.models import Entry, Head, Tile

_HEAD = "SELECT size FROM audit_head WHERE id = 1"
_LOCKED = f"{_HEAD} FOR NO KEY UPDATE"
# Read after the lock, by a statement of its own: it sees what was committed while the lock was waited for.
_EDGE = (
    'SELECT tile.level, tile."index", tile.hashes FROM audit_head head CROSS JOIN generate_series(0, 7) at '
    'JOIN audit_tile tile ON tile.level = at AND tile."index" = ((head.size >> (8 * at)) - 1) >> 8 '
    "WHERE head.id = 1 AND head.size >> (8 * at) > 0"
)
_MOVE_HEAD = "UPDATE audit_head SET size = %s, note = %s WHERE id = 1"
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
        cursor.execute(_LOCKED if locks else _HEAD)
        row = cursor.fetchone()
    if row is None:
        Head.objects.get_or_create(pk=1)
        return locked_head()
    return int(row[0])


def _at_once() -> bool:
    """Whether several statements may be sent in one message."""
    bound_there = getattr(connection.features, "uses_server_side_binding", False)
    return connection.vendor == "postgresql" and not bound_there


def locked_edge(width: int) -> tuple[int, dict[tuple[int, int], bytes]]:
    """`locked_head`, then `edge` of that size."""
    if not _at_once():
        size = locked_head()
        return size, edge(size, width)
    with connection.cursor() as cursor:
        cursor.execute(f"{_LOCKED}; {_EDGE}")
        row = cursor.fetchone()
        cursor.nextset()
        tiles = {(level, index): bytes(hashes) for level, index, hashes in cursor.fetchall()}
    if row is None:
        Head.objects.get_or_create(pk=1)
        return locked_edge(width)
    return int(row[0]), tiles


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
    statements = [
        _insert(
            'INSERT INTO audit_tile (level, "index", hashes) VALUES ',
            [
                _values(Tile(level=level, index=index, hashes=data), ("level", "index", "hashes"))
                for (level, index), data in tiles.items()
            ],
            ' ON CONFLICT (level, "index") DO UPDATE SET hashes = excluded.hashes',
        ),
        _insert(_INSERT_ENTRY, [_values(entry, _ENTRY) for entry in entries]),
        (_MOVE_HEAD, [size, note]),
    ]
    if _at_once():
        sql = "; ".join(statement for statement, _ in statements)
        statements = [(sql, [value for _, values in statements for value in values])]
    with connection.cursor() as cursor:
        for statement, values in statements:
            cursor.execute(statement, values)  # type: ignore[arg-type]


def _insert(start: str, rows: Sequence[Sequence[object]], end: str = "") -> tuple[str, list[object]]:
    one = "(" + ", ".join(["%s"] * len(rows[0])) + ")"
    return start + ", ".join([one] * len(rows)) + end, [value for row in rows for value in row]
