"""The copies that an operator makes of an acknowledged act, here or elsewhere: stamped PDFs, bordereau."""

from datetime import date, datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.acts.correspondence import same_act
from dematmp.acts.errors import AccessRefused, ActRefused, GatewayRefused
from dematmp.acts.models import Act
from dematmp.acts.operators import Operator
from dematmp.acts.posting import today
from dematmp.audit.services import append

NOT_YET = "L'acte n'est pas encore acquitté : il n'a ni tampon ni bordereau."
CANCELLED = "L'acte est annulé : sa publication ne se dit plus."


def _number(act: Act, operator: Operator) -> int:
    sent = act.transmission
    if sent.remote_id is None or sent.acknowledged_at is None:
        raise GatewayRefused(NOT_YET)
    same_act(act, operator)  # nothing is read under a number that is another act's
    return sent.remote_id


def stamped(act: Act, rank: int, operator: Operator) -> bytes:
    """The document (1) or an annex (2 and more) as a stamped PDF.

    Raises GatewayRefused (not acknowledged, not a PDF), GatewayUnavailable, MessageRefused.
    """
    return operator.stamped(_number(act, operator), rank, published=act.published_on)


def bordereau(act: Act, operator: Operator) -> bytes:
    """Raises GatewayRefused, GatewayUnavailable, MessageRefused."""
    return operator.bordereau(_number(act, operator))


def publish(act: Act, *, on: date, by: User, now: datetime) -> None:
    """Say when the act was published or notified (CGCT L2131-1): stamps bear it, and it may change.

    Raises AccessRefused; ActRefused: not acknowledged, cancelled, before its decision, or in the future.
    """
    if act.buyer is None or not (by.has_role("agent", act.buyer) or by.has_role("validator", act.buyer)):
        raise AccessRefused("Seuls les agents de l'acheteur disent quand l'acte a été publié.")
    if act.transmission.acknowledged_at is None:
        raise ActRefused(NOT_YET)
    if act.transmission.cancelled_at is not None:
        raise ActRefused(CANCELLED)
    if on > today(now):
        raise ActRefused("La date de publication est dans le futur.")
    if on < act.decided_on:
        raise ActRefused(f"L'acte est du {act.decided_on:%d/%m/%Y} : il n'a pas été publié avant.")
    with transaction.atomic():
        if Act.objects.filter(pk=act.pk).exclude(published_on=on).update(published_on=on):
            record: dict[str, object] = {"act": str(act.uuid), "by": str(by.uuid), "on": on.isoformat()}
            append("act-published", record, consultation=act.consultation_uuid, now=now)
