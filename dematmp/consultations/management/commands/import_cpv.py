"""Import the CPV nomenclature from a tab-separated file: code with check digit, French label."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dematmp.consultations.models import Cpv
from notices.cpv import CpvRefused, clean_cpv


class Command(BaseCommand):
    help = "Importe la nomenclature CPV (fichier TSV : code, libellé)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: object, file: Path, **options: object) -> None:
        rows = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            code, _, label = line.partition("\t")
            try:
                rows.append(Cpv(code=clean_cpv(code), label=label.strip()[:300]))
            except CpvRefused as refused:
                if number > 1:  # a heading is allowed
                    raise CommandError(f"Ligne {number} : {refused}") from refused
        Cpv.objects.bulk_create(rows, update_conflicts=True, unique_fields=["code"], update_fields=["label"])
        self.stdout.write(f"{len(rows)} codes CPV importés.")
