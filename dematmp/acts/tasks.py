"""Transmission in the background; each task may run twice and may be lost."""

import logging
from collections.abc import Callable

from celery import shared_task
from django.utils import timezone

from dematmp.acts import services
from dematmp.acts.errors import ActError
from dematmp.acts.models import Transmission
from dematmp.acts.rules import ERROR
from dematmp.acts.s2low import configured
from dematmp.audit.rows import each_row

log = logging.getLogger(__name__)


def _try(verb: Callable[..., None], act_id: int) -> None:
    gateway = configured()
    if gateway is None:
        return
    try:
        verb(act_id, gateway, now=timezone.now())
    except ActError as failed:
        log.warning("acte %s : %s", act_id, failed)


@shared_task
def transmit_act(act_id: int) -> None:
    """Post one act."""
    _try(services.transmit, act_id)


@shared_task
def sweep() -> None:
    """What a lost task or an operator that was down left undone, and what awaits its acknowledgement."""
    waiting = Transmission.objects.filter(acknowledged_at=None).exclude(steps__status=ERROR).order_by("pk")
    each_row(waiting[:500], _continue)


def _continue(transmission: Transmission) -> None:
    _try(services.poll if transmission.remote_id else services.transmit, transmission.act_id)
