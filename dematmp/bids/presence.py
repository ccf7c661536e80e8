"""Whether the store that answers is the one of the deposits: it holds the mark that was left there.

A folder whose disk is not mounted, or another bucket, is empty and answers: what it does not have is not
lost, and nothing is to be written there.
"""

from django.utils import timezone

from dematmp.bids.models import StoreMark
from storage.errors import StoreUnavailable
from storage.stores import object_store

KEY = "sealed/presence"  # where sealed objects are: in their own bucket when they have one


def leave() -> None:
    """Left the first time, then by `storage setup` alone: an operator says that an empty store is the one."""
    object_store().put(KEY, b"dematmp\n")


def is_left() -> bool:
    """Whether the store that answers has the mark. Raises StoreUnavailable."""
    return object_store().exists(KEY)


def is_lost() -> bool:
    """Whether a mark was left, and is not in the store that answers. Raises StoreUnavailable."""
    return StoreMark.objects.exists() and not is_left()


def check() -> None:
    """Raises StoreUnavailable when the mark is not where it was left."""
    if not StoreMark.objects.exists():
        leave()  # before its row: a crash between the two only leaves it again
        StoreMark.objects.create(left_at=timezone.now())
    elif is_lost():
        raise StoreUnavailable(
            "Le stockage qui répond n'est pas celui des dépôts : disque non monté, ou autre compartiment."
        )
