"""Forms of the public and account pages: they tell what is malformed; the services decide."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from dematmp.accounts.models import Organisation
from dematmp.accounts.rules import ROLES
from dematmp.consultations.models import Consultation
from dematmp.mails.rules import is_deliverable

_DOES = {
    "agent": "prépare et suit les consultations",
    "validator": "valide, attribue, invite des collègues",
    "member": "détient une part des clés et ouvre les plis",
    "administrator": "dépose des offres et invite des collègues",
    "bidder": "dépose des offres",
    "controller": "reçoit les actes et invite des collègues",
}


class AddressField(forms.EmailField):
    """An address that a mail can really be sent to."""

    def clean(self, value: Any) -> str:
        address = str(super().clean(value)).strip()
        if address and not is_deliverable(address):
            raise ValidationError("Cette adresse ne peut pas recevoir de courriel : vérifiez-la.")
        return address


class FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Several files; none of them where it is not required."""

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile[bytes]]:
        each = data if isinstance(data, list | tuple) else [data] if data else []
        if self.required and not each:
            raise ValidationError(self.error_messages["required"], code="required")
        return [super(FilesField, self).clean(one, initial) for one in each]


class SearchForm(forms.Form):
    """The public list: words, CPV prefix, buyer, and whether to show what is closed."""

    is_search = True  # nothing here is called optional: all is
    mots = forms.CharField(label="Mots-clés", required=False, max_length=200)
    cpv = forms.CharField(label="Code CPV", required=False, max_length=10)
    acheteur = forms.ModelChoiceField(
        label="Acheteur",
        required=False,
        queryset=Organisation.objects.none(),
        to_field_name="uuid",
        empty_label="Tous les acheteurs",
    )
    closes = forms.BooleanField(label="Montrer aussi les consultations closes", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        published = Consultation.objects.real().public()
        buyers = Organisation.objects.filter(kind="buyer", consultations__in=published)
        self.fields["acheteur"].queryset = buyers.distinct().order_by("name")  # type: ignore[attr-defined]


class FollowForm(forms.Form):
    """An address left, if one wishes, to be told of changes."""

    email = AddressField(label="Courriel", widget=forms.EmailInput({"autocomplete": "email"}))


class QuestionForm(forms.Form):
    text = forms.CharField(
        label="Votre question",
        max_length=4000,
        widget=forms.Textarea({"rows": 4}),
        help_text=(
            "La réponse sera publiée pour tous, sans dire qui a posé la question : n'y écrivez pas votre nom."
        ),
    )
    email = AddressField(
        label="Courriel",
        required=False,
        help_text="Pour être prévenu de la réponse.",
        widget=forms.EmailInput({"autocomplete": "email"}),
    )


class CompanyForm(forms.Form):
    """A company by its SIRET, or a foreign one by its country and national number."""

    name = forms.CharField(
        label="Nom de l'entreprise", max_length=200, widget=forms.TextInput({"autocomplete": "organization"})
    )
    siret = forms.CharField(
        label="SIRET",
        required=False,
        max_length=20,
        help_text="14 chiffres. Laissez vide si l'entreprise n'est pas établie en France.",
        widget=forms.TextInput({"inputmode": "numeric"}),
    )
    country = forms.CharField(
        label="Pays", max_length=2, initial="FR", help_text="Code à deux lettres : FR, BE, DE, ES…"
    )
    foreign_number = forms.CharField(
        label="Numéro national d'entreprise (hors de France)",
        required=False,
        max_length=60,
        help_text="Numéro de TVA intracommunautaire ou numéro du registre national.",
    )

    def clean_country(self) -> str:
        return str(self.cleaned_data["country"]).upper()


class InvitationForm(forms.Form):
    email = AddressField(label="Courriel de votre collègue", widget=forms.EmailInput({"autocomplete": "off"}))
    role = forms.ChoiceField(label="Rôle")

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [
            (role, f"{label.capitalize()} : {_DOES[role]}")
            for role, (of, label) in ROLES.items()
            if of == kind
        ]
        self.fields["role"].choices = choices  # type: ignore[attr-defined]


class TokenForm(forms.Form):
    label = forms.CharField(
        label="À quoi servira ce jeton ?",
        max_length=100,
        help_text="Par exemple : « poste de Claire, dépôt des offres ».",
    )
    organisation = forms.ModelChoiceField(
        label="Pour quelle organisation ?",
        queryset=Organisation.objects.none(),
        to_field_name="uuid",
        empty_label=None,
    )

    def __init__(self, *args: Any, organisations: object, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["organisation"].queryset = organisations  # type: ignore[attr-defined]
