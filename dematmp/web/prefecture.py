"""The control authority's pages: acts received from the buyers of its territory."""

import uuid

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dematmp.acts.files import read_file
from dematmp.acts.models import Act
from dematmp.web.access import MemberRequest, holds
from dematmp.web.pages import document, page_of


@require_safe
@holds("controller")
def act_list(request: MemberRequest) -> HttpResponse:
    """Acknowledged acts of the territory, the latest first."""
    rows = Act.objects.received_by(request.user).select_related("buyer", "transmission")
    page = page_of(request, rows.order_by("-transmission__acknowledged_at", "-pk"))
    return render(request, "prefecture/list.html", {"page": page})


def _act(request: MemberRequest, act: uuid.UUID) -> Act:
    found = (
        Act.objects.received_by(request.user).select_related("buyer", "transmission").filter(uuid=act).first()
    )
    if found is None:
        raise Http404
    return found


@require_safe
@holds("controller")
def act(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    return render(request, "prefecture/act.html", {"act": _act(request, act)})


@require_safe
@holds("controller")
def act_file(request: MemberRequest, act: uuid.UUID, name: str) -> HttpResponse:
    """The act's document, the message received, the acknowledgement sent."""
    found = _act(request, act)
    file = read_file(found, name)
    if file is None:
        raise Http404
    return document(file[0], name=f"{found.number}-{name}", content_type=file[1])
