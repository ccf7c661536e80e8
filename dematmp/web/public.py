"""What anybody sees, without account nor cookie: the list, a consultation, its file, the journal."""

import uuid
from collections.abc import Iterator

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.audit.checkpoints import witness_keys
from dematmp.audit.clock import health
from dematmp.audit.keys import (
    authority_certificate,
    bought_seals,
    former_verifiers,
    journal_signer,
    seal_anchors,
    timestamp_anchors,
    timestamp_authority,
)
from dematmp.audit.publication import entries_bundle, kept_checkpoint, public_checkpoint, tile_hashes
from dematmp.audit.succession import successions
from dematmp.consultations import documents
from dematmp.consultations.exchanges import ask, follow, followed_by, unfollow
from dematmp.consultations.models import Consultation, DocumentVersion
from dematmp.opening.models import OpeningSession
from dematmp.web.access import anyone
from dematmp.web.downloads import resumable
from dematmp.web.forms import FollowForm, QuestionForm, SearchForm
from dematmp.web.pages import page_of, published
from signing.ceremony import fingerprint

TIMESTAMP_QUERY = "application/timestamp-query"
_QUERY_BYTES = 4096


def trial_consultation() -> Consultation | None:
    """The permanent one on which anybody may try a deposit, if the operator made it."""
    return Consultation.objects.public().filter(trial=True).first()


@require_safe
@anyone
def consultation_list(request: HttpRequest) -> HttpResponse:
    """Published consultations, the soonest deadline first; closed ones on demand."""
    form = SearchForm(request.GET or None)
    found = Consultation.objects.real().public().select_related("buyer").prefetch_related("lots")
    chosen: dict[str, object] = {}
    if form.is_valid():
        buyer = form.cleaned_data["acheteur"]
        found = found.search(
            words=form.cleaned_data["mots"],
            cpv=form.cleaned_data["cpv"],
            buyer=str(buyer.uuid) if buyer else "",
        )
        chosen = form.cleaned_data
    if not chosen.get("closes"):
        found = found.receiving(now=timezone.now())
    page = page_of(request, found.soonest_first())
    query = request.GET.copy()
    query.pop("page", None)
    for name in [name for name, value in query.items() if not value]:
        query.pop(name)
    context = {
        "form": form,
        "page": page,
        "query": query.urlencode(),
        "searched": any(chosen.values()),
        "closes": bool(chosen.get("closes")),
        "trial": trial_consultation(),
    }
    template = "public/_list.html" if request.headers.get("HX-Request") else "public/list.html"
    return render(request, template, context)


@require_safe
@anyone
def consultation(request: HttpRequest, consultation: uuid.UUID) -> HttpResponse:
    return _consultation_page(request, published(consultation))


def _consultation_page(
    request: HttpRequest,
    found: Consultation,
    *,
    follow_form: FollowForm | None = None,
    question_form: QuestionForm | None = None,
) -> HttpResponse:
    invalid = bool(follow_form or question_form)
    is_open = found.is_open(now=timezone.now())
    released = OpeningSession.objects.filter(consultation=found, released_at__isnull=False)
    context = {
        "consultation": found,
        "open": is_open,
        "late_door": not is_open and not released.exists(),
        "deadline": found.current_deadline,
        "former_deadlines": found.announced_deadlines()[1:],
        "fingerprint": fingerprint(found.ceremony_sha256),
        "limits": found.deposit_limits,
        "documents": found.documents.order_by("pk").prefetch_related("versions"),
        "awaited": documents.awaited(found),
        "answers": found.questions.exclude(answered_at=None).order_by("answered_at", "pk"),
        "follow_form": follow_form or FollowForm(auto_id="follow_%s", initial=_address(request)),
        "question_form": question_form or QuestionForm(auto_id="question_%s"),
        "done": request.GET.get("fait", ""),
        "site_url": settings.SITE_URL,
    }
    return render(request, "public/consultation.html", context, status=400 if invalid else 200)


def _address(request: HttpRequest) -> dict[str, str]:
    """Who is signed in has an address already: one press is enough to be told of changes."""
    return {"email": request.user.email} if request.user.is_authenticated else {}


@require_safe
@anyone
def whole_file(request: HttpRequest, consultation: uuid.UUID) -> HttpResponseBase:
    """The whole consultation file as a ZIP, resumed after a cut; writes one line in the register."""
    found = published(consultation)
    whole = documents.whole_file(found)

    def read(start: int, length: int | None) -> Iterator[bytes]:
        taken = request.method != "HEAD"
        return documents.read_all(whole, now=timezone.now(), start=start, length=length, taken=taken)

    name, size = f"dossier-{found.reference}.zip", whole.archive.size
    return resumable(request, read, name=name, size=size, sha256=whole.sha256)


@require_safe
@anyone
def piece(request: HttpRequest, consultation: uuid.UUID, version: uuid.UUID) -> HttpResponseBase:
    """One version of one piece, resumed after a cut; writes one line in the register of downloads."""
    found = DocumentVersion.objects.filter(
        uuid=version, document__consultation=published(consultation)
    ).first()
    if found is None:
        raise Http404

    def read(start: int, length: int | None) -> Iterator[bytes]:
        taken = request.method != "HEAD"
        return documents.read(found, now=timezone.now(), start=start, length=length, taken=taken)

    return resumable(request, read, name=found.name, size=found.size, sha256=found.sha256)


