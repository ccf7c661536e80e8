"""What every page knows."""

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from dematmp.accounts.models import User


def site(request: HttpRequest) -> dict[str, object]:
    """Site name, the server's clock (the one that binds) and the spaces that this person may enter."""
    user = getattr(request, "user", None)
    roles: set[str] = set()
    if isinstance(user, User):
        roles = set(user.memberships.order_by("pk").values_list("role", flat=True))
    return {
        "site_name": settings.SITE_NAME,
        "time_zone": settings.TIME_ZONE,
        "operator_name": settings.OPERATOR_NAME,
        "contact": settings.CONTACT,
        "server_now": timezone.now(),
        "spaces": {
            "buyer": bool(roles & {"agent", "validator"}),
            "committee": "member" in roles,
            "bidder": bool(roles & {"administrator", "bidder"}),
            "prefecture": "controller" in roles,
        },
    }
