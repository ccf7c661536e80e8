"""The committee's pages after an opening: decisions, observations, closed minutes, signatures."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.forms import BaseForm
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.awards.services import resume
from dematmp.bids.clock import current
from dematmp.consultations.models import Consultation
from dematmp.opening import closing, decisions, services
from dematmp.opening.errors import DecisionRefused, OpeningError
from dematmp.opening.models import ENVELOPE_DECISIONS, FILE_DECISIONS, OpenedFile, OpeningSession
from dematmp.web.access import MemberRequest, holds
from dematmp.web.errors import explain
from dematmp.web.pages import document


class FileDecisionForm(forms.Form):
    decision = forms.ChoiceField(
        label="Ce que la commission en fait",
        choices=list(FILE_DECISIONS.items()),
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(
        label="Motif",
        max_length=1000,
        widget=forms.Textarea({"rows": 3}),
        help_text="Inscrit au procès-verbal.",
    )


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Motif",
        max_length=200,
        widget=forms.Textarea({"rows": 2}),
        help_text="Inscrit au procès-verbal. Par exemple « lot déclaré sans suite ».",
    )


class ObservationForm(forms.Form):
    text = forms.CharField(
        label="Observation",
        max_length=4000,
        widget=forms.Textarea({"rows": 5}),
        help_text="Elle porte votre nom et ne s'efface plus.",
    )


class SignatureForm(forms.Form):
    """Without a file, the member confirms the digest; with one, it is the closed minutes signed."""

    sha256 = forms.CharField(widget=forms.HiddenInput, max_length=64)
    pdf = forms.FileField(
        label="Procès-verbal signé (PDF)",
        required=False,
        max_length=255,
        help_text=(
            "Le procès-verbal clos, signé avec votre certificat. Sans fichier, vous confirmez "
            "de votre nom l'empreinte ci-dessus."
        ),
    )


def _found(request: MemberRequest, consultation: uuid.UUID) -> tuple[Consultation, OpeningSession]:
    """A consultation of which this person holds a share, whose opening began; or 404."""
    held = Consultation.objects.held_by(request.user).filter(uuid=consultation)
    session = OpeningSession.objects.filter(consultation__in=held).select_related("consultation").first()
    if session is None or not session.releases:
        raise Http404
    return session.consultation, session


def _form_page(
    request: MemberRequest,
    found: Consultation,
    form: BaseForm,
    *,
    title: str,
    action: str,
    act: Callable[[datetime], str],
    **more: Any,
) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            done = act(timezone.now())
        except OpeningError as refused:
            explain(form, refused)
        else:
            messages.success(request, done)
            return redirect("session", consultation=found.uuid)
    context = {"consultation": found, "form": form, "title": title, "action": action, **more}
    return render(request, "committee/form.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@holds("member")
def leave_sealed(request: MemberRequest, consultation: uuid.UUID, lot: str) -> HttpResponse:
    """After the deadline and before the opening: the committee leaves a lot sealed."""
    found = Consultation.objects.held_by(request.user).filter(uuid=consultation).first()
    if found is None or found.published_at is None or found.is_open(now=timezone.now()):
        raise Http404
    chosen = get_object_or_404(found.lots, number=lot)
    form = ReasonForm(request.POST or None)

    def act(now: datetime) -> str:
        session = services.start_session(found, by=request.user, now=current())
        decisions.leave_sealed(session, lot=lot, reason=form.cleaned_data["reason"], by=request.user, now=now)
        return f"Le lot {lot} reste scellé ; c'est inscrit au journal."

    advice = f"{chosen}. Ses plis ne seront pas ouverts ; le procès-verbal le dira, avec ce motif."
    return _form_page(
        request,
        found,
        form,
        title="Laisser un lot scellé",
        action="Laisser ce lot scellé",
        act=act,
        advice=advice,
    )


@require_POST
@holds("member")
def take_back(request: MemberRequest, consultation: uuid.UUID, lot: str) -> HttpResponse:
    """The committee opens this lot after all."""
    held = Consultation.objects.held_by(request.user).filter(uuid=consultation)
    session = get_object_or_404(OpeningSession, consultation__in=held)
    try:
        decisions.take_back(session, lot=lot, by=request.user, now=timezone.now())
    except OpeningError as refused:
        messages.error(request, f"{refused} {refused.next}")
    else:
        messages.success(request, f"Le lot {lot} sera ouvert : chacun apporte de nouveau sa part.")
    return redirect("session", consultation=consultation)


@require_http_methods(["GET", "POST"])
@holds("member")
def decide(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Between two phases: admit or reject each opened envelope."""
    found, session = _found(request, consultation)
    if session.state != "deciding":
        raise Http404
    rows = decisions.to_decide(session)
    problem: OpeningError | None = None
    if request.method == "POST":
        said = {}
        for row in rows:
            # What was typed stays on the page if something is refused.
            row.decision = request.POST.get(f"decision-{row.envelope.uuid}", "")
            row.decision_reason = request.POST.get(f"reason-{row.envelope.uuid}", "")
            if row.decision:
                said[str(row.envelope.uuid)] = (row.decision, row.decision_reason)
        try:
            count = decisions.decide(session, said, by=request.user, now=timezone.now())
        except OpeningError as refused:
            problem = refused
        else:
            messages.success(request, f"{count} décision(s) enregistrée(s)." if count else "Rien n'a changé.")
            return redirect("session", consultation=found.uuid)
    context = {
        "consultation": found,
        "rows": rows,
        "choices": list(ENVELOPE_DECISIONS.items()),
        "problem": problem,
    }
    return render(request, "committee/decisions.html", context, status=400 if problem else 200)


