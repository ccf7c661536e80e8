"""System checks of the settings of deposits."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError

from dematmp.bids.probe import has_where_to_deposit


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


@register(Tags.security, deploy=True)
def probe_has_where_to_deposit(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Without the test consultation no canary is deposited: nobody could prove that the platform worked."""
    try:
        there = settings.BACKUP_DEPOSIT or has_where_to_deposit()
    except DatabaseError:  # no table yet, or no database: other checks say it
        return []
    if there:
        return []
    return [
        Warning(
            "La sonde ne dépose rien avant les dates limites : il n'y a pas de consultation d'essai. Aucune "
            "interruption n'est mesurée, et rien n'atteste le bon fonctionnement.",
            hint="Lancez une fois « manage.py trial_consultation ».",
            id="bids.W001",
        )
    ]
