"""Unseal one released session, alone."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dematmp.bids.alone import alone
from dematmp.opening.errors import OpeningError
from dematmp.opening.models import OpeningSession
from dematmp.opening.unsealing import harden, unseal_all
from storage.errors import StorageError


class Command(BaseCommand):
    help = "Descelle les plis d'une séance dont la clé a été libérée."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session")

    def handle(self, *args: object, session: str, **options: object) -> None:
        harden()
        found = OpeningSession.objects.get(uuid=session)
        try:
            with alone("unseal", found.uuid) as is_alone:
                if not is_alone:
                    self.stdout.write("Une autre ouverture de cette séance est en cours.")
                    return
                found.refresh_from_db()
                unseal_all(found, workers=settings.OPENING_WORKERS)
        except (OpeningError, StorageError) as refused:
            raise CommandError(f"[{refused.code}] {refused}") from refused
