"""Make the permanent test consultation, on which companies try a deposit."""

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from dematmp.consultations.trial import ensure


class Command(BaseCommand):
    help = "Crée la consultation d'essai permanente, si elle n'existe pas."

    def handle(self, *args: object, **options: object) -> None:
        made = ensure(now=timezone.now())
        self.stdout.write(f"{settings.SITE_URL}/consultations/{made.uuid}/")
