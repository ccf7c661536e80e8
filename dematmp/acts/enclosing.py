"""What a mail about a transaction carries: the ministry's answer, the record, the stamped files if asked.

Made when the mail leaves (`mails.services.store`), so that no file is kept twice.
"""

from collections.abc import Iterator

from dematmp.acts import statuses
from dematmp.acts.bordereau import render_bordereau
from dematmp.acts.fields import PDF
from dematmp.acts.stamp import stamped
from dematmp.acts.transactions import ACT, Transaction
from storage.stores import object_store

BYTES = 5 * 1024**2  # of all that one mail encloses (7 MiB in base64): many a mail server refuses 10 MB


def of(transaction: int) -> Iterator[tuple[str, bytes, str]]:
    """(name, bytes, media type) of each file, for the state that the transaction is in now.

    `BYTES` in all: what would exceed it is left out, and stays on the transaction's page.
    """
    left = BYTES
    for name, data, kind in _all(transaction):
        if len(data) <= left:
            left -= len(data)
            yield name, data, kind


def _all(transaction: int) -> Iterator[tuple[str, bytes, str]]:
    found = Transaction.objects.select_related("authority", "agent").get(pk=transaction)
    answer = found.steps.exclude(flux=None).order_by("-pk").first()
    if answer is not None:
        name = f"{found.unique_id}-{found.type}-{found.pk}-reponse.xml"
        yield name, bytes(answer.flux or b""), "application/xml"
    if found.type == ACT and found.last_step(statuses.ACKNOWLEDGED) is not None:
        yield "bordereau_acquittement.pdf", render_bordereau(found), "application/pdf"
        if found.send_sources:
            yield from _sources(found)


def _sources(found: Transaction) -> Iterator[tuple[str, bytes, str]]:
    """The document and its annexes, stamped where they are PDF; one too heavy is not even read."""
    for each in found.files.filter(rank__gte=1, size__lte=BYTES).order_by("rank"):
        is_pdf = each.media_type == PDF
        data = stamped(each, published=None) if is_pdf else object_store().read(each.key)
        yield each.posted_name, data, each.media_type
