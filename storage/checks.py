"""System checks: what is misconfigured, in one sentence."""

import os
from collections.abc import Sequence
from pathlib import Path

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def antivirus_named(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """An antivirus is configured, or its absence is said."""
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
