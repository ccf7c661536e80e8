"""The buyer's register of backup copies: what arrived, what was opened and why, what was destroyed."""

import uuid
from datetime import datetime
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from dematmp.accounts.errors import SiretRefused
from dematmp.accounts.rules import clean_siret
from dematmp.bids.copies import record_copy
from dematmp.bids.errors import CopyRefused
from dematmp.bids.models import COPY_MEDIA, COPY_REASONS, BackupCopy
from dematmp.opening.backup_copies import destroy_copy, open_copy
from dematmp.web.access import MemberRequest, holds
from dematmp.web.buyer import form_page
from dematmp.web.pages import of_buyer


class CopyForm(forms.Form):
    company = forms.CharField(label="Entreprise", max_length=200, help_text="Telle qu'écrite sur le pli.")
    siret = forms.CharField(label="SIRET", max_length=20, required=False, help_text="S'il est sur le pli.")
    medium = forms.ChoiceField(label="Support", choices=list(COPY_MEDIA.items()))
    lots = forms.CharField(
        label="Lots", max_length=200, required=False, help_text="Tels qu'écrits sur le pli."
    )
    date = forms.DateField(
        label="Date d'arrivée", widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )
    time = forms.TimeField(
        label="Heure d'arrivée", widget=forms.TimeInput({"type": "time", "step": "1"}, format="%H:%M:%S")
    )

    def clean_siret(self) -> str:
        if not self.cleaned_data["siret"]:
            return ""
        try:
            return clean_siret(self.cleaned_data["siret"])
        except SiretRefused as wrong:
            raise ValidationError(str(wrong), code=wrong.code) from wrong

    def at(self) -> datetime:
        """The instant of arrival, as the reception desk's clock said it."""
        zone = ZoneInfo(settings.TIME_ZONE)
        return datetime.combine(self.cleaned_data["date"], self.cleaned_data["time"], tzinfo=zone)


class OpenCopyForm(forms.Form):
    reason = forms.ChoiceField(label="Pourquoi l'ouvrir", choices=list(COPY_REASONS.items()))
    words = forms.CharField(
        label="Précisions", max_length=500, required=False, widget=forms.Textarea({"rows": 3})
    )


@require_http_methods(["GET", "POST"])
@holds("agent")
def record(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Write down a copy that arrived."""
    found = of_buyer(request.user, consultation, "agent")
    if found.published_at is None:
        raise Http404
    here = timezone.localtime(timezone.now(), ZoneInfo(settings.TIME_ZONE))
    form = CopyForm(request.POST or None, initial={"date": here.date(), "time": here.time()})

    def act(now: datetime) -> str:
        names = ("company", "siret", "medium", "lots")
        said = {name: form.cleaned_data[name] for name in names}
        record_copy(found, **said, received_at=form.at(), by=request.user, now=now)
        return "La copie de sauvegarde est inscrite au registre."

    return form_page(
        request,
        found,
        form,
        title="Copie de sauvegarde reçue",
        action="Inscrire au registre",
        act=act,
        advice="Le pli reste fermé. Notez l'heure de son arrivée : elle décide s'il pourra être ouvert.",
        after="buyer-registers",
    )


def _copy(request: MemberRequest, consultation: uuid.UUID, copy: uuid.UUID) -> BackupCopy:
    found = of_buyer(request.user, consultation, "agent")
    kept = BackupCopy.objects.filter(consultation=found, uuid=copy).select_related("consultation").first()
    if kept is None:
        raise Http404
    return kept


@require_http_methods(["GET", "POST"])
@holds("agent")
def open_one(request: MemberRequest, consultation: uuid.UUID, copy: uuid.UUID) -> HttpResponse:
    """Write that a copy is opened, with the case of the law that allows it."""
    kept = _copy(request, consultation, copy)
    form = OpenCopyForm(request.POST or None)

    def act(now: datetime) -> str:
        open_copy(kept, **form.cleaned_data, by=request.user, now=now)
        return f"L'ouverture de la copie de {kept.company} est inscrite au registre."

    return form_page(
        request,
        kept.consultation,
        form,
        title="Ouvrir une copie de sauvegarde",
        action="Inscrire l'ouverture",
        act=act,
        advice=f"{kept.company}. Une copie ne s'ouvre que dans l'un des cas de l'annexe 6 (article 2).",
        after="buyer-registers",
    )


@require_POST
@holds("agent")
def destroy(request: MemberRequest, consultation: uuid.UUID, copy: uuid.UUID) -> HttpResponse:
    """Write that a copy is destroyed."""
    kept = _copy(request, consultation, copy)
    try:
        destroy_copy(kept, by=request.user, now=timezone.now())
    except CopyRefused as refused:
        messages.error(request, f"{refused} {refused.next}")
    else:
        messages.success(request, "La destruction est inscrite au registre.")
    return redirect("buyer-registers", consultation=consultation)
