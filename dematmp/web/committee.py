"""The committee's pages: who brought a share, what was opened, the minutes."""

import uuid

from django.conf import settings
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.templatetags.static import static
from django.utils import timezone
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from dematmp.accounts.models import Organisation
from dematmp.consultations.models import Consultation, ConsultationQuerySet
from dematmp.opening.models import OpenedFile, OpeningSession
from dematmp.opening.services import present
from dematmp.web.access import MemberRequest, holds
from dematmp.web.pages import attachment, document, page_of
from dematmp.web.templatetags.assets import sha256_of
from signing.ceremony import fingerprint
from storage.stores import object_store


def _mine(request: MemberRequest) -> ConsultationQuerySet:
    return Consultation.objects.held_by(request.user).select_related("buyer", "ceremony")


def _found(request: MemberRequest, consultation: uuid.UUID) -> Consultation:
    found = _mine(request).filter(uuid=consultation).first()
    if found is None:
        raise Http404
    return found


def _program() -> dict[str, object]:
    """What the forms of a member need: the worker, its digest, the name of the CSRF cookie."""
    worker = "build/committee-worker.js"
    return {
        "worker_url": static(worker),
        "worker_sha256": sha256_of(worker),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }


@require_safe
@holds("member")
@ensure_csrf_cookie
def session_list(request: MemberRequest) -> HttpResponse:
    """Consultations of which this person holds a share."""
    page = page_of(request, _mine(request).soonest_first().reverse())
    buyer = Organisation.objects.filter(memberships__user=request.user, memberships__role="member").first()
    context = {
        "page": page,
        "now": timezone.now(),
        "protectors": request.user.protectors.order_by("pk"),
        "organisation": buyer,
        **_program(),
    }
    return render(request, "committee/list.html", context)


@require_safe
@holds("member")
@ensure_csrf_cookie
def session(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """The session of one consultation: shares, progress, opened files, minutes."""
    found = _found(request, consultation)
    opened = OpeningSession.objects.filter(consultation=found).first()
    holders = found.ceremony.holders.select_related("user").order_by("index")
    here = present(opened) if opened else []
    rows = []
    if opened and opened.released_at:
        envelopes = opened.envelopes.select_related("envelope__attempt__bidder").order_by("pk")
        rows = list(envelopes.prefetch_related("files"))
    done = sum(1 for row in rows for file in row.files.all() if file.done_at)
    total = sum(1 for row in rows for file in row.files.all())
    context = {
        "consultation": found,
        "deadline": found.current_deadline,
        "passed": found.published_at is not None and not found.is_open(now=timezone.now()),
        "session": opened,
        "holders": [(holder, holder.index in here) for holder in holders],
        "present": len(here),
        "rows": rows,
        "files_done": done,
        "files_total": total,
        "site_url": settings.SITE_URL,
        "me": next((holder for holder in holders if holder.user == request.user), None),
        "given": any(holder.user == request.user and holder.index in here for holder in holders),
        "enough": len(here) >= found.ceremony.threshold,
        "fingerprint": fingerprint(found.ceremony_sha256) if found.ceremony_sha256 else "",
        **_program(),
    }
    template = "committee/_session.html" if request.headers.get("HX-Request") else "committee/session.html"
    return render(request, template, context)


@require_safe
@holds("member")
def minutes(request: MemberRequest, consultation: uuid.UUID, form: str) -> HttpResponse:
    """The minutes, as PDF or JSON."""
    opened = OpeningSession.objects.filter(consultation=_found(request, consultation)).first()
    data = (opened.minutes_pdf if form == "pdf" else opened.minutes) if opened else None
    if data is None:
        raise Http404
    return document(bytes(data), name=f"proces-verbal.{form}", content_type=f"application/{form}")


@require_safe
@holds("member")
def opened_file(request: MemberRequest, consultation: uuid.UUID, file: uuid.UUID) -> HttpResponseBase:
    """One opened file, only when the antivirus cleared it."""
    found = OpenedFile.objects.filter(
        uuid=file, opened__session__consultation=_found(request, consultation)
    ).first()
    if found is None or not found.is_served:
        raise Http404
    return attachment(object_store().open(found.key), name=found.name, size=found.size)
