"""The journal's five statements, in plain SQL: every deposit waits for them behind the head's lock.

The same on PostgreSQL and SQLite. Through the ORM, building these queries took half of an append. PostgreSQL
is asked twice, two statements then three: each answer that one waits for, all who append wait for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.db import connection, transaction

from dematmp.audit.models import Entry, Head

_HEAD = "SELECT size FROM audit_head WHERE id = 1"
_LOCKED = f"{_HEAD} FOR NO KEY UPDATE"
_EDGE = 'SELECT level, "index", hashes FROM audit_tile WHERE '
_MOVE_HEAD = "UPDATE audit_head SET size = %s, note = %s WHERE id = 1"
_INSERT_ENTRY = (
    'INSERT INTO audit_entry ("index", kind, consultation, subject, at, leaf, record, nonce) VALUES '
)
_ENTRY = ("index", "kind", "consultation", "subject", "at", "leaf", "record", "nonce")
_FIELDS = {field.name: field for field in Entry._meta.concrete_fields}
_last_size = 1  # of the journal when this process last locked it: where its edge is looked for first


def _values(entry: Entry) -> list[object]:
    """What the database driver takes for its fields."""
    return [_FIELDS[name].get_db_prep_save(getattr(entry, name), connection) for name in _ENTRY]


def _bytes(value: bytes) -> object:
    return _FIELDS["leaf"].get_db_prep_save(value, connection)


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
    global _last_size
    if not _at_once():
        size = locked_head()
        return size, edge(size, width)
    asked = _places(_last_size, width)
    with connection.cursor() as cursor:
        # Read after the lock, by a statement of its own: it sees what was committed meanwhile.
        cursor.execute(f"{_LOCKED}; {_EDGE}{_where(asked)}", _flat(asked))
        row = cursor.fetchone()
        cursor.nextset()
        tiles = _tiles(cursor.fetchall())
    if row is None:
        Head.objects.get_or_create(pk=1)
        return locked_edge(width)
    size = int(row[0])
    _last_size = max(size, 1)
    # The edge is elsewhere once in 256 appends, and when others appended meanwhile.
    return size, tiles if set(_places(size, width)) <= set(asked) else edge(size, width)


def _places(size: int, width: int) -> list[tuple[int, int]]:
    """Level and index of the last tile of each level of a journal of `size` entries."""
    places, level, count = list[tuple[int, int]](), 0, size
    while count:
        places.append((level, (count - 1) // width))
        level, count = level + 1, count // width
    return places


def _where(places: Sequence[tuple[int, int]]) -> str:
    return " OR ".join(['(level = %s AND "index" = %s)'] * len(places))


def _flat(places: Sequence[tuple[int, int]]) -> list[int]:
    return [value for pair in places for value in pair]


def _tiles(rows: Sequence[tuple[int, int, bytes]]) -> dict[tuple[int, int], bytes]:
    return {(level, index): bytes(hashes) for level, index, hashes in rows}


def edge(size: int, width: int) -> dict[tuple[int, int], bytes]:
    """The last tile of each level of a journal of `size` entries: all that an append and its proof need."""
    wanted = _places(size, width)
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_EDGE + _where(wanted), _flat(wanted))
        return _tiles(cursor.fetchall())


def write(entries: Sequence[Entry], tiles: Mapping[tuple[int, int], bytes], *, size: int, note: str) -> None:
    """Tiles, entries, then the head."""
    statements = [
        _insert(
            'INSERT INTO audit_tile (level, "index", hashes) VALUES ',
            [[level, index, _bytes(data)] for (level, index), data in tiles.items()],
            ' ON CONFLICT (level, "index") DO UPDATE SET hashes = excluded.hashes',
        ),
        _insert(_INSERT_ENTRY, [_values(entry) for entry in entries]),
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
