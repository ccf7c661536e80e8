"""A company's space: its deposits, their state, their receipts."""

import json
import uuid
from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.accounts.models import Organisation
from dematmp.audit.checkpoints import stamped_elsewhere
from dematmp.audit.models import PublicCheckpoint
from dematmp.audit.publication import public_checkpoint
from dematmp.audit.services import canonical
from dematmp.audit.stamping import EMBEDDED
from dematmp.awards.contracts import is_concluded
from dematmp.awards.models import Award
from dematmp.bids.channel_attempts import ChannelAttempt
from dematmp.bids.clock import received
from dematmp.bids.evidence import evidence, evidence_pdf, pdf_of, start_refusals, start_refusals_pdf
from dematmp.bids.models import Attempt, Bid
from dematmp.bids.receipts import checks, judged_since, receipt
from dematmp.bids.services import bid_state, revived_by, revived_text, withdraw
from dematmp.bids.start_refusals import StartRefusal
from dematmp.consultations.models import KINDS
from dematmp.web.access import MemberRequest, holds, signed_in
from dematmp.web.pages import document, page_of, published
from dematmp.web.reached import reached
from dematmp.web.templatetags.assets import sha256_of
from signing.ceremony import fingerprint, parse_record

_ROLES = ("administrator", "bidder")
_REFUSED_SHOWN = 20
# What runs in the workers of the deposit page.
_PROGRAMS = {
    "deposit-worker": "Scellement et envoi",
    "preflight-worker": "Vérification des fichiers",
    "preflight-pdf": "Ouverture des PDF à la vérification",
}


def _companies(request: MemberRequest) -> list[Organisation]:
    mine = Organisation.objects.filter(memberships__user=request.user, memberships__role__in=_ROLES)
    return list(mine.distinct().order_by("name"))


@require_safe
@holds(*_ROLES)
def deposit_list(request: MemberRequest) -> HttpResponse:
    """Every attempt of the companies of this person, deposited or not."""
    companies = _companies(request)
    attempts = Attempt.objects.filter(bidder__in=companies).select_related(
        "consultation__buyer", "bidder", "bid__late_decision"
    )
    page = page_of(request, attempts.order_by("-started_at", "-pk"))
    for attempt in page:
        bid = getattr(attempt, "bid", None)
        attempt.state = bid_state(bid) if bid else ""  # type: ignore[attr-defined]
    refused = (
        StartRefusal.objects.filter(bidder__in=companies)
        .select_related("consultation", "bidder")
        .order_by("-at", "-pk")
    )
    contracts = Award.objects.of_companies(request.user).select_related("lot__consultation__buyer")
    there = ChannelAttempt.objects.filter(bidder__in=companies).select_related("consultation", "bidder")
    mine = Attempt.objects.filter(bidder__in=companies).values("deposit")
    context = {
        "companies": companies,
        "page": page,
        "channel_attempts": there.exclude(deposit__in=mine).order_by("-started_at", "-pk")[:_REFUSED_SHOWN],
        "refused": refused[:_REFUSED_SHOWN],
        "published": public_checkpoint()[0],
        "refused_companies": list({each.bidder.pk: each.bidder for each in refused}.values()),
        "contracts": [(each, is_concluded(each)) for each in contracts.order_by("-pk")],
    }
    return render(request, "bidder/list.html", context)


