"""The journal of one consultation for its buyer: registers, exports, and the proof of each line."""

import json
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dematmp.audit.documents import render as typeset
from dematmp.audit.models import Entry
from dematmp.audit.publication import published_key
from dematmp.audit.registers import (
    AFTER_DEADLINE,
    OF_THE_COMMITTEE,
    REGISTERS,
    Proven,
    lines,
    proven,
    token_of,
    words_of,
)
from dematmp.audit.sealing import seal
from dematmp.consultations.models import Consultation
from dematmp.web.access import MemberRequest, holds
from dematmp.web.availability import local
from dematmp.web.downloads import attachment, csv_file
from dematmp.web.pages import document, of_buyer, page_of
from dematmp.web.register_lines import Words
from signing.pdf import Attachment

_ROLES = ("agent", "validator", "member")
_PDF_LINES = 2000
_ATTACHED_LINES = 20_000  # above, the proofs are not enclosed: the export in JSON streams them
_AT_ONCE = 500
_HEAD = (
    "rang au journal",
    "heure (UTC)",
    "nature",
    "libellé",
    "au sujet de",
    "empreinte publique (SHA-256)",
    "horodaté le (UTC)",
    "autorité d'horodatage",
)


def _is_closed(found: Consultation) -> bool:
    return found.published_at is not None and not found.is_open(now=timezone.now())


def _allowed(found: Consultation) -> dict[str, str]:
    """The registers that may be read now: name → title."""
    closed = _is_closed(found)
    return {name: title for name, (title, _) in REGISTERS.items() if closed or name not in AFTER_DEADLINE}


def _lines(found: Consultation, registers: list[str]) -> QuerySet[Entry]:
    """Before the deadline, what the public journal shows: nobody counts deposits by what is missing."""
    return lines(found.uuid, registers, published_only=not _is_closed(found))


def _chosen(request: MemberRequest, found: Consultation) -> tuple[str, QuerySet[Entry]]:
    """The register that was asked for, all those allowed by default."""
    allowed, asked = _allowed(found), request.GET.get("registre", "")
    if asked not in allowed:
        asked = ""
    return asked, _lines(found, [asked] if asked else list(allowed))


def _digest(entry: Entry) -> str:
    """The public one, salted by the nonce: a short record cannot be guessed from it."""
    return str(json.loads(bytes(entry.leaf))["digest"])


def _dated(entry: Entry) -> tuple[str, str]:
    """The hour of its token and who gave it."""
    token = token_of(entry)
    return (token.at.isoformat(), token.authority) if token else ("", "")


@require_safe
@holds(*_ROLES)
def consultation_journal(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """What the journal says of one consultation, the latest first."""
    found = of_buyer(request.user, consultation, *_ROLES)
    asked, entries = _chosen(request, found)
    page = page_of(request, entries.reverse(), per_page=50)
    context = {
        "consultation": found,
        "registers": _allowed(found),
        "asked": asked,
        "page": page,
        "listed": [
            (entry, words_of(entry), token_of(entry), about)
            for entry, about in _told(page.object_list, is_held=_is_held(request, found))
        ],
        "query": f"registre={asked}" if asked else "",
        "closed": _is_closed(found),
    }
    return render(request, "buyer/journal.html", context)


@require_safe
@holds(*_ROLES)
def journal_export(request: MemberRequest, consultation: uuid.UUID, form: str) -> HttpResponseBase:
    """The same as CSV, as JSON with the proof of each line, or as a sealed PDF."""
    found = of_buyer(request.user, consultation, *_ROLES)
    asked, entries = _chosen(request, found)
    name = f"journal-{found.reference}{f'-{asked}' if asked else ''}.{form}"
    held = _is_held(request, found)
    if form == "csv":
        rows = (
            [
                str(each.index), each.at.isoformat(), each.kind, words_of(each), about, _digest(each),
                *_dated(each),
            ]
            for each, about in _told(entries.iterator(chunk_size=_AT_ONCE), is_held=held)
        )  # fmt: skip
        return csv_file(_HEAD, rows, name=name)
    if form == "json":
        return attachment(_json(found, entries, is_held=held), name=name)
    return document(_pdf(found, asked, entries, is_held=held), name=name, content_type="application/pdf")


def _told(entries: Iterable[Entry], *, is_held: bool) -> Iterator[tuple[Entry, str]]:
    """Each entry, and what it is about; names are asked for a block at a time."""
    rows = iter(entries)
    while block := list(islice(rows, _AT_ONCE)):
        words = Words(block, is_held=is_held)
        yield from ((entry, words.of(entry)) for entry in block)


def _is_held(request: MemberRequest, found: Consultation) -> bool:
    """Whether this person is of the opening committee of this consultation."""
    return Consultation.objects.held_by(request.user).filter(pk=found.pk).exists()


def _said(entry: Entry, *, is_held: bool) -> Proven:
    return proven(entry, with_record=is_held or entry.kind not in OF_THE_COMMITTEE)


def _json(found: Consultation, entries: QuerySet[Entry], *, is_held: bool) -> Iterator[bytes]:
    head = {
        "v": "register/1",
        "consultation": str(found.uuid),
        "reference": found.reference,
        "key": published_key(),
    }
    yield json.dumps(head, ensure_ascii=False)[:-1].encode() + b', "entries": ['
    for count, entry in enumerate(entries.iterator()):
        said = json.dumps({**_said(entry, is_held=is_held), "words": words_of(entry)}, ensure_ascii=False)
        yield (b",\n" if count else b"\n") + said.encode()
    yield b"]}\n"


def _pdf(found: Consultation, asked: str, entries: QuerySet[Entry], *, is_held: bool) -> bytes:
    """What the pages cut, and the proof of each line, are in the file enclosed, under the same seal."""
    title = f"Registre : {REGISTERS[asked][0]}" if asked else "Journal de la consultation"
    now = timezone.now()
    data = {
        "operator": settings.OPERATOR_NAME,
        "title": title,
        "buyer": {"name": found.buyer.name, "siret": found.buyer.siret},
        "consultation": {"reference": found.reference, "title": found.title},
        "zone": settings.TIME_ZONE,
        "issued": local(now),
        "key": published_key(),
        "count": (count := entries.count()),
        "attached": count <= _ATTACHED_LINES,
        "entries": [
            {
                "index": each.index,
                "at": local(each.at),
                "words": words_of(each),
                "about": about,
                "sha256": _digest(each),
                "token": local(token.at) if (token := token_of(each)) else "",
            }
            for each, about in _told(entries[:_PDF_LINES], is_held=is_held)
        ],
    }
    attached = []
    if data["attached"]:
        whole = b"".join(_json(found, entries, is_held=is_held))
        attached = [
            Attachment("registre.json", whole, "application/json", "Toutes les lignes et leurs preuves")
        ]
    return seal(typeset("register", data, title=title), reason=title, now=now, attachments=attached)


@require_safe
@holds(*_ROLES)
def journal_proof(request: MemberRequest, consultation: uuid.UUID, index: int) -> HttpResponse:
    """One line and what proves it, for anybody to verify without us."""
    found = of_buyer(request.user, consultation, *_ROLES)
    entry = _lines(found, list(_allowed(found))).filter(index=index).first()
    if entry is None:
        raise Http404
    said = {**_said(entry, is_held=_is_held(request, found)), "key": published_key()}
    data = json.dumps(said, ensure_ascii=False, indent=1)
    return document(data.encode(), name=f"preuve-{index}.json", content_type="application/json")
