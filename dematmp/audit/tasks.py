"""The journal's copy, in the background."""

import logging

from celery import shared_task
from django.utils import timezone

from dematmp.audit.checkpoints import complete, publish
from dematmp.audit.clock import alarm
from dematmp.audit.copies import copy
from dematmp.audit.errors import AuditError
from dematmp.audit.tokens import stamp_entries
from storage.errors import StorageError

log = logging.getLogger(__name__)


@shared_task
def copy_journal() -> None:
    """Look at the clock, publish the latest checkpoint, ask for tokens, copy what is new to the store.

    The next run tries what failed.
    """
    alarm()
    now = timezone.now()
    kept = publish(now=now)
    if kept is not None:
        complete(kept, now=now)
    stamp_entries(timezone.now)
    try:
        copy()
    except (AuditError, StorageError) as failed:
        log.error("journal : %s", failed)