# These two forms carry nobody's authority and set no cookie, hence no CSRF token.
@csrf_exempt
@require_POST
@anyone
def follow_changes(request: HttpRequest, consultation: uuid.UUID) -> HttpResponse:
    found = published(consultation)
    form = FollowForm(request.POST, auto_id="follow_%s")
    if not form.is_valid():
        return _consultation_page(request, found, follow_form=form)
    follow(found, email=form.cleaned_data["email"], now=timezone.now())
    return redirect(f"{request.path.rsplit('/', 2)[0]}/?fait=suivi")


@csrf_exempt
@require_http_methods(["GET", "POST"])
@anyone
def stop_following(request: HttpRequest, consultation: uuid.UUID, token: str) -> HttpResponse:
    """The link of a mail: a page with one button, since a GET only reads."""
    found = published(consultation)
    email = followed_by(found, token=token)
    if request.method == "POST":
        unfollow(found, token=token)
    context = {"consultation": found, "email": email, "done": request.method == "POST"}
    return render(request, "public/unfollow.html", context)


@csrf_exempt
@require_POST
@anyone
def ask_question(request: HttpRequest, consultation: uuid.UUID) -> HttpResponse:
    found = published(consultation)
    form = QuestionForm(request.POST, auto_id="question_%s")
    if not form.is_valid():
        return _consultation_page(request, found, question_form=form)
    ask(found, text=form.cleaned_data["text"], email=form.cleaned_data["email"], now=timezone.now())
    return redirect(f"{request.path.rsplit('/', 2)[0]}/?fait=question")


@require_safe
@anyone
def help_page(request: HttpRequest) -> HttpResponse:
    """How to deposit, and the limits announced."""
    context = {
        "limits": settings.DEPOSIT_LIMITS,
        "site_url": settings.SITE_URL,
        "trial": trial_consultation(),
    }
    return render(request, "public/help.html", context)


@require_safe
@anyone
def accessibility(request: HttpRequest) -> HttpResponse:
    return render(request, "public/accessibility.html")


@require_safe
@anyone
def journal(request: HttpRequest) -> HttpResponse:
    """The journal's latest checkpoint and how to check it."""
    context = {
        "checkpoint": public_checkpoint()[1],
        "key": journal_signer().verifier_key,
        "successions": successions(),
        "witnesses": witness_keys(),
        "channel_key": settings.BACKUP_CHANNEL["journal_key"],
        "site_url": settings.SITE_URL,
        "clock": health(),
    }
    return render(request, "public/journal.html", context)


@require_safe
@anyone
def check_receipt(request: HttpRequest) -> HttpResponse:
    """A receipt verified in the visitor's own browser."""
    journals = [journal_signer().verifier_key, *former_verifiers()]
    channel = settings.BACKUP_CHANNEL["journal_key"]
    context = {
        "keys": [*journals, *([channel] if channel else [])],
        "journals": journals,
        "witnesses": witness_keys(),
        "pdf_url": static("build/receipt-pdf.js"),
        "token_url": static("build/receipt-token.js"),
        "authorities": timestamp_anchors().decode(),
        "seals": authority_certificate().decode(),
        "bought": bought_seals().decode(),
        "zone": settings.TIME_ZONE,
    }
    return render(request, "public/check_receipt.html", context)


@require_safe
@anyone
def journal_file(request: HttpRequest, path: str) -> HttpResponse:
    """The C2SP tlog-tiles layout: checkpoint, key, tile/L/N[.p/W], tile/entries/N[.p/W]; PEM certificates."""
    data: bytes | None
    if path == "checkpoint":
        data = public_checkpoint()[1].encode()
    elif path == "key":
        data = f"{journal_signer().verifier_key}\n".encode()
    elif path == "former":
        data = "".join(f"{each}\n" for each in former_verifiers()).encode() or None
    elif path == "ca.pem":
        data = authority_certificate()
    elif path == "seals.pem":
        data = seal_anchors()
    elif path.startswith("checkpoints/"):
        data = kept_checkpoint(path.removeprefix("checkpoints/"))
    elif path.startswith("tile/entries/"):
        data = entries_bundle(
            path,
            withheld=lambda of: Consultation.every.withheld(now=timezone.now()).filter(uuid__in=of).exists(),
            receiving=lambda: list(
                Consultation.objects.real().receiving(now=timezone.now()).values_list("uuid", flat=True)
            ),
        )
    else:
        data = tile_hashes(path)
    if data is None:
        raise Http404
    text = path in ("checkpoint", "key", "former", "ca.pem", "seals.pem")
    text = text or (path.startswith("checkpoints/") and not path.endswith((".tsr", ".tsq")))
    response = HttpResponse(
        data, content_type="text/plain; charset=utf-8" if text else "application/octet-stream"
    )
    response["Cache-Control"] = "no-cache" if text else "public, max-age=300"
    return response


@csrf_exempt
@require_POST
@anyone
def timestamp(request: HttpRequest) -> HttpResponse:
    """The embedded timestamp authority over HTTP (RFC 3161, section 3.4). Never called qualified."""
    length = int(request.headers.get("Content-Length") or 0)
    if request.content_type != TIMESTAMP_QUERY or not 0 < length <= _QUERY_BYTES:
        return HttpResponse(
            "Une demande application/timestamp-query est attendue.\n", status=400, content_type="text/plain"
        )
    answer = timestamp_authority().respond(request.body, now=timezone.now())
    return HttpResponse(answer, content_type="application/timestamp-reply")
