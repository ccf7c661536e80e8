"""Signatures on the screen: a public page that checks any signed file, and the committee's reports."""

from __future__ import annotations

import json
import tempfile
import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.audit.keys import seal_anchors
from dematmp.consultations.models import Consultation
from dematmp.opening import preserving
from dematmp.opening.models import OpenedFile
from dematmp.web.access import MemberRequest, anyone, holds
from dematmp.web.forms import FilesField, FilesInput
from dematmp.web.pages import document
from signing.report import LABELS, Report, read_report
from signing.validation import validate_isolated

_BYTES = 50 * 1024**2  # of all the files together
_MAX_FILES = 20
_NAME_BYTES = 200  # a file system takes 255, whatever the characters; the end says what it is
_AT_ONCE = threading.BoundedSemaphore(2)  # in each web process: each check is a process of its own
_PATIENCE = 20.0  # seconds


class CheckForm(forms.Form):
    file = forms.FileField(
        label="Fichier signé",
        max_length=255,
        help_text="PDF, ou fichier de signature (.p7m, .p7s, .sig, .xml, .asice…). 50 Mo en tout.",
    )
    beside = FilesField(
        label="Fichiers que la signature accompagne",
        required=False,
        widget=FilesInput,
        help_text="Seulement quand la signature est dans un fichier à part : le document qu'elle signe.",
    )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        files = [said.get("file"), *said.get("beside", [])]
        if len(files) > _MAX_FILES + 1 or sum(each.size or 0 for each in files if each) > _BYTES:
            raise ValidationError("50 Mo et 20 fichiers au plus : la ligne de commande n'a pas cette limite.")
        return said


@require_http_methods(["GET", "POST"])
@anyone
def check_signature(request: HttpRequest) -> HttpResponse:
    """Judge the signatures of a file, now, and keep nothing of it."""
    sent = request.method == "POST"
    form = CheckForm(request.POST, request.FILES) if sent else CheckForm()
    report = None
    if sent and form.is_valid():
        if _AT_ONCE.acquire(timeout=_PATIENCE):
            try:
                report = _check(form.cleaned_data["file"], form.cleaned_data["beside"])
            finally:
                _AT_ONCE.release()
        else:
            form.add_error(None, "D'autres vérifications sont en cours : recommencez dans une minute.")
    context = {
        "form": form,
        "report": report,
        "name": form.cleaned_data["file"].name if report else "",
        "verdict": LABELS.get(report.indication, "") if report else "",
        "lists": bool(settings.SIGNATURE_TRUST),
        "site_url": settings.SITE_URL,
    }
    return render(request, "public/check_signature.html", context)


def _check(file: UploadedFile[bytes], beside: Sequence[UploadedFile[bytes]]) -> Report:
    with tempfile.TemporaryDirectory(prefix="dematmp-verification-") as folder:
        kept = [
            _write(each.name or "", each.chunks(), Path(folder) / str(rank))
            for rank, each in enumerate([file, *beside])
        ]
        trust = [Path(each) for each in settings.SIGNATURE_TRUST]
        return validate_isolated(kept[0], at=timezone.now(), trust=trust, detached=kept[1:], online=True)


def judge_blocks(blocks: Iterable[bytes], *, name: str, at: datetime) -> Report | None:
    """The report on a file of an act, as it was on that day; None when too many are being judged.

    The seal of this platform, on the acts that it draws up, is known here: nobody else has that authority's.
    """
    if not _AT_ONCE.acquire(timeout=_PATIENCE):
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="dematmp-verification-") as folder:
            path, own = _write(name, blocks, Path(folder) / "0"), Path(folder) / "plateforme.pem"
            own.write_bytes(seal_anchors())
            trust = [*map(Path, settings.SIGNATURE_TRUST), own]
            return validate_isolated(path, at=at, trust=trust, online=True)
    finally:
        _AT_ONCE.release()


def _write(name: str, blocks: Iterable[bytes], folder: Path) -> Path:
    folder.mkdir()
    short = PurePosixPath(name).name.encode(errors="replace")[-_NAME_BYTES:].decode(errors="ignore")
    path = folder / (short or "fichier")
    with path.open("wb") as out:
        for block in blocks:
            out.write(block)
    return path


def _judged(request: MemberRequest, consultation: uuid.UUID, file: uuid.UUID) -> OpenedFile:
    """A served file that has a report, for a member of its committee."""
    held = Consultation.objects.held_by(request.user).filter(uuid=consultation)
    found = OpenedFile.objects.filter(
        uuid=file, opened__session__consultation__in=held, opened__state="opened"
    )
    row = found.select_related("opened__envelope__attempt__bidder", "opened__session__consultation").first()
    if row is None or row.signature is None or not row.is_served:
        raise Http404
    session = row.opened.session
    if session.state == "released" and not session.finished_at:
        raise Http404  # as the file itself: nothing is shown while the opening goes on
    return row


@require_safe
@holds("member")
def file_signatures(request: MemberRequest, consultation: uuid.UUID, file: uuid.UUID) -> HttpResponse:
    """What each signature of an opened file is worth, and why."""
    row = _judged(request, consultation, file)
    report = read_report(row.signature or {})
    context = {
        "consultation": row.opened.session.consultation,
        "file": row,
        "report": report,
        "preserved": report.has_signature,
        "tokens": preserving.tokens_of(row),
    }
    return render(request, "committee/signatures.html", context)


@require_safe
@holds("member")
def file_report(request: MemberRequest, consultation: uuid.UUID, file: uuid.UUID) -> HttpResponse:
    """The report, the evidence it rests on and its tokens: judged again without us."""
    row = _judged(request, consultation, file)
    data = json.dumps(preserving.kept(row), ensure_ascii=False, indent=1).encode()
    return document(data, name=f"rapport-{row.index}.json", content_type="application/json")
