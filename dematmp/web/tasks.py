"""The programs that the pages serve, told in the journal each time they change."""

import json

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from dematmp.audit.models import Entry
from dematmp.audit.services import append
from dematmp.web.templatetags.assets import sha256_of

PROGRAMS = (
    "site",
    "deposit",
    "deposit-worker",
    "preflight-worker",
    "preflight-pdf",
    "committee",
    "committee-worker",
)


@shared_task
def journal_client_code() -> None:
    """An entry « client-code » with the SHA-256 of each program, unless the last one says the same."""
    served = {name: sha256_of(f"build/{name}.js") for name in PROGRAMS}
    last = Entry.objects.filter(kind="client-code").order_by("-index").first()
    if last is not None and json.loads(bytes(last.record)) == served:
        return
    with transaction.atomic():
        append("client-code", served, now=timezone.now())
