"""The control authority's desk: acts received from its territory, followed, and written about."""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import date

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dematmp.acts import correspondence, desk, procedure, texts, timeline
from dematmp.acts.errors import ActError
from dematmp.acts.figures import head, per_month, row
from dematmp.acts.files import matter_of, pieces_of, read_file, transaction_of
from dematmp.acts.models import Act
from dematmp.acts.rules import LETTERS, NATURES
from dematmp.web.access import MemberRequest, holds
from dematmp.web.act_forms import ActSearchForm, AssignForm, LetterForm, upload_of
from dematmp.web.downloads import csv_file, part_of, resumable
from dematmp.web.errors import explain
from dematmp.web.pages import document, page_of
from storage.stores import object_store

_WITH = ("buyer", "authority", "transmission", "controller")
_HEAD = (
    "collectivité",
    "identifiant",
    "nature",
    "matière",
    "objet",
    "décision du",
    "reçu le",
    "deux mois",
    "suivi par",
    "courriers",
    "annulé le",
)


def _received(request: MemberRequest) -> ActSearchForm:
    return ActSearchForm(request.GET or None, acts=Act.objects.received_by(request.user))


@require_safe
@holds("controller")
def act_list(request: MemberRequest) -> HttpResponse:
    """Acknowledged acts of the territory, the latest first; what is to be done is counted."""
    form, today = _received(request), timezone.localdate()
    rows = form.found(by=request.user, today=today).select_related(
        "buyer", "authority", "transmission", "controller"
    )
    rows = rows.prefetch_related("letters", "transmission__steps")
    page = page_of(request, rows.order_by("-transmission__received_on", "-pk"))
    query = request.GET.copy()
    query.pop("page", None)
    figures = {
        "under_control": form.acts.under_control(today).count(),
        "awaiting": form.acts.awaiting_answer().count(),
        "mine": form.acts.filter(controller=request.user).count(),
    }
    found = texts.excerpts(page, form.cleaned_data["mots"] if form.is_valid() else "")
    listed = [(act, timeline.situation(act, now=timezone.now()), found.get(act.pk)) for act in page]
    context = {"form": form, "page": page, "listed": listed, "query": query.urlencode(), **figures}
    return render(request, "prefecture/list.html", context)


@require_safe
@holds("controller")
def acts_csv(request: MemberRequest) -> HttpResponseBase:
    """What the search finds, one act a line."""
    found = _received(request).found(by=request.user, today=timezone.localdate())
    rows = found.select_related(*_WITH).prefetch_related("letters")
    return csv_file(_HEAD, _lines(rows.order_by("transmission__received_on", "pk")), name="actes-recus.csv")


def _lines(rows: Sequence[Act]) -> Iterator[list[str]]:
    for act in rows:
        sent = act.transmission
        letters = "; ".join(f"{each.kind} du {each.written_on}" for each in act.letters.all())
        cancelled = timezone.localtime(sent.cancelled_at).date() if sent.cancelled_at else None
        yield [
            act.sender.name,
            act.identifier,
            act.get_nature_display(),
            act.classification,
            act.subject,
            _iso(act.decided_on),
            _iso(sent.received_on),
            _iso(timeline.control_until(act)),
            act.controller.email if act.controller else "",
            letters,
            _iso(cancelled),
        ]


def _iso(day: date | None) -> str:
    return day.isoformat() if day else ""


def _act(request: MemberRequest, act: uuid.UUID) -> Act:
    rows = Act.objects.received_by(request.user).select_related(
        "buyer", "authority", "transmission", "controller"
    )
    found = rows.filter(uuid=act).first()
    if found is None:
        raise Http404
    return found


