"""System checks of the opening's settings."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, Warning, register
from django.utils import timezone

from dematmp.opening.trust_lists import shortcomings


@register(Tags.security, deploy=True)
def trusted_lists(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Stale, missing or refused trusted lists: qualified signatures would be doubted."""
    return [
        Warning(each, hint="Lancez chaque jour « python -m signing lists-update ».", id="opening.W001")
        for each in shortcomings(timezone.now())
    ]