@require_POST
@holds("member")
def next_phase(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found, session = _found(request, consultation)
    decisions.next_phase(session, by=request.user, now=timezone.now())
    messages.success(request, "La séance continue : chaque membre apporte de nouveau sa part.")
    return redirect("session", consultation=found.uuid)


@require_POST
@holds("member")
def go_on(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """The session goes on for what was received in time, and known once the others were open."""
    found, session = _found(request, consultation)
    resume(session, by=request.user, now=timezone.now())
    messages.success(request, "La séance reprend : chaque membre apporte de nouveau sa part.")
    return redirect("session", consultation=found.uuid)


@require_safe
@holds("member")
def former(request: MemberRequest, consultation: uuid.UUID, number: int, form: str) -> HttpResponse:
    """Minutes that later ones complete, as they were written."""
    _, session = _found(request, consultation)
    kept = session.former_minutes.filter(pk=number).first()
    if kept is None:
        raise Http404
    data = bytes(kept.pdf if form == "pdf" else kept.minutes)
    name = f"proces-verbal-{timezone.localtime(kept.finished_at):%Y%m%d-%H%M}.{form}"
    return document(data, name=name, content_type=f"application/{form}")


@require_http_methods(["GET", "POST"])
@holds("member")
def decide_file(request: MemberRequest, consultation: uuid.UUID, file: uuid.UUID) -> HttpResponse:
    """Say what the committee does of a file that the antivirus kept."""
    found, session = _found(request, consultation)
    kept = OpenedFile.objects.filter(uuid=file, opened__session=session).first()
    if kept is None or not kept.is_kept:
        raise Http404
    initial = {"decision": kept.decision, "reason": kept.decision_reason}
    form = FileDecisionForm(request.POST or None, initial=initial)

    def act(now: datetime) -> str:
        closing.decide_file(kept, by=request.user, now=now, **form.cleaned_data)
        return f"La décision sur « {kept.name} » est enregistrée."

    advice = (
        f"« {kept.name} » ({kept.get_verdict_display()} {kept.verdict_detail}) est gardé et n'est jamais "
        "communiqué. La commission décide ce qu'elle en fait ; la plateforme n'écarte jamais une offre."
    )
    return _form_page(
        request,
        found,
        form,
        title="Décider d'un fichier",
        action="Enregistrer la décision",
        act=act,
        advice=advice,
    )


@require_http_methods(["GET", "POST"])
@holds("member")
def observe(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    found, session = _found(request, consultation)
    form = ObservationForm(request.POST or None)

    def act(now: datetime) -> str:
        closing.observe(session, text=form.cleaned_data["text"], by=request.user, now=now)
        return "Votre observation est inscrite."

    title = "Observation au procès-verbal"
    return _form_page(request, found, form, title=title, action="Inscrire mon observation", act=act)


@require_http_methods(["GET", "POST"])
@holds("member")
def close(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """One page, one button: nothing is added to closed minutes."""
    found, session = _found(request, consultation)
    if request.method == "GET":
        return render(request, "committee/close_minutes.html", {"consultation": found})
    closing.close(session, by=request.user, now=timezone.now())
    messages.success(request, "Le procès-verbal est clos. Chaque membre peut le signer.")
    return redirect("session", consultation=found.uuid)


@require_http_methods(["GET", "POST"])
@holds("member")
def sign(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Confirm the digest of the closed minutes, or bring them back signed."""
    found, session = _found(request, consultation)
    if session.closed_at is None:
        raise Http404
    sha256 = closing.closed_sha256(session)
    form = SignatureForm(request.POST or None, request.FILES or None, initial={"sha256": sha256})

    def act(now: datetime) -> str:
        upload = form.cleaned_data["pdf"]
        if upload and upload.size > closing.SIGNED_PDF_BYTES:
            raise DecisionRefused("Ce fichier dépasse 20 Mo.")
        pdf = upload.read() if upload else None
        closing.sign(session, sha256=form.cleaned_data["sha256"], by=request.user, now=now, pdf=pdf)
        return "Votre signature est enregistrée."

    return _form_page(
        request,
        found,
        form,
        title="Signer le procès-verbal",
        action="Signer",
        act=act,
        upload=True,
        digest=sha256,
        closed=True,
    )


@require_safe
@holds("member")
def closed(request: MemberRequest, consultation: uuid.UUID, form: str) -> HttpResponse:
    """The closed minutes (PDF), or their annex (JSON)."""
    _, session = _found(request, consultation)
    data = session.closed_pdf if form == "pdf" else session.annex
    if data is None:
        raise Http404
    name = "proces-verbal-clos.pdf" if form == "pdf" else "proces-verbal-annexe.json"
    return document(bytes(data), name=name, content_type=f"application/{form}")


@require_safe
@holds("member")
def signed_copy(request: MemberRequest, consultation: uuid.UUID, signature: int) -> HttpResponse:
    """The minutes as a member signed them."""
    _, session = _found(request, consultation)
    found = session.signatures.filter(pk=signature, pdf__isnull=False).first()
    if found is None:
        raise Http404
    return document(bytes(found.pdf or b""), name="proces-verbal-signe.pdf", content_type="application/pdf")
