"""Scanning, in the worker."""

from celery import shared_task
from django.utils import timezone

from dematmp.consultations.documents import scan_version
from dematmp.consultations.models import DocumentVersion
from storage.errors import AntivirusUnavailable


@shared_task
def scan_document(version_id: int) -> None:
    """Scan; an antivirus that does not answer leaves the row pending for the sweep."""
    try:
        scan_version(version_id, now=timezone.now())
    except AntivirusUnavailable:
        return


@shared_task
def sweep() -> None:
    """Scan what a lost task or a silent antivirus left pending."""
    for version_id in (
        DocumentVersion.objects.filter(verdict="pending").order_by("pk").values_list("pk", flat=True)[:50]
    ):
        scan_document(version_id)
