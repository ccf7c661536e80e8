"""The objects of the store that contracts know of, for `manage.py storage fsck`."""

from collections.abc import Iterator

from dematmp.awards.models import ContractVersion
from dematmp.opening.reconciliation import Holding


def held() -> Iterator[Holding]:
    """Every version of every contract."""
    for each in ContractVersion.objects.order_by("pk").values_list("key", "size", "sha256").iterator():
        yield Holding(*each)
