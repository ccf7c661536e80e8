"""How an instant is written to people: seconds always, zone always."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.formats import date_format


def instant(moment: datetime, zone: str = "") -> str:
    """« jeudi 24 décembre 2026 à 12:00:00 (Europe/Paris) », in `zone` or the platform's own."""
    name = zone or settings.TIME_ZONE
    local = moment.astimezone(ZoneInfo(name))
    return f"{date_format(local, 'l j F Y')} à {local:%H:%M:%S} ({name})"
