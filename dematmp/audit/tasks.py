"""The journal's copy, in the background."""

import logging

from celery import shared_task
from django.utils import timezone

from dematmp.audit import sealing
from dematmp.audit.checkpoints import catch_up, complete, publish
from dematmp.audit.clock import alarm
from dematmp.audit.copies import copy
from dematmp.audit.corrections import ahead
from dematmp.audit.errors import AuditError
from dematmp.audit.keys import timestamp_authority
from dematmp.audit.tokens import stamp_entries
from storage.errors import StorageError

log = logging.getLogger(__name__)


@shared_task
def copy_journal() -> None:
    """Look at the clock, publish the latest checkpoint, copy what is new to the store, ask for tokens.

    The next run tries what failed.
    """
    now = timezone.now()
    alarm()
    if (by := ahead(now=now)) is not None:
        log.error("l'autorité d'horodatage intégrée est en avance de %s : manage.py timestamps", by)
    if timestamp_authority().is_unreadable():
        log.error(
            "l'autorité d'horodatage intégrée ne sait plus l'heure qu'elle a donnée : manage.py timestamps"
        )
    kept = None
    try:
        kept = publish(now=now)
        copy()
    except (AuditError, StorageError) as failed:
        log.error("journal : %s", failed)
    if kept is not None:  # a slow authority, or witness, delays no copy
        complete(kept, now=now)
    sealing.alarm(now=now)
    stamp_entries(timezone.now)
    catch_up(timezone.now)
