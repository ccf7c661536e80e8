"""Create the platform's own keys that are missing, renew its certificates."""

from datetime import datetime

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from dematmp.audit.errors import KeysMissing
from dematmp.audit.keys import (
    channel_signer,
    create_keys,
    former_verifiers,
    journal_signer,
    replace_authority,
)
from dematmp.audit.sealing import warnings

_THEN = "Sauvegardez DEMATMP_SECRETS_DIR, copiez son dossier pki sur chaque machine et relancez tout."


class Command(BaseCommand):
    help = (
        "Crée les clés de la plateforme qui manquent (journal, horodatage, cachet, chiffrement), et "
        "renouvelle ses certificats dans leurs 90 derniers jours."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--new-authority",
            action="store_true",
            help="une autre autorité pour les mêmes clés, quand pki/ca.key est perdue",
        )

    def handle(self, *args: object, **options: object) -> None:
        now = timezone.now()
        if options["new_authority"]:
            try:
                replace_authority(now=now)
            except KeysMissing as refused:
                raise CommandError(str(refused)) from refused
            self.stdout.write(
                "Autre autorité : donnez /journal/ca.pem et /journal/seals.pem à qui avait gardé les "
                f"précédents. {_THEN}"
            )
        renewed = create_keys(now=now)
        self.stdout.write(f"Clés prêtes dans {settings.SECRETS_DIR}")
        if renewed:
            self.stdout.write(f"Certificats renouvelés, pour les mêmes clés : {', '.join(renewed)}. {_THEN}")
        self.stdout.write(f"Clé publique du journal : {journal_signer().verifier_key}")
        for former in former_verifiers():
            self.stdout.write(f"Clé d'un journal précédent : {former}")
        self.stdout.write(f"Clé publique du canal de secours : {channel_signer().verifier_key}")
        for told in self._told(now):
            self.stderr.write(told)

    @staticmethod
    def _told(now: datetime) -> list[str]:
        """What remains to be done of certificates that end."""
        try:
            return warnings(now=now)
        except KeysMissing as missing:
            return [str(missing)]