@require_safe
@holds("controller")
def act(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """One act: its facts, who has it, what may be done, everything that happened."""
    found = _act(request, act)
    context = {
        "act": found,
        "situation": timeline.situation(found, now=timezone.now()),
        "until": timeline.control_until(found),
        "events": timeline.events(found),
        "letters": found.letters.order_by("-pk"),
        "may_write": transaction_of(found) is not None and found.transmission.cancelled_at is None,
        "is_mine": found.controller == request.user,
        "pieces": pieces_of(found),
        "matter": matter_of(found),
        "leaving": desk.leaving(found),
        "assign": AssignForm(colleagues=found.controllers, initial={"controleur": found.controller}),
        "has_colleagues": found.controllers.count() > 1,
        "procedure": procedure.of(found),
        "award": found.about,
        "decision": procedure.decision(found, seen_by=request.user),
    }
    return render(request, "prefecture/act.html", context)


@require_POST
@holds("controller")
def assign(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """Put oneself or a colleague in charge of an act."""
    found = _act(request, act)
    form = AssignForm(request.POST, colleagues=found.controllers)
    if not form.is_valid():
        messages.error(request, "Choisissez un collègue dans la liste.")
        return redirect("prefecture-act", act=act)
    chosen = form.cleaned_data["controleur"]
    desk.assign(found, to=chosen, by=request.user, now=timezone.now())
    if chosen == request.user:
        said = "Vous suivez cet acte : les réponses de la collectivité vous seront signalées."
    else:
        said = f"L'acte est confié à {chosen.get_full_name() or chosen.email}, qui en est prévenu."
    messages.success(request, said)
    return redirect("prefecture-act", act=act)


@require_safe
@holds("controller")
def figures(request: MemberRequest) -> HttpResponse:
    """Twelve months of acts and letters."""
    months = per_month(Act.objects.received_by(request.user), today=timezone.localdate())
    natures = [label for _, label in NATURES.values()]
    context = {"months": months, "natures": natures, "letters": list(LETTERS.values())}
    return render(request, "prefecture/figures.html", context)


@require_safe
@holds("controller")
def figures_csv(request: MemberRequest) -> HttpResponseBase:
    """The same, one month a line."""
    months = per_month(Act.objects.received_by(request.user), today=timezone.localdate())
    return csv_file(head(), [row(each) for each in months], name="chiffres-actes.csv")


@require_http_methods(["GET", "POST"])
@holds("controller")
def write_letter(request: MemberRequest, act: uuid.UUID) -> HttpResponse:
    """Write to the authority about its act."""
    found = _act(request, act)
    form = LetterForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            desk.write_letter(
                found,
                kind=said["kind"],
                text=said["text"],
                document=upload_of(said["document"]),
                by=request.user,
                now=timezone.now(),
            )
        except ActError as refused:
            explain(form, refused)
        else:
            messages.success(request, f"Le courrier est envoyé à {found.sender}.")
            return redirect("prefecture-act", act=found.uuid)
    context = {"act": found, "form": form, "title": "Écrire à la collectivité"}
    return render(request, "prefecture/letter.html", context, status=400 if form.errors else 200)


@require_safe
@holds("controller")
def act_file(request: MemberRequest, act: uuid.UUID, name: str) -> HttpResponse:
    """The act's document, the message received, the acknowledgement sent."""
    found = _act(request, act)
    file = procedure.read(found, name) if name in procedure.NAMES else read_file(found, name)
    if file is None:
        raise Http404
    return document(file[0], name=f"{found.number}-{name}", content_type=file[1])


@require_safe
@holds("controller")
def letter_file(request: MemberRequest, act: uuid.UUID, letter: int, name: str) -> HttpResponseBase:
    """A document of a letter."""
    return letter_document(request, _act(request, act), letter, name)


@require_safe
@holds("controller")
def answer_file(request: MemberRequest, act: uuid.UUID, letter: int, rank: int) -> HttpResponseBase:
    """A file of the buyer's answer."""
    found = _act(request, act).letters.filter(pk=letter).first()
    file = found.answer_files.filter(rank=rank).first() if found else None
    if file is None:
        raise Http404
    store = object_store()
    return resumable(
        request,
        lambda start, length: store.open(file.key, start=start, length=length),
        name=file.posted_name,
        size=file.size,
        sha256=file.sha256,
    )


def letter_document(request: HttpRequest, act: Act, letter: int, name: str) -> HttpResponseBase:
    """What came with a letter about this act, streamed; 404 when there is no such document."""
    found = act.letters.filter(pk=letter).first()
    opened = correspondence.document(found, name) if found else None
    if opened is None:
        raise Http404
    size, blocks = opened
    # The archive of a letter never changes: its key and the name in it are what the browser resumes.
    tag = hashlib.sha256(f"{found.archive_key}/{name}".encode()).hexdigest() if found else ""
    return resumable(
        request, lambda start, length: part_of(blocks, start, length), name=name, size=size, sha256=tag
    )
