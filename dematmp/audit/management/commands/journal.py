"""The journal: verify it, prove an entry, export it as static files, witness another platform's."""

import json
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from dematmp.audit import copies, services
from dematmp.audit.errors import AuditError
from dematmp.audit.models import Entry
from dematmp.audit.registers import proven
from dematmp.audit.succession import succeed
from dematmp.audit.verifying import verify_all
from signing import witness
from signing.errors import SigningError
from storage.errors import StorageError

_WITNESS = ("log", "key", "state", "name", "host", "port")


class Command(BaseCommand):
    help = (
        "journal verify : tout reconstruire depuis les entrées, comparer la copie, chaque point de "
        "contrôle publié et chaque dépôt. journal prove N : l'entrée N et sa preuve. journal copy : "
        "remettre ce qui manque à la copie. journal succeed : commencer un autre journal. "
        "journal export DIR : fichiers C2SP tlog-tiles. journal witness : cosigner le journal d'une autre "
        "plateforme."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="action", required=True)
        verbs.add_parser("verify", help="tout reconstruire et comparer")
        verbs.add_parser("prove", help="une entrée et sa preuve (JSON)").add_argument("entry", type=int)
        witness.add_arguments(verbs.add_parser("witness", help="témoin du journal d'une autre plateforme"))
        verbs.add_parser("copy", help="remettre dans le stockage tout ce qui manque à la copie")
        other = verbs.add_parser("succeed", help="commencer un autre journal, qui dit ce qu'il remplace")
        other.add_argument("--reason", required=True, help="pourquoi ; publié à qui lit cette inscription")
        verbs.add_parser("export", help="fichiers statiques").add_argument("directory", type=Path)

    def handle(self, *args: object, action: str, **options: object) -> None:
        try:
            if action == "witness":
                witness.run(**{name: options[name] for name in _WITNESS})  # type: ignore[arg-type]
                return
            if action == "copy":
                self.stdout.write(f"Copie du journal complète : {copies.copy(again=True)} entrées.")
                return
            if action == "succeed":
                self._succeed(str(options["reason"]))
                return
            if action == "prove":
                self._prove(int(str(options["entry"])))
                return
            verified = verify_all()
        except (AuditError, StorageError, SigningError) as broken:
            raise CommandError(f"[{broken.code}] {broken}") from broken
        except ValueError as broken:
            raise CommandError(f"Le journal ne se relit pas : {broken}") from broken
        if action == "export":
            directory = Path(str(options["directory"]))

            def write(name: str, content: bytes) -> None:
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

            services.export(write)
            for entry in Entry.objects.filter(kind="journal-succession"):
                write(f"successions/{entry.index}.json", json.dumps(proven(entry)).encode())
        self.stdout.write(
            f"Journal vérifié : {verified.size} entrées, {verified.published} points de contrôle publiés, "
            + ", ".join([f"{verified.compared} fichiers de la copie", *verified.said])
            + "."
        )

    def _succeed(self, reason: str) -> None:
        said = succeed(reason=reason, now=timezone.now())
        self.stdout.write(
            f"Nouveau journal, dont la clé est {said['key']}. Copiez journal.former sur chaque machine, "
            "donnez les clés (platform_keys) aux témoins et au canal de secours, puis relancez tout."
        )

    def _prove(self, index: int) -> None:
        services.prove(index)  # says that it is not there
        said = proven(Entry.objects.get(index=index))
        self.stdout.write(json.dumps(said, ensure_ascii=False, indent=1))
