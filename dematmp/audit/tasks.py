"""The journal's copy, in the background."""

import logging

from celery import shared_task

from dematmp.audit.copies import copy
from dematmp.audit.errors import AuditError
from storage.errors import StorageError

log = logging.getLogger(__name__)


@shared_task
def copy_journal() -> None:
    """Copy what is new to the object store; what fails is tried again by the next run."""
    try:
        copy()
    except (AuditError, StorageError) as failed:
        log.error("journal : %s", failed)
