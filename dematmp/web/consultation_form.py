"""The form of a consultation that is being prepared. It tells what is malformed; the services decide."""

import hashlib
import json
import re
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db.models import QuerySet

from dematmp.accounts.models import Organisation
from dematmp.consultations.errors import CpvUnknown
from dematmp.consultations.models import KINDS, Consultation
from dematmp.consultations.rules import OPENING_ORDERS, PROCEDURES
from dematmp.consultations.services import known_cpv
from signing.ceremony import MAX_KEYS

_MAX_LOTS = 3000
_MAX_PIECES = 100
_LINE = re.compile(r"\s*(?:[Ll]ot\s+)?([0-9A-Za-z]{1,4})\s*[:–-]\s*(.+?)\s*")
_WEIGHT = re.compile(r"\s*(.+?)\s*[:–-]\s*([0-9]{1,3})\s*%?\s*")
_MEGABYTE = 1024**2
# Field of the form → limit, and bytes (or files) of one unit.
_LIMITS = {
    "limit_file": ("file_bytes", _MEGABYTE),
    "limit_envelope": ("envelope_bytes", _MEGABYTE),
    "limit_files": ("files", 1),
}


class AmountField(forms.CharField):
    """Euros as people type them: « 85 000,50 », « 85000.5 », « 85 000 € »."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=30, widget=forms.TextInput({"inputmode": "decimal"}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return f"{value:,.2f}".replace(",", " ").replace(".", ",") if isinstance(value, Decimal) else value

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]
        text = re.sub(r"[\s\u00a0\u202f€]", "", str(value or ""))
        if not text:
            return None
        if not re.fullmatch(r"[0-9]{1,12}(?:[.,][0-9]{1,2})?", text):
            raise ValidationError("Écrivez un montant en euros, par exemple 85 000,50.")
        return Decimal(text.replace(",", "."))

    def validate(self, value: Any) -> None:
        if value is None and self.required:
            raise ValidationError("Ce champ est obligatoire.")
        if value is not None and value <= 0:
            raise ValidationError("Le montant est supérieur à zéro.")

    def run_validators(self, value: Any) -> None:
        """The length is that of the text, already checked by its shape."""


class ConsultationForm(forms.Form):
    """A draft: what is announced, its lots and criteria one per line."""

    buyer = forms.ModelChoiceField(
        label="Acheteur", queryset=Organisation.objects.none(), to_field_name="uuid", empty_label=None
    )
    reference = forms.CharField(label="Référence", max_length=40, help_text="Par exemple 2026-TX-017.")
    title = forms.CharField(label="Intitulé", max_length=250)
    object = forms.CharField(label="Objet", max_length=1000, widget=forms.Textarea({"rows": 3}))
    procedure = forms.ChoiceField(label="Procédure", choices=list(PROCEDURES.items()))
    cpv = forms.CharField(
        label="Code CPV principal",
        max_length=12,
        help_text="Huit chiffres, par exemple 45212330 ; la clé après le tiret est facultative.",
    )
    lots = forms.CharField(
        label="Lots",
        required=False,
        widget=forms.Textarea({"rows": 4}),
        help_text="Un par ligne : « 1 : Gros œuvre ». Laissez vide si le marché n'est pas alloti.",
    )
    criteria = forms.CharField(
        label="Critères et pondérations",
        required=False,
        widget=forms.Textarea({"rows": 4}),
        help_text="Un par ligne : « Prix : 50 ». Le total doit faire 100.",
    )
    kinds = forms.MultipleChoiceField(
        label="Enveloppes demandées",
        choices=list(KINDS.items()),
        widget=forms.CheckboxSelectMultiple,
        initial=list(KINDS),
    )
    estimated_value = AmountField(
        label="Valeur estimée (€ HT)", required=False, help_text="Jamais publiée. Par exemple 85 000,50."
    )
    opening_order = forms.ChoiceField(
        label="Ordre d'ouverture",
        choices=list(OPENING_ORDERS.items()),
        required=False,
        help_text="Une offre dont la candidature est rejetée reste scellée, et inversement.",
    )
    keys_per_lot = forms.BooleanField(
        label="Une clé par lot",
        required=False,
        help_text=(
            "La commission pourra laisser un lot scellé à l'ouverture (lot sans suite, par exemple) : rien "
            f"ne l'ouvrira plus. Jusqu'à {MAX_KEYS // 2} lots à deux enveloppes."
        ),
    )
    required_pieces = forms.CharField(
        label="Pièces attendues",
        required=False,
        max_length=8000,
        widget=forms.Textarea({"rows": 4}),
        help_text=(
            "Une par ligne, avec son enveloppe : « offre : Acte d'engagement ». Les entreprises verront ce "
            "qui manque avant de déposer ; rien ne les bloque."
        ),
    )
    deposit_rules = forms.CharField(
        label="Règles de dépôt", required=False, max_length=4000, widget=forms.Textarea({"rows": 3})
    )

    limit_file = forms.IntegerField(label="Taille maximale d'un fichier (Mo)", required=False, min_value=1)
    limit_envelope = forms.IntegerField(
        label="Taille maximale d'une enveloppe (Mo)", required=False, min_value=1
    )
    limit_files = forms.IntegerField(
        label="Nombre maximal de fichiers par enveloppe", required=False, min_value=1
    )
    fingerprint_first = forms.BooleanField(
        label="Recevoir d'abord l'empreinte de l'offre",
        required=False,
        help_text=(
            "L'empreinte de l'offre scellée est horodatée avant l'envoi des fichiers. Elle prouve ce qui "
            "était prêt et quand ; elle ne vaut jamais dépôt."
        ),
    )

    def __init__(self, *args: Any, buyers: QuerySet[Organisation], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["buyer"].queryset = buyers  # type: ignore[attr-defined]
        for name, (limit, unit) in _LIMITS.items():
            most = settings.DEPOSIT_LIMITS[limit] // unit
            self.fields[name].help_text = f"Laissez vide pour la limite de la plateforme : {most}."
            self.fields[name].validators.append(MaxValueValidator(most))

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        file, envelope = said.get("limit_file"), said.get("limit_envelope")
        if file and envelope and envelope < file:
            self.add_error("limit_envelope", "Une enveloppe contient au moins un fichier de cette taille.")
        said["limits"] = {
            limit: said[name] * unit for name, (limit, unit) in _LIMITS.items() if said.get(name) is not None
        }
        for name in _LIMITS:
            said.pop(name, None)
        return said

    def clean_cpv(self) -> str:
        try:
            return known_cpv(self.cleaned_data["cpv"])
        except CpvUnknown as refused:
            raise ValidationError(f"{refused} {refused.next}", code=refused.code) from refused

    def clean_lots(self) -> list[dict[str, str]]:
        lots: list[dict[str, str]] = []
        for line in str(self.cleaned_data["lots"]).splitlines():
            if not line.strip():
                continue
            found = _LINE.fullmatch(line)
            if found is None or len(found[2]) > 250:
                raise ValidationError(
                    f"Ligne illisible : « {line.strip()[:60]} ». Écrivez « 1 : intitulé du lot »."
                )
            if any(lot["number"] == found[1] for lot in lots):
                raise ValidationError(f"Le lot {found[1]} est écrit deux fois.")
            lots.append({"number": found[1], "title": found[2]})
        if len(lots) > _MAX_LOTS:
            raise ValidationError(f"{_MAX_LOTS} lots au plus.")
        return lots

    def clean_opening_order(self) -> str:
        return self.cleaned_data["opening_order"] or "together"

    def clean_required_pieces(self) -> list[dict[str, str]]:
        pieces: list[dict[str, str]] = []
        for line in str(self.cleaned_data["required_pieces"]).splitlines():
            if not line.strip():
                continue
            kind, found, title = line.partition(":")
            kind, title = kind.strip().lower().rstrip("s"), title.strip()
            if not found or kind not in KINDS or not title or len(title) > 200:
                raise ValidationError(
                    f"Ligne illisible : « {line.strip()[:60]} ». Écrivez « offre : Acte d'engagement » ou "
                    "« candidature : DC1 »."
                )
            pieces.append({"kind": kind, "title": title})
        if len(pieces) > _MAX_PIECES:
            raise ValidationError(f"{_MAX_PIECES} pièces au plus.")
        return pieces

    def clean_criteria(self) -> list[tuple[str, int]]:
        criteria: list[tuple[str, int]] = []
        for line in str(self.cleaned_data["criteria"]).splitlines():
            if not line.strip():
                continue
            found = _WEIGHT.fullmatch(line)
            if found is None or len(found[1]) > 200:
                raise ValidationError(f"Ligne illisible : « {line.strip()[:60]} ». Écrivez « Prix : 50 ».")
            if not 1 <= int(found[2]) <= 100:
                raise ValidationError(f"« {found[1]} » : une pondération va de 1 à 100.")
            criteria.append((found[1], int(found[2])))
        total = sum(weight for _, weight in criteria)
        if criteria and total != 100:
            raise ValidationError(f"Les pondérations totalisent {total} ; le total doit faire 100.")
        return criteria


def draft_values(consultation: Consultation) -> dict[str, object]:
    """What `ConsultationForm` shows of a draft, lots and criteria as they are typed."""
    names = ("reference", "title", "object", "procedure", "cpv", "kinds", "opening_order", "keys_per_lot")
    values: dict[str, object] = {name: getattr(consultation, name) for name in names}
    values["fingerprint_first"] = consultation.fingerprint_first
    for name, (limit, unit) in _LIMITS.items():
        values[name] = consultation.limits[limit] // unit if limit in consultation.limits else None
    values["estimated_value"], values["deposit_rules"] = (
        consultation.estimated_value,
        consultation.deposit_rules,
    )
    pieces = consultation.required_pieces
    values["required_pieces"] = "\n".join(f"{piece['kind']} : {piece['title']}" for piece in pieces)
    values["buyer"] = consultation.buyer.uuid
    lots = consultation.lots.order_by("pk")
    values["lots"] = "\n".join(f"{lot.number} : {lot.title}" for lot in lots)
    criteria = consultation.criteria.order_by("pk")
    values["criteria"] = "\n".join(f"{each.name} : {each.weight}" for each in criteria)
    return values


def draft_version(consultation: Consultation) -> str:
    """What a draft says now, in some digits: another one means that somebody changed it meanwhile."""
    said = json.dumps(draft_values(consultation), default=str, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]
