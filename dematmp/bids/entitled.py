"""Who could act for a company at an instant: a pass to the backup channel outlives the role behind it."""

import json
from datetime import datetime

from dematmp.accounts.models import Membership, Organisation, User
from dematmp.audit.models import Entry

_ROLES = frozenset({"administrator", "bidder"})


def could_bid(user: User, company: Organisation, *, at: datetime) -> bool:
    """Whether this person held a role that deposits and withdraws for this company at that instant.

    The roles of today, and what the journal says was given or taken since.
    """
    rows = Membership.objects.filter(user=user, organisation=company, role__in=_ROLES)
    held = set(rows.order_by("pk").values_list("role", flat=True))
    since = Entry.objects.filter(kind__in=("role-given", "role-taken"), subject=user.uuid, at__gt=at)
    for entry in since.order_by("-index"):
        said = json.loads(bytes(entry.record))
        if said["organisation"] != str(company.uuid) or said["role"] not in _ROLES:
            continue
        if entry.kind == "role-taken":
            held.add(said["role"])
        else:
            held.discard(said["role"])
    return bool(held)


def administrators(company: Organisation) -> list[str]:
    """The addresses of who answers for this company."""
    people = User.objects.filter(
        memberships__organisation=company, memberships__role="administrator", is_active=True
    )
    return [each.email for each in people.distinct().order_by("pk") if not each.is_robot]
