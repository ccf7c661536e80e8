"""The committee's page of a new sharing of the same keys."""

import uuid

from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from dematmp.opening import renewals
from dematmp.opening.models import Ceremony
from dematmp.web.access import MemberRequest, holds
from dematmp.web.committee import program, protectors_of, shown


@require_safe
@holds("member")
@ensure_csrf_cookie
def renewal(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """What is asked of a former or of a new holder, and where the others are."""
    mine = Q(holders__user=request.user) | Q(renews__holders__user=request.user)
    here = Q(
        renews__consultation__uuid=consultation,
        renews__consultation__buyer__in=request.user.organisations("member"),
    )
    found = Ceremony.objects.filter(mine, here, former_of=None, confirmed_at=None).distinct().first()
    if found is None or found.renews is None or found.bearer is None:
        raise Http404
    holders = list(found.holders.select_related("user").order_by("index"))
    formers = list(found.renews.holders.select_related("user").order_by("index"))
    former = next((each for each in formers if each.user == request.user), None)
    new = next((each for each in holders if each.user == request.user), None)
    staying = {each.user_id for each in holders}
    lenders = renewals.lenders(found)
    # Before the shares are dealt again my protectors are those of the former ceremony, then of the new one.
    of = found if found.recorded_at else found.renews
    context = {
        "consultation": found.bearer,
        "renewal": found,
        "holders": holders,
        "leavers": [str(each.user) for each in formers if each.user_id not in staying],
        "former": former,
        "new": new,
        "needed": found.renews.threshold,
        "lenders": lenders,
        "lent": former is not None and former.index in lenders,
        "enough": len(lenders) >= found.renews.threshold,
        "new_protectors": shown(new.protectors.kept()) if new else [],
        **protectors_of(request.user, of),
        **program(request),
    }
    return render(request, "committee/renewal.html", context)
