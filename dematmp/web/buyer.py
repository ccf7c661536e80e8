"""The buyer's pages: prepare, have validated, publish, follow."""

import uuid
from collections.abc import Callable
from datetime import datetime

from django.contrib import messages
from django.db.models import Case, QuerySet, When
from django.forms import BaseForm
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.accounts.models import Organisation
from dematmp.audit.registers import published_size
from dematmp.awards.models import Award
from dematmp.bids import visits
from dematmp.bids.clock import received
from dematmp.bids.errors import CopyRefused
from dematmp.bids.models import Bid
from dematmp.bids.probe import measured, proposed_deadline
from dematmp.bids.services import bid_state
from dematmp.consultations import exchanges, services
from dematmp.consultations.documents import add_version
from dematmp.consultations.errors import ConsultationError, WrongStep
from dematmp.consultations.models import Consultation, Document, Question
from dematmp.opening import renewals
from dematmp.opening.backup_copies import may_be_destroyed
from dematmp.opening.errors import OpeningError
from dematmp.opening.late_bids import branches, undecided, undecided_text, why_not
from dematmp.opening.renewals import former_holders
from dematmp.web.access import MemberRequest, holds
from dematmp.web.availability import reason
from dematmp.web.buyer_forms import (
    AnswerForm,
    DeadlineForm,
    PieceForm,
    VersionForm,
)
from dematmp.web.consultation_form import ConsultationForm, draft_values, draft_version
from dematmp.web.downloads import csv_file
from dematmp.web.errors import explain
from dematmp.web.pages import of_buyer, page_of
from signing.ceremony import fingerprint

_ROLES = ("agent", "validator")


def _buyers(request: MemberRequest, *roles: str) -> QuerySet[Organisation]:
    mine = Organisation.objects.filter(memberships__user=request.user, memberships__role__in=roles)
    return mine.distinct().order_by("name")


@require_safe
@holds(*_ROLES)
def consultation_list(request: MemberRequest) -> HttpResponse:
    """The consultations of the buyers for which this person works."""
    rows = Consultation.objects.filter(buyer__in=_buyers(request, *_ROLES)).select_related("buyer")
    page = page_of(request, rows.with_deadline().order_by("-created_at", "-pk"))
    return render(request, "buyer/list.html", {"page": page, "may_create": request.user.has_role("agent")})


