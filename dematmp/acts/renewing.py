"""The ministry's codes are asked for again each month, for the buyers that transmit from here."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from dematmp.acts import follow_ups
from dematmp.acts.errors import ActRefused, GatewayRefused
from dematmp.acts.models import OperatorAccount
from dematmp.acts.operators import operator_of
from dematmp.acts.subscribers import Agent
from dematmp.acts.transactions import ACT, CLASSIFICATION, Transaction
from dematmp.audit.rows import each_row

log = logging.getLogger(__name__)
EVERY = timedelta(days=30)


def accounts_due(now: datetime) -> QuerySet[OperatorAccount]:
    """Buyers' accounts elsewhere through which the codes were not asked for lately."""
    late = Q(codes_asked_at=None) | Q(codes_asked_at__lte=now - EVERY)
    return OperatorAccount.objects.filter(late).select_related("buyer")


def robots_due(now: datetime) -> QuerySet[Agent]:
    """The accounts by which the platform transmits itself, whose authority did not ask lately."""
    asked = Transaction.objects.filter(
        authority=OuterRef("authority"), type=CLASSIFICATION, created_at__gt=now - EVERY
    )
    sent = Transaction.objects.filter(agent=OuterRef("pk"), type=ACT, created_at__gt=now - 12 * EVERY)
    robots = Agent.objects.active().filter(login="", fingerprint="").select_related("authority")
    return robots.filter(Exists(sent), ~Exists(asked))


def ask(now: datetime) -> None:
    """Ask where it is due. May run twice: the service refuses a second request of the same day."""

    def remote(account: OperatorAccount) -> None:
        operator = operator_of(account.buyer, now=now)
        try:
            if operator is not None:
                operator.request_classification()
        except GatewayRefused as refused:  # asked by another software of the same authority
            log.info("classification de %s : %s", account.buyer, refused)
        OperatorAccount.objects.filter(pk=account.pk).update(codes_asked_at=now)

    def local(robot: Agent) -> None:
        try:
            follow_ups.request_classification(robot, now=now)
        except ActRefused as refused:
            log.info("classification de %s : %s", robot.authority, refused)

    each_row(accounts_due(now).order_by("pk")[:100], remote)
    if settings.ACTES["ministry_url"]:
        each_row(robots_due(now).order_by("pk")[:100], local)
