"""The buyer's last steps: award a lot, transmit the act, follow it to its acknowledgement."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.accounts.models import Organisation
from dematmp.acts import copies, procedure, timeline
from dematmp.acts.confirming import (
    confirm,
    give_up,
    give_up_elsewhere,
    is_unconfirmed,
    review,
    waits_elsewhere,
)
from dematmp.acts.correspondence import cancel as cancel_act
from dematmp.acts.correspondence import reply
from dematmp.acts.errors import ActError, ActRefused, AnswerLost
from dematmp.acts.fields import Piece
from dematmp.acts.files import BORDEREAU, STAMPED, matter_of, pieces_of, read_file
from dematmp.acts.models import Act
from dematmp.acts.operators import Operator, operator_for, unset
from dematmp.acts.preparing import may_be_replaced, propose
from dematmp.acts.services import prepare_award_act
from dematmp.awards.models import Award
from dematmp.awards.services import AwardRefused
from dematmp.awards.services import award as award_lot
from dematmp.web.access import MemberRequest, holds
from dematmp.web.act_forms import ANSWERS, AnswerForm, PublishedForm, upload_of
from dematmp.web.buyer_forms import AwardForm
from dematmp.web.errors import explain
from dematmp.web.pages import document, of_buyer
from dematmp.web.prefecture import letter_document


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
    """Prepare the act of an award; it leaves once confirmed on its page."""
    found = of_buyer(request.user, consultation, "validator")
    decision = Award.objects.filter(pk=award, lot__consultation=found).first()
    if decision is None:
        raise Http404
    act = prepare_award_act(decision, by=request.user, now=timezone.now())
    if is_unconfirmed(act):
        messages.success(request, "L'acte est prêt : relisez-le, puis confirmez son envoi.")
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
    validates = found.is_validated_by(request.user)
    context = {
        "act": found,
        "situation": timeline.situation(found, now=timezone.now()),
        "until": timeline.control_until(found),
        "events": timeline.events(found),
        "letters": found.letters.order_by("-pk"),
        "has_copies": found.transmission.acknowledged_at is not None and not unset(found),
        "published": PublishedForm(initial={"publie": found.published_on}),
        "waits_elsewhere": validates and waits_elsewhere(found),
        "pieces": pieces_of(found),
        "matter": matter_of(found),
        "may_share": procedure.minutes(found) is not None,
        "is_validator": validates,
        "unset": unset(found),
        "may_replace": validates and may_be_replaced(found),
        "review": review(found) if is_unconfirmed(found) else None,
    }
    template = "buyer/_act.html" if request.headers.get("HX-Request") else "buyer/act.html"
    return render(request, template, context)


def _operator(act: Act) -> Operator:
    found = operator_for(act, now=timezone.now())
    if found is None:
        raise ActRefused("Aucun service de télétransmission n'est réglé pour cet acheteur.")
    return found


def _as_validator(request: MemberRequest, act: uuid.UUID) -> Act:
    found = _act(request, act)
    if not found.is_validated_by(request.user):
        raise Http404
    return found


@require_http_methods(["GET", "POST"])
@holds("validator")
def answer(request: MemberRequest, act: uuid.UUID, letter: int) -> HttpResponse:
    """Answer a letter of the prefecture, once."""
    found = _as_validator(request, act)
    about = found.letters.filter(pk=letter, kind__in=list(ANSWERS)).first()
    if about is None:
        raise Http404
    form = AnswerForm(request.POST or None, request.FILES or None, letter=about)
    if request.method == "POST" and form.is_valid():
        uploads = [upload_of(each) for each in form.cleaned_data["documents"]]
        try:
            operator = _operator(found)
            proposed = propose([each.name for each in uploads], operator, nature=found.nature)
            pieces = [Piece(each, said.typology) for each, said in zip(uploads, proposed, strict=True)]
            reply(about, pieces, operator, choice=form.cleaned_data["choice"], now=timezone.now())
        except AnswerLost as lost:
            messages.warning(request, f"{lost} {lost.next}")
            return redirect("buyer-act", act=found.uuid)
        except ActError as refused:
            explain(form, refused)
        else:
            messages.success(request, "La réponse est partie à la préfecture.")
            return redirect("buyer-act", act=found.uuid)
    context = {"act": found, "letter": about, "form": form, "title": "Répondre à la préfecture"}
    return render(request, "buyer/answer_letter.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@holds("validator")
def cancel(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """Ask for the cancellation of an acknowledged act, once it was confirmed."""
    found = _as_validator(request, act)
    if request.method == "POST":
        try:
            cancel_act(found, _operator(found), now=timezone.now())
        except AnswerLost as lost:
            messages.warning(request, f"{lost} {lost.next}")
        else:
            messages.success(request, "La demande d'annulation est partie à la préfecture.")
        return redirect("buyer-act", act=found.uuid)
    return render(request, "buyer/cancel_act.html", {"act": found})


@require_POST
@holds("validator")
def share_procedure(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """Let the control authority read the minutes of the opening."""
    procedure.share(_as_validator(request, act), by=request.user, now=timezone.now())
    messages.success(request, "La préfecture peut lire le dossier de la procédure et le procès-verbal.")
    return redirect("buyer-act", act=act)


@require_POST
@holds("validator")
def confirm_act(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """What was shown leaves for the prefecture."""
    confirm(_as_validator(request, act), by=request.user, now=timezone.now())
    messages.success(request, "L'acte part à la préfecture.")
    return redirect("buyer-act", act=act)


@require_POST
@holds("validator")
def give_up_act(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """It never leaves; it may be corrected and prepared again."""
    found = _as_validator(request, act)
    if waits_elsewhere(found):
        give_up_elsewhere(found, _operator(found), by=request.user, now=timezone.now())
    else:
        give_up(found, by=request.user, now=timezone.now())
    messages.success(request, "L'acte est abandonné : rien n'est parti.")
    return redirect("buyer-act", act=act)


@require_safe
@holds("agent", "validator")
def letter_file(request: MemberRequest, act: uuid.UUID, letter: int, name: str) -> HttpResponseBase:
    """A document of a letter of the prefecture."""
    return letter_document(request, _act(request, act), letter, name)


@require_POST
@holds("agent", "validator")
def publish_act(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """Say when the act was published or notified."""
    found, form = _act(request, act), PublishedForm(request.POST)
    if not form.is_valid():
        raise ActRefused("Donnez la date de publication ou de notification de l'acte.")
    copies.publish(found, on=form.cleaned_data["publie"], by=request.user, now=timezone.now())
    messages.success(request, "La date est enregistrée : les documents tamponnés la portent.")
    return redirect("buyer-act", act=act)


@require_safe
@holds("agent", "validator")
def stamped_file(request: MemberRequest, act: uuid.UUID, rank: int) -> HttpResponse:
    """The document or an annex with its stamp."""
    found = _act(request, act)
    piece = next((each for each in pieces_of(found) if each.rank == rank and each.is_pdf), None)
    if piece is None or found.transmission.acknowledged_at is None:
        raise Http404
    pdf = copies.stamped(found, rank, _operator(found))
    name = STAMPED if rank == 1 else f"tamponne-{piece.name}"
    return document(pdf, name=f"{found.number}-{name}", content_type="application/pdf")


@require_safe
@holds("agent", "validator")
def act_file(request: MemberRequest, act: uuid.UUID, name: str) -> HttpResponseBase:
    """The acknowledgement, the message; the stamped act and the bordereau, which its operator makes."""
    found = _act(request, act)
    if found.transmission.acknowledged_at is None and name in (STAMPED, BORDEREAU):
        raise Http404
    if name == STAMPED:
        return stamped_file(request, act, 1)
    if name == BORDEREAU:
        pdf = copies.bordereau(found, _operator(found))
        return document(pdf, name=f"{found.number}-{name}", content_type="application/pdf")
    file = read_file(found, name)
    if file is None:
        raise Http404
    return document(file[0], name=f"{found.number}-{name}", content_type=file[1])
