"""Forms of the buyer's pages. They tell what is malformed; the services decide."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.db.models import QuerySet

from dematmp.accounts.models import Organisation, User
from dematmp.consultations.models import Deadline, Lot
from dematmp.consultations.rules import DOCUMENT_KINDS
from dematmp.web.consultation_form import AmountField


class DeadlineForm(forms.Form):
    """A deadline to the second, in the zone of the platform."""

    date = forms.DateField(label="Date", widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"))
    time = forms.TimeField(
        label="Heure",
        widget=forms.TimeInput({"type": "time", "step": "1"}, format="%H:%M:%S"),
        help_text=(
            f"Heures, minutes et secondes, heure légale ({settings.TIME_ZONE}). 00:00 est "
            "refusé : il se lit de deux façons."
        ),
    )
    reason = forms.CharField(
        label="Motif du report",
        max_length=300,
        help_text="Il est publié et envoyé à tous ceux qui suivent la consultation.",
    )

    def __init__(
        self,
        *args: Any,
        current: Deadline | None,
        published: bool,
        proposed: tuple[datetime, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if published:
            self.fields["reason"].required = True
        else:
            del self.fields["reason"]
        at = proposed[0] if proposed else current.at if current is not None else None
        if at is not None:
            local = at.astimezone(ZoneInfo(settings.TIME_ZONE))
            self.initial = {**self.initial, "date": local.date(), "time": local.time()}
        if proposed:
            self.initial["reason"] = proposed[1]

    def at(self) -> datetime:
        """The instant chosen; an hour that the change of clocks repeats means its first passage (fold 0)."""
        zone = ZoneInfo(settings.TIME_ZONE)
        return datetime.combine(self.cleaned_data["date"], self.cleaned_data["time"], tzinfo=zone)


class PieceForm(forms.Form):
    title = forms.CharField(label="Intitulé de la pièce", max_length=200)
    kind = forms.ChoiceField(label="Nature", choices=list(DOCUMENT_KINDS.items()))
    file = forms.FileField(label="Fichier", max_length=None, allow_empty_file=True)


class VersionForm(forms.Form):
    file = forms.FileField(label="Nouvelle version", max_length=None, allow_empty_file=True)


class CommissionForm(forms.Form):
    """A commission that a buyer keeps from one consultation to the next."""

    name = forms.CharField(
        label="Nom", max_length=120, help_text="Par exemple « Commission d'appel d'offres »."
    )
    members = forms.ModelMultipleChoiceField(
        label="Titulaires",
        queryset=User.objects.none(),
        to_field_name="uuid",
        widget=forms.CheckboxSelectMultiple,
    )
    deputies = forms.ModelMultipleChoiceField(
        label="Suppléants",
        required=False,
        queryset=User.objects.none(),
        to_field_name="uuid",
        widget=forms.CheckboxSelectMultiple,
        help_text="Un suppléant ne détient une part que s'il remplace un titulaire.",
    )
    threshold = forms.IntegerField(
        label="Quorum",
        min_value=2,
        max_value=20,
        initial=2,
        help_text="Nombre de parts qui ouvrent : 2 sur 4, 3 sur 5. Jamais une seule personne.",
    )

    president = forms.ModelChoiceField(
        label="Présidente ou président",
        required=False,
        queryset=User.objects.none(),
        to_field_name="uuid",
        empty_label="Personne en particulier",
        help_text="Proposée pour fabriquer les clés de chaque consultation.",
    )

    def __init__(self, *args: Any, members: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("members", "deputies", "president"):
            self.fields[name].queryset = members  # type: ignore[attr-defined]


class CeremonyForm(forms.Form):
    """Who holds a share, and how many shares open."""

    members = forms.ModelMultipleChoiceField(
        label="Détenteurs d'une part",
        queryset=User.objects.none(),
        to_field_name="uuid",
        widget=forms.CheckboxSelectMultiple,
    )
    threshold = forms.IntegerField(
        label="Quorum",
        min_value=2,
        max_value=20,
        initial=2,
        help_text="Nombre de parts qui ouvrent. Jamais une seule personne.",
    )
    dealer = forms.ModelChoiceField(
        label="Qui fabrique les clés",
        queryset=User.objects.none(),
        to_field_name="uuid",
        help_text=(
            "L'un des détenteurs, en général la présidente ou le président : ses clés sont fabriquées et "
            "réparties dans son navigateur. Choisissez quelqu'un de confiance : un programme malveillant sur "
            "ce poste pourrait rendre les plis impossibles à ouvrir."
        ),
    )

    def __init__(self, *args: Any, members: QuerySet[User], renewing: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("members", "dealer"):
            self.fields[name].queryset = members  # type: ignore[attr-defined]
        if renewing:
            del self.fields["dealer"]  # who deals again says so, and gives its code


class AnswerForm(forms.Form):
    answer = forms.CharField(label="Réponse", max_length=8000, widget=forms.Textarea({"rows": 3}))


class AwardForm(forms.Form):
    """Decide a lot among the companies whose offer was opened."""

    lot = forms.ModelChoiceField(label="Lot", queryset=Lot.objects.none(), empty_label=None)
    company = forms.ModelChoiceField(
        label="Attributaire", queryset=Organisation.objects.none(), to_field_name="uuid", empty_label=None
    )
    amount = AmountField(label="Montant (€ HT)", help_text="Par exemple 85 000,50.")
    reasons = forms.CharField(label="Motifs", max_length=4000, widget=forms.Textarea({"rows": 4}))

    def __init__(
        self, *args: Any, lots: QuerySet[Lot], companies: QuerySet[Organisation], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["lot"].queryset = lots  # type: ignore[attr-defined]
        self.fields["company"].queryset = companies  # type: ignore[attr-defined]
