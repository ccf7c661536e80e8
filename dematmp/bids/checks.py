"""System checks of the settings of deposits."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def backup_role(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """A backup channel knows its platform: without either, it has no consultations and believes no pass."""
    if not settings.BACKUP_DEPOSIT:
        return []
    return [
        Error(
            f"Ce canal de secours n'a pas {name} : il ne recevrait aucun dépôt.",
            hint=hint,
            id="bids.E001",
        )
        for name, value, hint in (
            ("DEMATMP_MAIN_URL", settings.MAIN["url"], "L'adresse de la plateforme qu'il remplace."),
            ("DEMATMP_MAIN_KEY", settings.MAIN["key"], "« manage.py platform_keys » l'affiche, là-bas."),
        )
        if not value
    ]