@require_http_methods(["GET", "POST"])
@holds("agent")
def new_consultation(request: MemberRequest) -> HttpResponse:
    form = ConsultationForm(request.POST or None, buyers=_buyers(request, "agent"))
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_consultation(by=request.user, now=timezone.now(), **form.cleaned_data)
        except ConsultationError as refused:
            explain(form, refused)
        else:
            return redirect("buyer-consultation", consultation=made.uuid)
    return render(request, "buyer/new.html", {"form": form}, status=400 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@holds("agent")
def correct(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Rewrite a consultation that is still being prepared."""
    found = of_buyer(request.user, consultation, "agent")
    buyers = Organisation.objects.filter(pk=found.buyer.pk)
    form = ConsultationForm(request.POST or None, buyers=buyers, initial=draft_values(found))
    shown = draft_version(found)

    def act(now: datetime) -> str:
        if request.POST.get("version", shown) != shown:
            raise WrongStep(
                f"Cette consultation a été modifiée entre-temps : « {found.title} ».",
                "Ouvrez-la dans un autre onglet, reportez-y ce que vous avez écrit ici, puis enregistrez-la.",
            )
        values = {name: value for name, value in form.cleaned_data.items() if name != "buyer"}
        services.correct_consultation(found, **values)
        return "La consultation est corrigée."

    return form_page(
        request,
        found,
        form,
        title="Corriger la consultation",
        action="Enregistrer",
        act=act,
        version=request.POST.get("version", shown),
    )


@require_safe
@holds(*_ROLES)
def consultation(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Where the consultation is, what is missing, what to do next."""
    found = of_buyer(request.user, consultation, *_ROLES)
    now = timezone.now()
    ceremony = getattr(found, "ceremony", None)
    closed = found.published_at is not None and not found.is_open(now=now)
    found_availability = measured(found, now=now)
    late = undecided(found) if closed else []
    context = {
        "consultation": found,
        "deadline": found.current_deadline,
        "documents": found.documents.order_by("pk").prefetch_related("versions"),
        "missing": services.missing_to_submit(found) if found.step == "draft" else [],
        "ceremony": ceremony,
        "holders": ceremony.holders.select_related("user").order_by("index") if ceremony else [],
        "fingerprint": fingerprint(found.ceremony_sha256) if found.ceremony_sha256 else "",
        "renewal": renewals.pending(found) if found.published_at else None,
        "leavers": former_holders(found),
        "open": found.is_open(now=now),
        "closed": closed,
        "unanswered": found.questions.filter(answered_at=None).count(),
        "withdrawals": found.withdrawals.count(),
        "followers": found.followers.count(),
        "session": getattr(found, "opening_session", None),
        "late": late,
        "late_text": undecided_text(len(late)),
        "availability": found_availability,
        "channel": visits.health(found, now=now),
        "proposed": proposed_deadline(found.deadline, found_availability)
        if found_availability and found.deadline
        else None,
        "awards": Award.objects.filter(lot__consultation=found)
        .select_related("lot", "company", "act")
        .order_by("lot__number"),
        "to_award": found.lots.filter(award__isnull=True).exists(),
        "may_edit": request.user.has_role("agent", found.buyer)
        and (found.step == "draft" or found.is_open(now=now)),
        "is_agent": request.user.has_role("agent", found.buyer),
        "may_validate": request.user.has_role("validator", found.buyer)
        and request.user not in (found.submitted_by, found.created_by),
        "is_validator": request.user.has_role("validator", found.buyer),
    }
    return render(request, "buyer/consultation.html", context)


def form_page(
    request: MemberRequest,
    found: Consultation,
    form: BaseForm,
    *,
    title: str,
    action: str,
    act: Callable[[datetime], str],
    upload: bool = False,
    advice: str = "",
    after: str = "buyer-consultation",
    template: str = "buyer/form.html",
    **more: object,
) -> HttpResponse:
    """One form, one action.

    Done, it says so on the consultation's page; refused, it says why and keeps what was typed.
    """
    if request.method == "POST" and form.is_valid():
        try:
            done = act(timezone.now())
        except (ConsultationError, OpeningError, CopyRefused) as refused:
            explain(form, refused)
        else:
            messages.success(request, done)
            return redirect(after, consultation=found.uuid)
    context = {
        "consultation": found,
        "form": form,
        "title": title,
        "action": action,
        "upload": upload,
        "advice": advice,
        **more,
    }
    return render(request, template, context, status=400 if form.errors else 200)


def _proposal(found: Consultation) -> tuple[datetime, str] | None:
    """The deadline and the reason that the measured outages propose."""
    said = measured(found, now=timezone.now())
    longer = proposed_deadline(found.deadline, said) if said and found.deadline else None
    return (longer, reason(said)) if said and longer else None


@require_http_methods(["GET", "POST"])
@holds("agent")
def deadline(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Set or extend the deadline: a versioned decision."""
    found = of_buyer(request.user, consultation, "agent")
    form = DeadlineForm(
        request.POST or None,
        current=found.current_deadline,
        published=found.published_at is not None,
        proposed=_proposal(found) if "proposer" in request.GET else None,
    )

    def act(_: datetime) -> str:
        reason, now = form.cleaned_data.get("reason", ""), received(request)  # by the clock of the deposits
        services.set_deadline(found, at=form.at(), by=request.user, reason=reason, now=now)
        return "La date limite est enregistrée."

    return form_page(
        request, found, form, title="Date limite de réception", action="Fixer la date limite", act=act
    )


@require_http_methods(["GET", "POST"])
@holds("agent")
def add_piece(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found = of_buyer(request.user, consultation, "agent")
    form = PieceForm(request.POST or None, request.FILES or None)

    def act(now: datetime) -> str:
        file = form.cleaned_data["file"]
        title, kind = form.cleaned_data["title"], form.cleaned_data["kind"]
        add_version(
            found, title=title, kind=kind, name=file.name, chunks=file.chunks(), by=request.user, now=now
        )
        return f"La pièce « {file.name} » est reçue ; l'antivirus l'analyse."

    return form_page(
        request, found, form, title="Ajouter une pièce", action="Envoyer la pièce", act=act, upload=True
    )


@require_http_methods(["GET", "POST"])
@holds("agent")
def add_piece_version(request: MemberRequest, consultation: uuid.UUID, document: int) -> HttpResponse:
    found = of_buyer(request.user, consultation, "agent")
    piece = Document.objects.filter(pk=document, consultation=found).first()
    if piece is None:
        raise Http404
    form = VersionForm(request.POST or None, request.FILES or None)

    def act(now: datetime) -> str:
        file = form.cleaned_data["file"]
        add_version(
            found,
            title=piece.title,
            kind=piece.kind,
            name=file.name,
            chunks=file.chunks(),
            by=request.user,
            now=now,
            document=piece,
        )
        return f"La nouvelle version de « {piece.title} » est reçue ; l'antivirus l'analyse."

    title = f"Nouvelle version : {piece.title}"
    return form_page(request, found, form, title=title, action="Envoyer la version", act=act, upload=True)


@require_POST
@holds("agent")
def submit(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found = of_buyer(request.user, consultation, "agent")
    services.submit(found, by=request.user, now=timezone.now())
    messages.success(request, "La consultation est soumise à validation.")
    return redirect("buyer-consultation", consultation=found.uuid)


@require_POST
@holds("validator")
def validate(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found = of_buyer(request.user, consultation, "validator")
    services.validate(found, by=request.user, now=timezone.now())
    messages.success(request, "La consultation est validée.")
    return redirect("buyer-consultation", consultation=found.uuid)


@require_POST
@holds(*_ROLES)
def send_back(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """The validator sends it back, or its author takes it back."""
    found = of_buyer(request.user, consultation, *_ROLES)
    services.return_to_draft(found, by=request.user, now=timezone.now())
    messages.success(request, "La consultation revient en préparation.")
    return redirect("buyer-consultation", consultation=found.uuid)


@require_POST
@holds(*_ROLES)
def publish(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found = of_buyer(request.user, consultation, *_ROLES)
    services.publish(found, by=request.user, now=timezone.now())
    messages.success(request, "La consultation est publiée.")
    return redirect("buyer-consultation", consultation=found.uuid)


@require_safe
@holds(*_ROLES)
def questions(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found = of_buyer(request.user, consultation, *_ROLES)
    rows = found.questions.order_by("asked_at", "pk")
    context = {
        "consultation": found,
        "questions": rows,
        "is_agent": request.user.has_role("agent", found.buyer),
    }
    return render(request, "buyer/questions.html", context)


@require_http_methods(["GET", "POST"])
@holds("agent")
def answer(request: MemberRequest, consultation: uuid.UUID, question: uuid.UUID) -> HttpResponse:
    found = of_buyer(request.user, consultation, "agent")
    asked = Question.objects.filter(uuid=question, consultation=found).first()
    if asked is None:
        raise Http404
    form = AnswerForm(request.POST or None)

    def act(now: datetime) -> str:
        exchanges.answer(asked, text=form.cleaned_data["answer"], by=request.user, now=now)
        return "La réponse est publiée pour tous."

    return form_page(
        request,
        found,
        form,
        title="Répondre à une question",
        action="Publier la réponse",
        act=act,
        advice=asked.text,
    )


def _rank() -> Case:
    """The rank of a download in the journal, once that may be told (see `lines`)."""
    return Case(When(entry__lt=published_size(), then="entry"))


@require_safe
@holds(*_ROLES)
def registers(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Register of downloads; register of deposits once the deadline has passed, never before."""
    found = of_buyer(request.user, consultation, *_ROLES)
    closed = found.published_at is not None and not found.is_open(now=timezone.now())
    rows = found.withdrawals.select_related("version").annotate(rank=_rank()).order_by("-at", "-pk")
    deposits = []
    if closed:
        bids = Bid.objects.filter(consultation=found).select_related("bidder", "late_decision")
        deposits = [
            (bid, bid_state(bid), branches(bid, now=timezone.now()) if bid.late else [], why_not(bid))
            for bid in bids.select_related("attempt__fingerprint").order_by("received_at", "pk")
        ]
    context = {
        "consultation": found,
        "page": page_of(request, rows),
        "closed": closed,
        "deposits": deposits,
        "refused_imports": found.refused_imports.standing().select_related("bidder") if closed else [],
        "copies": found.backup_copies.all(),
        "copies_may_go": may_be_destroyed(found),
        "is_agent": request.user.has_role("agent", found.buyer),
    }
    return render(request, "buyer/registers.html", context)


@require_safe
@holds(*_ROLES)
def register_csv(request: MemberRequest, consultation: uuid.UUID) -> HttpResponseBase:
    """The register of downloads as CSV."""
    found = of_buyer(request.user, consultation, *_ROLES)
    told = found.withdrawals.annotate(rank=_rank()).order_by("at", "pk")
    rows = (
        [at.isoformat(), name or "dossier complet", email, "" if rank is None else str(rank)]
        for at, name, email, rank in told.values_list("at", "version__name", "email", "rank").iterator()
    )
    head = ["heure (UTC)", "pièce", "adresse laissée", "rang au journal"]
    return csv_file(head, rows, name=f"retraits-{found.reference}.csv")
