"""Filters of the pages: instants with seconds and zone, sizes, short digests."""

import re
from collections.abc import Sized
from datetime import datetime
from zoneinfo import ZoneInfo

from django import template
from django.conf import settings

from dematmp.mails import words

register = template.Library()
_BYTES = 1024


@register.filter
def instant(moment: datetime | None, zone: str = "") -> str:
    """« jeudi 24 décembre 2026 à 12:00:00 (Europe/Paris) »: seconds always, zone always."""
    return words.instant(moment, zone) if moment else ""


@register.filter
def short_instant(moment: datetime | None, zone: str = "") -> str:
    """« 24/12/2026 12:00:00 », in the site's zone."""
    if moment is None:
        return ""
    return moment.astimezone(ZoneInfo(zone or settings.TIME_ZONE)).strftime("%d/%m/%Y %H:%M:%S")


@register.filter
def pluralize(value: object, forms: str = "s") -> str:
    """Django's, by the rule of French: nothing and one are singular."""
    count = len(value) if isinstance(value, Sized) and not isinstance(value, str) else int(str(value or 0))
    singular, _, plural = forms.rpartition(",")
    return singular if count < 2 else plural


@register.filter
def size(count: int | None) -> str:
    """Bytes in the unit a person reads: « 12,4 Mo »."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("octets", "Ko", "Mo", "Go"):
        if value < _BYTES or unit == "Go":
            return (
                f"{int(value)} {unit}"
                if unit == "octets"
                else f"{value:.1f} {unit}".replace(".0 ", " ").replace(".", ",")
            )
        value /= _BYTES
    return ""


@register.filter
def cpv_label(code: str) -> str:
    """The label of a CPV code, or nothing before the nomenclature is imported."""
    from dematmp.consultations.models import Cpv

    found = Cpv.objects.filter(code=code).first()
    return found.label if found else ""


@register.filter
def common_name(name: str) -> str:
    """The person or service that a certificate's name tells, else the whole name."""
    found = re.search(r"Common Name: ([^,;]+)", name)
    return found[1].strip() if found else name
