"""A bid that came after the deadline: what is known of it, what the law allows, what the buyer decides."""

import json
import uuid
from datetime import datetime

from django import forms
from django.http import Http404, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.bids.evidence import evidence, evidence_pdf
from dematmp.bids.models import Bid, Part
from dematmp.bids.probe import measured_since
from dematmp.opening.late_bids import branches, decide_late, why_not
from dematmp.web.access import MemberRequest, holds
from dematmp.web.buyer import form_page
from dematmp.web.pages import document, of_buyer


class LateForm(forms.Form):
    decision = forms.ChoiceField(
        label="Décision",
        choices=[
            ("admitted", "L'admettre : il sera ouvert avec les autres"),
            ("rejected", "L'écarter : il reste scellé"),
        ],
        widget=forms.RadioSelect(),
    )
    reason = forms.CharField(
        label="Motif", max_length=2000, widget=forms.Textarea({"rows": 5}),
        help_text="L'entreprise le reçoit par courriel ; il est inscrit au journal et au procès-verbal.",
    )  # fmt: skip


def _late(request: MemberRequest, consultation: uuid.UUID, bid: uuid.UUID) -> Bid:
    """Only once the deadline has passed: nobody learns before it who deposits."""
    found = of_buyer(request.user, consultation, "agent")
    if found.published_at is None or found.is_open(now=timezone.now()):
        raise Http404
    rows = Bid.objects.filter(consultation=found, uuid=bid, late=True)
    late = rows.select_related("consultation", "bidder", "attempt__fingerprint", "late_decision").first()
    if late is None:
        raise Http404
    return late


@require_http_methods(["GET", "POST"])
@holds("agent")
def decide(request: MemberRequest, consultation: uuid.UUID, bid: uuid.UUID) -> HttpResponse:
    """The facts, the branches of the law, and one reasoned decision."""
    late = _late(request, consultation, bid)
    known = getattr(late, "late_decision", None)
    initial = {"decision": known.decision, "reason": known.reason} if known else None
    form = LateForm(request.POST or None, initial=initial)

    def act(now: datetime) -> str:
        decide_late(late, **form.cleaned_data, by=request.user, now=now)
        return "La décision est inscrite au journal, et l'entreprise en est informée."

    parts = Part.objects.received().filter(object__envelope__attempt=late.attempt)
    said = measured_since(late.consultation, since=late.attempt.started_at, now=timezone.now())
    return form_page(
        request,
        late.consultation,
        form,
        title="Dépôt reçu hors délai",
        action="Inscrire la décision",
        act=act,
        after="buyer-registers",
        template="buyer/late_bid.html",
        bid=late,
        branches=branches(late, now=timezone.now()),
        refused=why_not(late),
        opened=late.attempt.envelopes.filter(opened__state="opened").exists(),
        parts=parts.count(),
        in_time=parts.filter(received_at__lte=late.deadline).count(),
        measured=said,
    )


@require_safe
@holds("agent")
def late_evidence(request: MemberRequest, consultation: uuid.UUID, bid: uuid.UUID, form: str) -> HttpResponse:
    """The company's « dossier de preuve », as it has it itself."""
    late, now = _late(request, consultation, bid), timezone.now()
    name = f"preuve-{late.number}.{form}"
    if form == "pdf":
        return document(evidence_pdf(late.attempt, now=now), name=name, content_type="application/pdf")
    data = json.dumps(evidence(late.attempt, now=now), ensure_ascii=False, indent=1).encode()
    return document(data, name=name, content_type="application/json")
