"""Scanning, in the worker."""

import secrets
from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from dematmp.audit.rows import each_row
from dematmp.audit.services import pad
from dematmp.consultations import documents
from dematmp.consultations.documents import outdated, scan_version
from dematmp.consultations.models import Consultation, DocumentVersion
from storage.antivirus import answers, current_engines
from storage.errors import StorageError

_SELDOM, _OFTEN = 10, 60  # chances in a hundred, every fifteen seconds


@shared_task
def scan_document(version_id: int) -> None:
    """Scan; an antivirus that does not answer leaves the row pending for the sweep."""
    try:
        scan_version(version_id, now=timezone.now())
    except StorageError:
        return


@shared_task
def pad_journal() -> None:
    """Dummy entries at random times while bids are received, more of them in the last hour.

    A checkpoint is published each minute: without these, its growth would count the deposits of that minute.
    """
    now = timezone.now()
    if not Consultation.objects.real().receiving(now=now).exists():
        return
    closing = Consultation.objects.real().closing(now=now, within=timedelta(hours=1)).exists()
    if secrets.randbelow(100) < (_OFTEN if closing else _SELDOM):
        pad(now=now)


@shared_task
def journal_withdrawals() -> None:
    """The register of downloads enters the journal, each consultation by itself."""
    waiting = Consultation.objects.filter(withdrawals__entry=None, withdrawals__isnull=False)
    rows = Consultation.objects.filter(pk__in=waiting.values("pk")).order_by("?")[:200]
    each_row(rows, lambda row: documents.journal_withdrawals(row, now=timezone.now()))


@shared_task
def rescan() -> None:
    """After an update of the signatures, what was received lately is scanned again."""
    now = timezone.now()
    if engines := current_engines():
        outdated_versions = outdated(engines, now=now).order_by("?").values_list("pk", flat=True)
        each_row(outdated_versions[:500], scan_document)


@shared_task
def sweep() -> None:
    """Scan what a lost task or a silent antivirus left pending."""
    waiting = DocumentVersion.objects.filter(verdict="pending").order_by("?").values_list("pk", flat=True)
    if waiting and answers():  # each file would wait for a daemon that is away
        each_row(waiting[:50], scan_document)
