"""Small things that several pages need: what a person may see of a consultation, page numbers, downloads."""

import uuid
from typing import TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.http import content_disposition_header

from dematmp.accounts.models import User
from dematmp.consultations.models import Consultation

PER_PAGE = 20
M = TypeVar("M", bound=Model)


def published(consultation: uuid.UUID) -> Consultation:
    """A published consultation, or 404."""
    found = Consultation.objects.public().select_related("buyer").filter(uuid=consultation).first()
    if found is None:
        raise Http404
    return found


def of_buyer(user: User, consultation: uuid.UUID, *roles: str) -> Consultation:
    """A consultation of a buyer for which this person holds one of these roles, or 404."""
    mine = Consultation.objects.filter(
        uuid=consultation, buyer__memberships__user=user, buyer__memberships__role__in=roles
    )
    found = mine.select_related("buyer").distinct().first()
    if found is None:
        raise Http404
    return found


def page_of(request: HttpRequest, rows: QuerySet[M], *, per_page: int = PER_PAGE) -> Page[M]:
    """The page asked for; a number out of range gives the nearest one."""
    return Paginator(rows, per_page).get_page(request.GET.get("page"))


def document(data: bytes, *, name: str, content_type: str) -> HttpResponse:
    """A small document of the platform's own making (PDF or JSON)."""
    response = HttpResponse(data, content_type=content_type)
    response["Content-Disposition"] = (
        content_disposition_header(as_attachment=True, filename=name) or "attachment"
    )
    return response
