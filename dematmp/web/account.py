"""A person's space: what they may enter, their company, their access tokens."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.accounts.errors import AccountError
from dematmp.accounts.models import ApiToken, Invitation, Organisation
from dematmp.accounts.rules import MANAGERS
from dematmp.accounts.services import issue_token, register_company, revoke_token
from dematmp.web.access import MemberRequest, signed_in
from dematmp.web.errors import explain
from dematmp.web.forms import CompanyForm, TokenForm


@require_safe
@signed_in
def space(request: MemberRequest) -> HttpResponse:
    """The rooms that this person may enter."""
    memberships = request.user.memberships.select_related("organisation").order_by(
        "organisation__name", "role"
    )
    context = {
        "memberships": memberships,
        "invitations": Invitation.objects.for_person(request.user)
        .select_related("organisation", "invited_by")
        .order_by("pk"),
        "administered": [
            each.organisation for each in memberships if each.role == MANAGERS[each.organisation.kind]
        ],
    }
    return render(request, "account/space.html", context)


@require_http_methods(["GET", "POST"])
@signed_in
def new_company(request: MemberRequest) -> HttpResponse:
    """Register one's company: its first person is its administrator."""
    form = CompanyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        try:
            register_company(
                request.user,
                name=asked["name"],
                siret=asked["siret"] or None,
                country=asked["country"],
                foreign_number=asked["foreign_number"],
                now=timezone.now(),
            )
        except AccountError as refused:
            explain(form, refused)
        else:
            wanted = request.GET.get("next", "")
            local = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
            return redirect(wanted if local else "space")
    return render(request, "account/new_company.html", {"form": form}, status=400 if form.errors else 200)


@never_cache
@require_http_methods(["GET", "POST"])
@signed_in
def tokens(request: MemberRequest) -> HttpResponse:
    """Access tokens of the command line; a new one is shown once."""
    mine = Organisation.objects.filter(memberships__user=request.user).distinct().order_by("name")
    form = TokenForm(request.POST or None, organisations=mine)
    shown = ""
    if request.method == "POST" and form.is_valid():
        shown = issue_token(
            request.user,
            form.cleaned_data["organisation"],
            label=form.cleaned_data["label"],
            now=timezone.now(),
        )
        form = TokenForm(organisations=mine)
    live = request.user.tokens.filter(revoked_at=None).select_related("organisation").order_by("-created_at")
    context = {"form": form, "tokens": live, "shown": shown, "organisations": mine}
    return render(request, "account/tokens.html", context, status=400 if form.errors else 200)


@require_POST
@signed_in
def revoke(request: MemberRequest, token: int) -> HttpResponse:
    found = ApiToken.objects.filter(pk=token, user=request.user).first()
    if found is None:
        raise Http404
    revoke_token(found, now=timezone.now())
    return redirect("tokens")
