"""The objects of the store that acts know of, for `manage.py storage fsck`."""

from collections.abc import Iterator

from dematmp.acts.models import Act, ActPiece, IncludedFile, PrefectureLetter, ReturnMail, Transmission
from dematmp.acts.transactions import Transaction
from dematmp.opening.reconciliation import Holding

_RETURNS = "acts/returns/"


def held() -> Iterator[Holding]:
    """Every object that a row names; all that came with a mail of the ministry belongs to that mail."""
    acts = Act.objects.order_by("pk").values_list("document_key", "document_size", "document_sha256")
    pieces = ActPiece.objects.order_by("pk").values_list("key", "size", "sha256")
    for rows in (acts, pieces):
        for key, size, sha256 in rows.iterator():
            yield Holding(key, size, sha256)
    sent = Transaction.objects.exclude(archive_key="").order_by("pk")
    for key, size in sent.values_list("archive_key", "archive_size").iterator():
        yield Holding(key, size or None)
    for key, size, sha256 in (
        IncludedFile.objects.exclude(key="").order_by("pk").values_list("key", "size", "sha256").iterator()
    ):
        yield Holding(key, size, sha256)
        if key.startswith(_RETURNS):
            yield Holding(f"{key.rpartition('/')[0]}/")
    archives = Transmission.objects.exclude(archive_key="").values_list("archive_key", flat=True)
    letters = PrefectureLetter.objects.values_list("archive_key", flat=True)
    for keys in (archives.order_by("pk"), letters.order_by("pk")):
        for key in keys.iterator():
            yield Holding(key)
    for key, sha256 in ReturnMail.objects.order_by("pk").values_list("key", "sha256").iterator():
        yield Holding(key)
        yield Holding(f"{_RETURNS}{sha256}/")
