"""The longest journal that this machine saw committed, kept beside the keys.

The copy in the object store is a minute behind: a database restored to less than a minute ago is seen here.
No backup of the database takes this file back.
"""

import fcntl
import logging
import os
from pathlib import Path

from django.conf import settings

from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import former_verifiers, journal_signer
from signing import tlog
from signing.errors import SigningError
from signing.notes import verify_note

log = logging.getLogger(__name__)
_NAME = "journal.seen"
_LIMIT = 4096  # bytes of a checkpoint
_SIZE_LINE = 1
OR = " (« After restoring the database », deploy/UPGRADE.md, si elles sont perdues)"


def _path() -> Path:
    return Path(settings.SECRETS_DIR) / _NAME


def _text() -> str:
    """What is kept. Raises OSError."""
    return _path().read_bytes()[:_LIMIT].decode(errors="replace")


def _size(note: str) -> int:
    """The size that a checkpoint says; 0 for half of one (a power cut), or for a former journal's."""
    lines = note.split("\n", 2)
    if lines[0] != settings.JOURNAL_ORIGIN and any(
        lines[0] == each.split("+", 1)[0] for each in former_verifiers()
    ):
        return 0
    text = lines[_SIZE_LINE] if len(lines) > _SIZE_LINE else ""
    return int(text) if text.isascii() and text.isdigit() else 0


def remember(note: str) -> None:
    """After the commit: keep this checkpoint, unless a longer one is kept. A bad disk refuses no deposit."""
    try:
        descriptor = os.open(_path(), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as failed:
        log.warning("journal : %s ne s'écrit pas (%s)", _NAME, failed)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _size(os.pread(descriptor, _LIMIT, 0).decode(errors="replace")) < _size(note):
            data = note.encode()
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
    except OSError as failed:
        log.warning("journal : %s ne s'écrit pas (%s)", _NAME, failed)
    finally:
        os.close(descriptor)


def refuse_less(size: int) -> None:
    """Refuse a journal shorter than what was committed here. Raises JournalBroken."""
    try:
        seen = _size(_text())
    except OSError:  # none yet
        return
    if size < seen:
        raise JournalBroken(
            f"La base a {size} entrées, cette machine en a vu {seen} : la base a été restaurée d'une "
            "sauvegarde ancienne. Rien n'est signé tant que les entrées manquantes ne sont pas "
            f"retrouvées{OR}."
        )


def text() -> str:
    """The checkpoint seen last, whichever journal's; empty when there is none."""
    try:
        return _text()
    except OSError:
        return ""


def last() -> tlog.Checkpoint | None:
    """What was seen last; None when there is none yet, or one of another key, or half of one."""
    try:
        return tlog.Checkpoint.parse(verify_note(_text(), journal_signer().verifier_key))
    except (OSError, ValueError, SigningError):
        return None
