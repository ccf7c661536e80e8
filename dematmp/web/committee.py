"""The committee's pages: who brought a share, what was opened, the minutes."""

import base64
import uuid
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.accounts.models import Organisation, User
from dematmp.consultations.models import Consultation, Lot
from dematmp.consultations.queries import ConsultationQuerySet
from dematmp.opening import rehearsals, renewals
from dematmp.opening.closing import undecided, unscanned
from dematmp.opening.decisions import begun_lots, to_decide
from dematmp.opening.late_bids import undecided as undecided_late
from dematmp.opening.late_bids import undecided_text
from dematmp.opening.left_out import CLOSED, left_out_bids
from dematmp.opening.models import (
    Ceremony,
    KeyHolder,
    OpenedFile,
    OpeningSession,
    Protector,
    SealedShare,
)
from dematmp.opening.protectors import lose_protector
from dematmp.opening.services import present
from dematmp.web.access import MemberRequest, holds
from dematmp.web.downloads import resumable
from dematmp.web.pages import document, page_of
from dematmp.web.templatetags.assets import sha256_of
from signing.ceremony import fingerprint
from storage.stores import object_store

# Of one envelope, of several.
_COUNTED = {
    "waiting": ("à ouvrir", "à ouvrir"),
    "opened": ("ouvert", "ouverts"),
    "unopened": ("non ouvert", "non ouverts"),
    "refused": ("illisible", "illisibles"),
    "incident": ("incident technique", "incidents techniques"),
}
_FORMS = {
    "phrase": ("committee/new_passphrase.html", "Phrase secrète"),
    "feuille": ("committee/new_paper.html", "Feuille de secours"),
    "cle-d-acces": ("committee/new_passkey.html", "Clé d'accès"),
}


def _mine(request: MemberRequest) -> ConsultationQuerySet:
    return Consultation.objects.held_by(request.user).select_related("buyer", "ceremony")


def _found(request: MemberRequest, consultation: uuid.UUID) -> Consultation:
    found = _mine(request).filter(uuid=consultation).first()
    if found is None:
        raise Http404
    return found


def program(request: MemberRequest) -> dict[str, object]:
    """What the forms of a member need: the worker, its digest, the name of the CSRF cookie."""
    worker = "build/committee-worker.js"
    return {
        "worker_url": static(worker),
        "worker_sha256": sha256_of(worker),
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "organisation": Organisation.objects.filter(
            memberships__user=request.user, memberships__role="member"
        ).first(),
    }


@require_safe
@holds("member")
def session_list(request: MemberRequest) -> HttpResponse:
    """My protectors, and the consultations of which I hold a share."""
    page = page_of(request, _mine(request).soonest_first().reverse())
    asked = Q(holders__user=request.user) | Q(renews__holders__user=request.user)
    waiting = Ceremony.objects.filter(asked, former_of=None, confirmed_at=None).filter(
        renews__consultation__buyer__in=request.user.organisations("member")
    )
    context = {
        "page": page,
        "now": timezone.now(),
        "protectors": request.user.protectors.kept(),
        "renewals": waiting.distinct().order_by("pk"),
    }
    return render(request, "committee/list.html", context)


@require_safe
@holds("member")
@ensure_csrf_cookie
def new_protector(request: MemberRequest, kind: str) -> HttpResponse:
    """One form for each kind of protector; the browser makes it, the API enrols its public key."""
    template, label = _FORMS[kind]
    count = request.user.protectors.filter(label__startswith=label).count()
    context = {"label": f"{label} {count + 1}" if count else label, **program(request)}
    return render(request, template, context)


@require_http_methods(["GET", "POST"])
@holds("member")
def lose(request: MemberRequest, protector: uuid.UUID) -> HttpResponse:
    """Declare a protector lost, after saying what it means."""
    found = request.user.protectors.kept().filter(uuid=protector).first()
    if found is None:
        raise Http404
    if request.method == "POST":
        lose_protector(found, now=timezone.now())
        messages.success(request, f"« {found.label} » est déclaré perdu.")
        return redirect("committee")
    others = request.user.protectors.kept().count() - 1
    return render(request, "committee/lose_protector.html", {"protector": found, "others": others})


def _opening(request: MemberRequest, consultation: Consultation) -> dict[str, object]:
    """Where the opening of a consultation, or of its twin, is."""
    opened = OpeningSession.objects.filter(consultation=consultation).first()
    holders = list(consultation.ceremony.holders.select_related("user").order_by("index"))
    here = present(opened) if opened else []
    passed = consultation.published_at is not None and not consultation.is_open(now=timezone.now())
    return {
        "consultation": consultation,
        "deadline": consultation.current_deadline,
        "passed": passed,
        "lots": _lots(consultation, opened) if passed else [],
        "session": opened,
        "holders": [(holder, holder.index in here) for holder in holders],
        "present": len(here),
        "me": next((holder for holder in holders if holder.user == request.user), None),
        "given": any(holder.user == request.user and holder.index in here for holder in holders),
        "enough": len(here) >= consultation.ceremony.threshold,
        "kinds_now": opened.kinds if opened else consultation.opening_phases[0],
        "several_phases": len(consultation.opening_phases) > 1,
    }


