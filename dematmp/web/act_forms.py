"""Forms about acts: the control authority's search and letters, the buyer's answers."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from django import forms
from django.core.files.uploadedfile import UploadedFile

from dematmp.accounts.models import User
from dematmp.acts.desk import TEXT_CHARS
from dematmp.acts.fields import Upload
from dematmp.acts.models import PrefectureLetter
from dematmp.acts.rules import LETTERS, NATURES
from dematmp.web.forms import FilesField, FilesInput

_ALL, _CONTROL, _AWAITED, _MINE = "", "controle", "reponse", "mes-actes"
_REFERRAL = "5-1"  # a déféré
# kind of the letter → what may be answered (S2LOW's `type_envoie`)
ANSWERS = {
    "2-1": (("2", "Répondre au courrier"),),
    "3-1": (("4", "Envoyer les pièces demandées"), ("3", "Refuser, en disant pourquoi")),
    "4-1": (("4", "Répondre aux observations"), ("3", "Rejeter les observations, en disant pourquoi")),
}


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label, required=False, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )


class ActSearchForm(forms.Form):
    """Acts received: words, authority, nature, days of receipt, and what is to be done."""

    is_search = True
    mots = forms.CharField(label="Mots-clés", required=False, max_length=200)
    acheteur = forms.ChoiceField(label="Collectivité", required=False)  # the values are SIRENs
    nature = forms.ChoiceField(label="Nature", required=False)
    du = _day("Reçus depuis le")
    au = _day("Reçus jusqu'au")
    suite = forms.ChoiceField(
        label="Où ils en sont",
        required=False,
        choices=(
            (_ALL, "Tous"),
            (_CONTROL, "Reçus depuis moins de deux mois"),
            (_AWAITED, "Une réponse est attendue"),
            (_MINE, "Ceux que je suis"),
        ),
    )

    def __init__(self, *args: Any, acts: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.acts = acts
        bought = acts.filter(authority=None).order_by().values_list("buyer__siret", "buyer__name").distinct()
        posted = acts.exclude(authority=None).order_by().values_list("authority__siren", "authority__name")
        senders = {number[:9]: name for number, name in (*bought, *posted.distinct())}
        listed = sorted(senders.items(), key=lambda each: each[1].casefold())
        self.fields["acheteur"].choices = [("", "Toutes"), *listed]  # type: ignore[attr-defined]
        natures = [(code, label) for code, (_, label) in NATURES.items()]
        self.fields["nature"].choices = [("", "Toutes"), *natures]  # type: ignore[attr-defined]

    def found(self, *, by: Any, today: Any) -> Any:
        """The acts that match; all of them when something is malformed."""
        if not self.is_valid():
            return self.acts
        said = self.cleaned_data
        rows = self.acts.searched(
            words=said["mots"],
            siren=said["acheteur"],
            nature=said["nature"],
            since=said["du"],
            until=said["au"],
        )
        if said["suite"] == _CONTROL:
            return rows.under_control(today)
        if said["suite"] == _AWAITED:
            return rows.awaiting_answer()
        return rows.filter(controller=by) if said["suite"] == _MINE else rows


class _Colleague(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return str(obj.get_full_name() or obj.email)


class AssignForm(forms.Form):
    """Who is in charge of an act."""

    controleur = _Colleague(
        label="Confier à", queryset=User.objects.none(), to_field_name="uuid", empty_label="Choisir"
    )

    def __init__(self, *args: Any, colleagues: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["controleur"].queryset = colleagues  # type: ignore[attr-defined]


class LetterForm(forms.Form):
    """The control authority writes about an act."""

    kind = forms.ChoiceField(label="Nature du courrier", choices=list(LETTERS.items()))
    text = forms.CharField(
        label="Ce qui est demandé ou reproché",
        required=False,
        max_length=TEXT_CHARS,
        widget=forms.Textarea({"rows": 4}),
        help_text="À remplir, sauf pour un courrier simple : la collectivité le lit avant d'ouvrir le PDF.",
    )
    document = forms.FileField(label="Courrier (PDF)", max_length=255, help_text="20 Mo au plus.")
    sure = forms.BooleanField(
        label="Pour un déféré seulement : je confirme que le tribunal administratif est saisi.",
        required=False,
        help_text="Un courrier envoyé ne se reprend pas.",
    )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        if said.get("kind") == _REFERRAL and not said.get("sure"):
            self.add_error("sure", "Confirmez que le tribunal est saisi, ou choisissez un autre courrier.")
        return said


class PublishedForm(forms.Form):
    """When an act was published or notified."""

    publie = forms.DateField(
        label="Publié ou notifié le",
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
        help_text="Les documents tamponnés portent cette date.",
    )


class AnswerForm(forms.Form):
    """The buyer answers a letter."""

    choice = forms.ChoiceField(label="Réponse", widget=forms.RadioSelect)

    def __init__(self, *args: Any, letter: PrefectureLetter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        answers = ANSWERS[letter.kind]
        self.fields["choice"].choices = answers  # type: ignore[attr-defined]
        self.fields["choice"].initial = answers[0][0]
        self.fields["documents"] = FilesField(
            label="Documents" if letter.kind == "3-1" else "Document",
            widget=FilesInput if letter.kind == "3-1" else None,
            max_length=255,
            error_messages={"required": "Joignez au moins un document."},
            help_text="PDF de préférence ; PNG, JPEG et XML acceptés. 150 Mo en tout.",
        )


def upload_of(file: UploadedFile[bytes]) -> Upload:
    """A file of a form, as the acts take it."""
    file.seek(0)
    return Upload(file.name or "fichier", file.size or 0, cast(BinaryIO, file))
