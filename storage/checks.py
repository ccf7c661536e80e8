"""System checks: what is misconfigured, in one sentence."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from storage.antivirus import panel
from storage.clamd import base_of, version
from storage.daemon import shortcomings
from storage.errors import StorageError

_SILENT = "storage.W002"  # an antivirus that is down comes back: nothing else depends on it meanwhile


@register()
def antivirus_named(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """An antivirus is configured, or its absence is said; a backup channel only keeps what is sealed."""
    if settings.BACKUP_DEPOSIT:
        return []
    if settings.ANTIVIRUS_URL == "none":
        return (
            []
            if settings.DEBUG or not settings.SECURE_SSL_REDIRECT
            else [
                Warning(
                    "Aucun fichier n'est analysé : DEMATMP_ANTIVIRUS_URL vaut « none ».",
                    hint="tcp://hôte:3310 ou unix:///chemin/clamd.sock",
                    id="storage.W001",
                )
            ]
        )
    if not settings.ANTIVIRUS_URL:
        return [
            Error(
                "DEMATMP_ANTIVIRUS_URL n'est pas renseigné : aucun fichier ne sera jamais servi.",
                hint="tcp://hôte:3310, unix:///chemin/clamd.sock, ou le mot « none » pour l'embarqué.",
                id="storage.E001",
            )
        ]
    return []


@register(deploy=True)
def antivirus_honest(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """The running antivirus is asked, with small files, whether it says what it could not scan."""
    if settings.ANTIVIRUS_URL in ("", "none"):
        return []
    said: list[CheckMessage] = []
    asked = panel()
    bases: set[str] = set()
    for url in asked.urls if asked else ():
        hint = f"{url} : deploy/clamav/clamd.conf dit ce qu'il faut à clamd."
        try:
            largest = settings.DEPOSIT_LIMITS["file_bytes"]
            found = shortcomings(url, now=datetime.now(UTC), largest=largest)
            bases.add(base_of(version(url)))
        except StorageError as silent:
            follows = "Tant qu'aucun ne répond, pièces et plis ouverts attendent : rien n'en est servi."
            where = f"{url} : clamd est arrêté, ou cette adresse n'est pas la sienne."
            said.append(Warning(f"Antivirus : {silent} {follows}", hint=where, id=_SILENT))
            continue
        said += [Error(f"Antivirus : {each}.", hint=hint, id="storage.E004") for each in found]
    if asked and len(bases) < asked.agree and not any(each.id == _SILENT for each in said):
        said.append(
            Error(
                f"DEMATMP_ANTIVIRUS_AGREE exige {asked.agree} bases de signatures différentes ; "
                f"les antivirus nommés en ont {len(bases)}.",
                hint="Nommez dans DEMATMP_ANTIVIRUS_URL des antivirus dont les bases diffèrent.",
                id="storage.E005",
            )
        )
    return said


@register()
def store_usable(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """The folder can be written, or the S3 settings are complete."""
    options = settings.OBJECT_STORE
    if options["kind"] == "folder":
        root = Path(options["root"])
        nearest = next(path for path in (root, *root.parents) if path.exists())
        if not os.access(nearest, os.W_OK):
            return [Error(f"Le dossier des objets {root} ne peut être écrit.", id="storage.E002")]
        return []
    missing = [name for name in ("access_key", "secret_key") if not options[name]]
    return [Error(f"DEMATMP_OBJECT_STORE n'a pas de {name}.", id="storage.E003") for name in missing]
