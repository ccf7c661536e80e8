"""System checks: what is misconfigured, in one sentence."""

import stat
from collections.abc import Sequence
from pathlib import Path

import httpx
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.utils import timezone

from dematmp.audit import sealing
from dematmp.audit.clock import health
from dematmp.audit.errors import KeysMissing

_PORTS = 65536


@register(Tags.security)
def secrets_directory(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """The platform's keys exist and only its own account may read them."""
    directory = Path(settings.SECRETS_DIR)
    if not (directory / "journal.key").exists():
        return [
            Warning(
                f"Les clés de la plateforme manquent dans {directory}.",
                hint="Lancez « manage.py platform_keys », puis sauvegardez ce dossier hors ligne.",
                id="audit.W001",
            )
        ]
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        return [
            Error(
                f"Le dossier {directory} est lisible par d'autres comptes.",
                hint="chmod 700 sur ce dossier.",
                id="audit.E001",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def synchronised_clock(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """The clock by which deposits are in time or late."""
    clock = health()
    if clock.is_good is False:
        hint = "Installez chrony (ou activez systemd-timesyncd) et vérifiez qu'il atteint ses serveurs."
        return [Info(clock.words, hint=hint, id="audit.I001")]
    return []


@register(Tags.security, deploy=True)
def seal_certificate(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """The certificates that seal receipts and sign timestamps: what they proved stays so, what they would
    prove next does not."""
    try:
        told = sealing.warnings(now=timezone.now())
    except KeysMissing as missing:
        told = [str(missing)]
    return [Warning(each, id="audit.W002") for each in told]


@register()
def timestamp_authorities(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """At least one timestamp authority is named."""
    if not settings.TSA_URLS:
        return [
            Error(
                "Aucune autorité d'horodatage n'est configurée.",
                hint="DEMATMP_TSA_URLS=embedded, ou la liste d'adresses de vos autorités.",
                id="audit.E002",
            )
        ]
    if any(url != "embedded" for url in settings.TSA_URLS) and not settings.TSA_TRUST:
        return [
            Error(
                "Les jetons d'une autorité d'horodatage extérieure seraient tous refusés.",
                hint="DEMATMP_TSA_TRUST=fichiers PEM des certificats racine de ces autorités.",
                id="audit.E003",
            )
        ]
    wrong = [url for url in settings.TSA_URLS if url != "embedded" and not _is_address(url)]
    found: list[CheckMessage] = [
        Error(
            f"« {url} » n'est pas l'adresse d'une autorité d'horodatage.",
            hint="DEMATMP_TSA_URLS=https://…, ou embedded, séparés par des virgules.",
            id="audit.E005",
        )
        for url in wrong
    ]
    found += [
        Error(f"Le certificat d'autorité {name} ne peut être lu.", id="audit.E004")
        for name in settings.TSA_TRUST
        if not Path(name).is_file()
    ]
    return found


def _is_address(url: str) -> bool:
    """Whether a request can be sent there: httpx refuses others only as they are asked."""
    try:
        said = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return (
        said.scheme in ("http", "https") and bool(said.host) and (said.port or 80) < _PORTS and " " not in url
    )
