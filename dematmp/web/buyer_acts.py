"""The buyer's last steps: award a lot, transmit the act, follow it to its acknowledgement."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.accounts.models import Organisation
from dematmp.acts.files import read_file
from dematmp.acts.models import Act
from dematmp.acts.services import prepare_award_act
from dematmp.awards.models import Award
from dematmp.awards.services import AwardRefused
from dematmp.awards.services import award as award_lot
from dematmp.web.access import MemberRequest, holds
from dematmp.web.buyer_forms import AwardForm
from dematmp.web.errors import explain
from dematmp.web.pages import document, of_buyer


@require_http_methods(["GET", "POST"])
@holds("validator")
def award(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Record the decision on a lot, among the companies whose offer was opened."""
    found = of_buyer(request.user, consultation, "validator")
    session = getattr(found, "opening_session", None)
    if session is None or session.finished_at is None:
        raise Http404
    companies = Organisation.objects.filter(
        attempts__envelopes__opened__session=session, attempts__envelopes__opened__state="opened"
    )
    lots = found.lots.filter(award__isnull=True).order_by("number")
    form = AwardForm(request.POST or None, lots=lots, companies=companies.distinct().order_by("name"))
    if request.method == "POST" and form.is_valid():
        try:
            award_lot(by=request.user, now=timezone.now(), **form.cleaned_data)
        except AwardRefused as refused:
            explain(form, refused)
        else:
            messages.success(request, "L'attribution est enregistrée.")
            return redirect("buyer-consultation", consultation=found.uuid)
    context = {"consultation": found, "form": form, "title": "Attribuer un lot", "action": "Attribuer"}
    return render(request, "buyer/form.html", context, status=400 if form.errors else 200)


@require_POST
@holds("validator")
def transmit(request: MemberRequest, consultation: uuid.UUID, award: int) -> HttpResponse:
    """Prepare the act of an award; the worker transmits it."""
    found = of_buyer(request.user, consultation, "validator")
    decision = Award.objects.filter(pk=award, lot__consultation=found).first()
    if decision is None:
        raise Http404
    act = prepare_award_act(decision, by=request.user, now=timezone.now())
    messages.success(request, "L'acte est prêt ; il part à la préfecture.")
    return redirect("buyer-act", act=act.uuid)


def _act(request: MemberRequest, act: uuid.UUID) -> Act:
    found = (
        Act.objects.of_buyers(request.user).select_related("buyer", "transmission").filter(uuid=act).first()
    )
    if found is None:
        raise Http404
    return found


@require_safe
@holds("agent", "validator")
def act(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """Where the act is, step by step."""
    found = _act(request, act)
    context = {"act": found, "steps": found.transmission.steps.order_by("pk")}
    template = "buyer/_act.html" if request.headers.get("HX-Request") else "buyer/act.html"
    return render(request, template, context)


@require_safe
@holds("agent", "validator")
def act_file(request: MemberRequest, act: uuid.UUID, name: str) -> HttpResponse:
    found = _act(request, act)
    file = read_file(found, name)
    if file is None:
        raise Http404
    return document(file[0], name=f"{found.number}-{name}", content_type=file[1])
