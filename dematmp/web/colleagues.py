"""The people of an organisation: who has which role, who is invited."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from dematmp.accounts.errors import AccountError
from dematmp.accounts.models import Invitation, Membership, Organisation
from dematmp.accounts.rules import MANAGERS
from dematmp.accounts.services import accept, invite, take_role
from dematmp.web.access import MemberRequest, holds, signed_in
from dematmp.web.errors import explain
from dematmp.web.forms import InvitationForm


def _managed(request: MemberRequest, organisation: uuid.UUID) -> Organisation:
    """An organisation whose people this person manages, or 404."""
    found = Organisation.objects.filter(uuid=organisation).first()
    if found is None or not request.user.has_role(MANAGERS[found.kind], found):
        raise Http404
    return found


@require_http_methods(["GET", "POST"])
@holds(*MANAGERS.values())
def colleagues(request: MemberRequest, organisation: uuid.UUID) -> HttpResponse:
    """Who works for the organisation here, and the form that invites one more."""
    found = _managed(request, organisation)
    form = InvitationForm(request.POST or None, kind=found.kind)
    if request.method == "POST" and form.is_valid():
        email, role = form.cleaned_data["email"], form.cleaned_data["role"]
        try:
            invite(found, email=email, role=role, by=request.user, now=timezone.now())
        except AccountError as refused:
            explain(form, refused)
        else:
            messages.success(request, f"L'invitation part à {email}.")
            return redirect("colleagues", organisation=found.uuid)
    context = {
        "organisation": found,
        "form": form,
        "memberships": found.memberships.select_related("user").order_by("user__last_name", "role", "pk"),
        "invitations": found.invitations.waiting().order_by("pk"),
    }
    return render(request, "account/colleagues.html", context, status=400 if form.errors else 200)


@require_POST
@holds(*MANAGERS.values())
def dismiss(request: MemberRequest, organisation: uuid.UUID, membership: int) -> HttpResponse:
    """Take a role away."""
    found = Membership.objects.filter(pk=membership, organisation=_managed(request, organisation)).first()
    if found is None:
        raise Http404
    take_role(found, by=request.user, now=timezone.now())
    messages.success(request, f"{found.user} n'a plus le rôle « {found.get_role_display()} ».")
    if found.user == request.user:
        return redirect("space")
    return redirect("colleagues", organisation=organisation)


@require_POST
@holds(*MANAGERS.values())
def cancel(request: MemberRequest, organisation: uuid.UUID, invitation: uuid.UUID) -> HttpResponse:
    """Withdraw an invitation that nobody accepted yet."""
    _managed(request, organisation).invitations.waiting().filter(uuid=invitation).delete()
    messages.success(request, "L'invitation est retirée.")
    return redirect("colleagues", organisation=organisation)


@require_POST
@signed_in
def join(request: MemberRequest, invitation: uuid.UUID) -> HttpResponse:
    """Accept an invitation sent to one's own confirmed address."""
    found = Invitation.objects.for_person(request.user).filter(uuid=invitation).first()
    if found is None:
        raise Http404
    accept(found, by=request.user, now=timezone.now())
    messages.success(request, f"Vous avez rejoint {found.organisation}.")
    return redirect("space")
