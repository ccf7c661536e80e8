"""One process at a time does what takes long, on whichever machine it runs."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection
from filelock import FileLock, Timeout


@contextmanager
def alone(what: str, of: uuid.UUID) -> Iterator[bool]:
    """False when another process has it: on this machine (a file), or on another (PostgreSQL's own lock).

    Both are given back by a process that dies.
    """
    try:
        with FileLock(Path(settings.STATE_DIR) / f"{what}-{of}.lock", timeout=0):
            if connection.vendor != "postgresql":
                yield True
                return
            number = int.from_bytes(of.bytes[:8], signed=True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
                taken = bool(cursor.fetchone()[0])
            try:
                yield taken
            finally:
                if taken:
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
    except Timeout:
        yield False