@require_safe
@holds(*_ROLES)
def deposit(request: MemberRequest, deposit: uuid.UUID) -> HttpResponse:
    """Where one deposit is: what arrived, what is missing, its receipt."""
    attempt = (
        Attempt.objects.filter(deposit=deposit, bidder__in=_companies(request))
        .select_related("consultation__buyer", "bidder", "by", "bid")
        .first()
    )
    if attempt is None:
        raise Http404
    expected = received = 0
    envelopes = []
    for envelope in attempt.envelopes.order_by("lot", "kind").prefetch_related("objects_sealed__parts"):
        sealed = list(envelope.objects_sealed.all())
        parts = sum(each.part_count for each in sealed)
        here = sum(1 for each in sealed for part in each.parts.all() if part.received_at)
        expected, received = expected + parts, received + here
        envelopes.append(
            {
                "envelope": envelope,
                "files": max(0, len(sealed) - 2),
                "size": sum(each.size for each in sealed),
            }
        )
    bid = getattr(attempt, "bid", None)
    context = {
        "attempt": attempt,
        "bid": bid,
        "elsewhere": _stamped_elsewhere(bid) if bid else None,
        "checks": [(lot, KINDS[kind], said) for lot, kind, said in checks(attempt.bid)]
        if hasattr(attempt, "bid")
        else [],
        "judged": judged_since(attempt.bid) if hasattr(attempt, "bid") else "",
        "there": ChannelAttempt.objects.of_deposit(attempt.deposit, attempt.bidder),
        "envelopes": envelopes,
        "expected": expected,
        "received": received,
        "open": attempt.consultation.is_open(now=timezone.now()),
        "state": bid_state(attempt.bid) if hasattr(attempt, "bid") else "",
        "opened": attempt.consultation.opening_at is not None,
        "missing": _missing_kinds(attempt),
        "lots_said": _lots_said(attempt),
        "none_left": not Bid.objects.filter(
            consultation=attempt.consultation, bidder=attempt.bidder, withdrawn_at=None
        ).exists(),
    }
    template = "bidder/_state.html" if request.headers.get("HX-Request") else "bidder/deposit.html"
    return render(request, template, context)


