"""All that « journal verify » verifies: the tree, every checkpoint and token, what rooms above hold of it.

While others append: everything is read in one state of the database, and the copy and the mark before it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dematmp.audit import copies, services
from dematmp.audit.checkpoints import check_published
from dematmp.audit.ledger import snapshot
from dematmp.audit.tokens import check_tokens

# What a room above verifies of its own rows, and says of them in French. Each raises JournalBroken.
Check = Callable[[], str]
_checks: list[Check] = []


@dataclass(frozen=True)
class Verified:
    """How much was verified: entries, public checkpoints, files of the copy, and what the rooms said."""

    size: int
    published: int
    compared: int
    said: tuple[str, ...]


def also(check: Check) -> Check:
    """Verify this too, from now on."""
    if check not in _checks:
        _checks.append(check)
    return check


def verify_all() -> Verified:
    """Rebuild and compare everything. Raises JournalBroken, StorageError, SigningError, ValueError."""
    with snapshot():
        size = services.verify()
        published = check_published(size)
        said = (f"{check_tokens()} jetons d'horodatage", *(check() for check in _checks))
    return Verified(size, published, copies.compare(), said)
