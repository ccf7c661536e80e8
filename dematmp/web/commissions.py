"""The commissions that a buyer keeps."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.accounts.errors import AccountError
from dematmp.accounts.models import Commission, Organisation, User
from dematmp.accounts.services import keep_commission
from dematmp.web.access import MemberRequest, holds
from dematmp.web.buyer_forms import CommissionForm
from dematmp.web.errors import explain


def _buyer(request: MemberRequest, buyer: uuid.UUID) -> Organisation:
    found = request.user.organisations("agent").filter(uuid=buyer).first()
    if found is None:
        raise Http404
    return found


@require_safe
@holds("agent")
def commission_list(request: MemberRequest) -> HttpResponse:
    """The commissions of the buyers for which this person works."""
    buyers = request.user.organisations("agent").order_by("name")
    rows = [(buyer, buyer.commissions.prefetch_related("seats__user").order_by("name")) for buyer in buyers]
    return render(request, "buyer/commissions.html", {"rows": rows})


@require_http_methods(["GET", "POST"])
@holds("agent")
def commission(request: MemberRequest, buyer: uuid.UUID, commission: uuid.UUID | None = None) -> HttpResponse:
    """Make one, or change it."""
    found = _buyer(request, buyer)
    known = found.commissions.filter(uuid=commission).first() if commission else None
    if commission and known is None:
        raise Http404
    members = User.objects.filter(memberships__organisation=found, memberships__role="member")
    form = CommissionForm(
        request.POST or None, members=members.distinct().order_by("last_name", "pk"), initial=_initial(known)
    )
    if request.method == "POST" and form.is_valid():
        try:
            kept = keep_commission(
                found, by=request.user, now=timezone.now(), commission=known, **form.cleaned_data
            )
        except AccountError as refused:
            explain(form, refused)
        else:
            messages.success(request, f"« {kept.name} » est enregistrée.")
            return redirect("commissions")
    context = {"form": form, "buyer": found, "known": known, "nobody": not members.exists()}
    return render(request, "buyer/commission.html", context, status=400 if form.errors else 200)


def _initial(known: Commission | None) -> dict[str, object]:
    if known is None:
        return {}
    seats = list(known.seats.select_related("user").order_by("deputy", "pk"))
    return {
        "name": known.name,
        "threshold": known.threshold,
        "president": known.president.uuid if known.president else None,
        "members": [seat.user.uuid for seat in seats if not seat.deputy],
        "deputies": [seat.user.uuid for seat in seats if seat.deputy],
    }


@require_POST
@holds("agent")
def remove(request: MemberRequest, buyer: uuid.UUID, commission: uuid.UUID) -> HttpResponse:
    """Forget a commission; no consultation changes."""
    _buyer(request, buyer).commissions.filter(uuid=commission).delete()
    messages.success(request, "La commission est supprimée ; aucune consultation ne change.")
    return redirect("commissions")