def _lots(consultation: Consultation, opened: OpeningSession | None) -> list[tuple[Lot, str]]:
    """Each lot and why it is left sealed, while the committee may still say so; one lot is not a choice."""
    if opened is not None and opened.state not in ("waiting", "deciding"):
        return []
    lots = list(consultation.lots.order_by("pk"))
    if len(lots) < 2:
        return []
    sealed, begun = (opened.left_sealed, begun_lots(opened)) if opened else ({}, set[str]())
    return [(lot, sealed.get(lot.number, "")) for lot in lots if lot.number not in begun]


def shown(protectors: Iterable[Protector]) -> list[dict[str, object]]:
    """Protectors as the forms that unlock one need them."""
    return [
        {
            "uuid": each.uuid,
            "kind": each.kind,
            "label": each.label,
            "wrapped_text": base64.b64encode(bytes(each.wrapped)).decode()
            if each.wrapped and each.kind == "passkey"
            else "",
        }
        for each in protectors
    ]


def protectors_of(user: User, ceremony: Ceremony) -> dict[str, object]:
    """Those that keep this person's shares of a ceremony, and those that do not yet."""
    shares = SealedShare.objects.filter(holder__ceremony=ceremony, holder__user=user)
    keeping = set(shares.order_by("pk").values_list("protector", flat=True))
    kept = user.protectors.kept()
    mine = shown(kept.filter(pk__in=keeping))
    unused = [
        {"uuid": each.uuid, "again": f"Garder aussi ma part avec « {each.label} »"}
        for each in kept.exclude(pk__in=keeping)
    ]
    return {"my_protectors": mine, "unused": unused if keeping else []}


def _after(opened: OpeningSession, holders: object, user: User) -> dict[str, object]:
    """What the committee still has to decide and to sign."""
    signed = {each.user_id: each for each in opened.signatures.order_by("pk")}
    rows = holders if isinstance(holders, list) else []
    deciding = opened.state == "deciding"
    return {
        "left_out": left_out_bids(opened),
        "former": opened.former_minutes.order_by("pk"),
        "undecided": len(undecided(opened)) if opened.finished_at and not opened.closed_at else 0,
        "unscanned": unscanned(opened) if opened.finished_at and not opened.closed_at else 0,
        "undecided_envelopes": sum(1 for row in to_decide(opened) if not row.decision) if deciding else 0,
        "signatures": [(holder, signed.get(holder.user_id)) for holder, _ in rows],
        "signed": user.pk in signed,
    }


def _envelopes(request: MemberRequest, opened: OpeningSession) -> dict[str, object]:
    """Hundreds of envelopes stay readable: counted, lot by lot, some at a time, or only those to look at."""
    every = opened.envelopes.order_by(
        "envelope__lot", "envelope__attempt__bidder__name", "envelope__kind", "pk"
    )
    look = Q(state__in=("refused", "incident")) | Q(files__verdict__in=("infected", "unscannable"))
    look |= Q(files__signature__indication__in=("TOTAL_FAILED", "INDETERMINATE"))
    to_look_at = every.filter(look).distinct()
    only = request.GET.get("voir") == "examiner"
    rows = (to_look_at if only else every).select_related("envelope__attempt__bidder", "decided_by")
    files = OpenedFile.objects.filter(opened__session=opened)
    states = opened.envelopes.order_by("state").values_list("state").annotate(count=Count("pk"))
    return {
        "rows": page_of(request, rows.prefetch_related("files"), per_page=50),
        "counts": [(_COUNTED[state][count > 1], count) for state, count in states],
        "to_look_at": to_look_at.count(),
        "only": only,
        "query": "voir=examiner" if only else "",
        "files_done": files.exclude(done_at=None).count(),
        "files_total": files.count(),
    }


@require_safe
@holds("member")
@ensure_csrf_cookie
def session(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """The session of one consultation: rehearsal, shares, progress, opened files, minutes."""
    found = _found(request, consultation)
    main = _opening(request, found)
    opened = main["session"]
    after: dict[str, object] = {}
    if isinstance(opened, OpeningSession) and opened.releases:
        after = {**_after(opened, main["holders"], request.user), **_envelopes(request, opened)}
    twin = rehearsals.of(found) if found.published_at is None else None
    # The two confirmations are one act: a cut between them is made good by confirming again.
    unconfirmed = KeyHolder.objects.filter(
        ceremony__consultation=found.ceremony.twin, user=request.user, confirmed_at=None
    )
    late = len(undecided_late(found)) if main["passed"] else 0
    context = {
        **main,
        "late_undecided": late,
        "late_text": undecided_text(late),
        "left_out_closed": CLOSED,
        "renewal": renewals.pending(found),
        "site_url": settings.SITE_URL,
        "twin": _opening(request, twin) if twin else None,
        "twin_to_confirm": found.published_at is None and unconfirmed.exists(),
        "fingerprint": fingerprint(found.ceremony_sha256) if found.ceremony_sha256 else "",
        **after,
        **protectors_of(request.user, found.ceremony),
        **program(request),
    }
    if not request.headers.get("HX-Request"):
        return render(request, "committee/session.html", context)
    # 286 stops htmx's polling: buttons that appear must not move under the keyboard.
    settled = isinstance(opened, OpeningSession) and opened.state in ("deciding", "done")
    return render(request, "committee/_session.html", context, status=286 if settled else 200)


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
    key = found.key

    def read(start: int, length: int | None) -> Iterator[bytes]:
        return object_store().open(key, start, length)

    return resumable(request, read, name=found.name, size=found.size, sha256=found.sha256)