@require_safe
@signed_in
@ensure_csrf_cookie
def new_deposit(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Choose, check, seal and send, in the bidder's own browser; late deposits too (annexe 7)."""
    found = published(consultation)
    companies = _companies(request)
    if not companies:
        messages.warning(request, "Enregistrez d'abord l'entreprise pour laquelle vous déposez.")
        return redirect(f"{reverse('new-company')}?{urlencode({'next': request.path})}")
    record = parse_record(bytes(found.ceremony_record or b""))
    context = {
        "consultation": found,
        "companies": companies,
        "lots": found.lots.order_by("number"),
        "kinds": [(kind, KINDS[kind]) for kind in found.kinds],
        "pieces": [
            (kind, titles)
            for kind in found.kinds
            if (titles := [each["title"] for each in found.required_pieces if each["kind"] == kind])
        ],
        "deadline": found.current_deadline,
        "late": not found.is_open(now=timezone.now()),
        "limits": found.deposit_limits,
        "fingerprint": fingerprint(found.ceremony_sha256),
        "ceremony_date": datetime.fromisoformat(record.date),
        "holders": record.holders,
        "threshold": record.threshold,
        "worker_url": static("build/deposit-worker.js"),
        "preflight_url": static("build/preflight-worker.js"),
        "preflight_pdf_url": static("build/preflight-pdf.js"),
        "programs": [(what, sha256_of(f"build/{name}.js")) for name, what in _PROGRAMS.items()],
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "backup": bool(settings.BACKUP_CHANNEL["url"]),
        "done_url": reverse("deposit", kwargs={"deposit": uuid.UUID(int=0)}),
    }
    response = render(request, "bidder/new_deposit.html", context)
    if origins := reached():  # from this page only, and its worker (`static_headers`)
        response._csp_update = {"connect-src": origins}  # type: ignore[attr-defined]
    return response


def _stamped_elsewhere(bid: Bid) -> PublicCheckpoint | None:
    """What an outside authority stamped of the journal, where it stamped nothing of the deposit itself."""
    here = not bid.channel_key and bid.token_authority in ("", EMBEDDED)
    return stamped_elsewhere(bid.journal_index) if here else None


def _missing_kinds(attempt: Attempt) -> list[str]:
    """« candidature, lot 2 »: envelopes asked for and not in this deposit, for the lots that it answers."""
    held = {(each.lot, each.kind) for each in attempt.envelopes.order_by("pk")}
    lots = sorted({lot for lot, _ in held})
    return [
        f"{KINDS[kind]}, lot {lot}"
        for lot in lots
        for kind in attempt.consultation.kinds
        if (lot, kind) not in held
    ]


def _lots_said(attempt: Attempt) -> str:
    """« le lot 1 seulement », « les lots 1 et 3 » or « tous les lots » of several; else the empty string."""
    every = list(attempt.consultation.lots.order_by("number").values_list("number", flat=True))
    if len(every) < 2:
        return ""
    here = set(attempt.envelopes.order_by("pk").values_list("lot", flat=True))
    mine = [lot for lot in every if lot in here]
    if len(mine) == 1:
        return f"le lot {mine[0]} seulement"
    return "tous les lots" if mine == every else f"les lots {', '.join(mine[:-1])} et {mine[-1]}"


def _bid(request: MemberRequest, deposit: uuid.UUID) -> Bid:
    found = (
        Bid.objects.filter(uuid=deposit, bidder__in=_companies(request))
        .select_related("consultation__buyer")
        .first()
    )
    if found is None:
        raise Http404
    return found


@require_http_methods(["GET", "POST"])
@holds(*_ROLES)
def withdraw_deposit(request: MemberRequest, deposit: uuid.UUID) -> HttpResponse:
    """One page, one button: a withdrawal is never a slip of the mouse."""
    bid = _bid(request, deposit)
    if request.method == "POST":
        withdraw(bid, by=request.user, now=received(request))
        messages.success(request, "Le dépôt est retiré.")
        return redirect("deposit", deposit=bid.uuid)
    revived = revived_by(bid) if bid.withdrawn_at is None else []
    context = {"bid": bid, "revived": revived_text(revived) if revived else ""}
    return render(request, "bidder/withdraw.html", context)


@require_safe
@holds(*_ROLES)
def attempt_evidence(request: MemberRequest, deposit: uuid.UUID, form: str) -> HttpResponse:
    """Of any attempt, deposited or not: what arrived, when, and what was refused."""
    found = Attempt.objects.filter(deposit=deposit, bidder__in=_companies(request)).first()
    if found is None:
        raise Http404
    now = timezone.now()
    if form == "pdf":
        data = evidence_pdf(found, now=now)
    else:
        data = json.dumps(evidence(found, now=now), ensure_ascii=False, indent=1).encode()
    return document(data, name=f"dossier-de-preuve.{form}", content_type=f"application/{form}")


@require_safe
@holds(*_ROLES)
def channel_evidence(request: MemberRequest, attempt: uuid.UUID, form: str) -> HttpResponse:
    """What the backup channel met of an attempt, as it gave it."""
    found = ChannelAttempt.objects.filter(uuid=attempt, bidder__in=_companies(request)).first()
    if found is None:
        raise Http404
    if form == "pdf":
        data = pdf_of(found.evidence, now=timezone.now(), channel=True)
    else:
        data = json.dumps(found.evidence, ensure_ascii=False, indent=1).encode()
    return document(data, name=f"dossier-de-preuve-secours.{form}", content_type=f"application/{form}")


@require_safe
@holds(*_ROLES)
def refusals_evidence(request: MemberRequest, company: uuid.UUID, form: str) -> HttpResponse:
    """What this company was refused before any attempt, with the journal's proofs."""
    mine = next((each for each in _companies(request) if each.uuid == company), None)
    if mine is None:
        raise Http404
    if form == "pdf":
        data, kind = start_refusals_pdf(mine, now=timezone.now()), "application/pdf"
    else:
        data, kind = (
            json.dumps(start_refusals(mine), ensure_ascii=False, indent=1).encode(),
            "application/json",
        )
    return document(data, name=f"envois-refuses.{form}", content_type=kind)


@require_safe
@holds(*_ROLES)
def receipt_as_pdf(request: MemberRequest, deposit: uuid.UUID) -> HttpResponse:
    bid = _bid(request, deposit)
    if bid.receipt_pdf is None:
        raise Http404
    return document(bytes(bid.receipt_pdf), name=f"{bid.number}.pdf", content_type="application/pdf")


@require_safe
@holds(*_ROLES)
def receipt_as_json(request: MemberRequest, deposit: uuid.UUID) -> HttpResponse:
    bid = _bid(request, deposit)
    return document(canonical(receipt(bid)), name=f"{bid.number}.json", content_type="application/json")
