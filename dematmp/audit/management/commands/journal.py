"""Verify the journal from its entries, or export it as static files."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dematmp.audit import services
from dematmp.audit.errors import AuditError


class Command(BaseCommand):
    help = "journal verify : tout reconstruire et comparer. journal export DIR : fichiers C2SP tlog-tiles."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["verify", "export"])
        parser.add_argument("directory", nargs="?", type=Path)

    def handle(self, *args: object, action: str, directory: Path | None, **options: object) -> None:
        try:
            size = services.verify()
        except AuditError as broken:
            raise CommandError(f"[{broken.code}] {broken}") from broken
        if action == "export":
            if directory is None:
                raise CommandError("Indiquez le dossier où écrire.")

            def write(name: str, content: bytes) -> None:
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

            services.export(write)
        self.stdout.write(f"Journal vérifié : {size} entrées.")
