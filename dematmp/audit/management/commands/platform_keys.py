"""Create the platform's own keys that are missing."""

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from dematmp.audit.keys import channel_signer, create_keys, former_verifiers, journal_signer


class Command(BaseCommand):
    help = "Crée les clés de la plateforme qui manquent (journal, horodatage, cachet, chiffrement)."

    def handle(self, *args: object, **options: object) -> None:
        create_keys(now=timezone.now())
        self.stdout.write(f"Clés prêtes dans {settings.SECRETS_DIR}")
        self.stdout.write(f"Clé publique du journal : {journal_signer().verifier_key}")
        for former in former_verifiers():
            self.stdout.write(f"Clé d'un journal précédent : {former}")
        self.stdout.write(f"Clé publique du canal de secours : {channel_signer().verifier_key}")
