"""The embedded timestamp authority: where its clock is, and how to correct it once it had run ahead."""

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from dematmp.audit.corrections import ahead, correct
from dematmp.audit.errors import AuditError
from dematmp.audit.keys import timestamp_authority


class Command(BaseCommand):
    help = "Dit où en est l'horloge de l'autorité d'horodatage intégrée, et la corrige."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--correct", metavar="MOTIF", help="repartir de l'heure présente ; le motif est au journal"
        )

    def handle(self, *args: object, **options: object) -> None:
        reason = options["correct"]
        if isinstance(reason, str):
            if not reason.strip():
                raise CommandError("Le motif de la correction est obligatoire.")
            try:
                last = correct(reason.strip(), now=timezone.now())
            except AuditError as refused:
                raise CommandError(str(refused)) from refused
            told = f"disait {last.isoformat()}" if last else "n'était plus lisible"
            self.stdout.write(f"Corrigée : le dernier jeton {told}. Inscrit au journal.")
            return
        if timestamp_authority().is_unreadable():
            raise CommandError(
                "L'heure du dernier jeton n'est plus lisible (pki/tsa.state) : l'autorité n'en donne plus. "
                "Vérifiez l'horloge de la machine, puis : manage.py timestamps --correct « le motif »"
            )
        given, by = timestamp_authority().last_given(), ahead(now=timezone.now())
        self.stdout.write(f"Dernier jeton : {given.isoformat() if given else 'aucun'}")
        if by is not None:
            raise CommandError(
                f"L'autorité est en avance de {by} : ses jetons sont refusés. Vérifiez l'horloge de la "
                "machine, puis : manage.py timestamps --correct « le motif »"
            )
