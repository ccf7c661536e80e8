"""The copies that an operator makes of an acknowledged act, here or elsewhere: stamped PDFs, bordereau."""

from dematmp.acts.correspondence import same_act
from dematmp.acts.errors import GatewayRefused
from dematmp.acts.models import Act
from dematmp.acts.operators import Operator

NOT_YET = "L'acte n'est pas encore acquitté : il n'a ni tampon ni bordereau."


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
    return operator.stamped(_number(act, operator), rank)


def bordereau(act: Act, operator: Operator) -> bytes:
    """Raises GatewayRefused, GatewayUnavailable, MessageRefused."""
    return operator.bordereau(_number(act, operator))
