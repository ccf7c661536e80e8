"""`manage.py acts_returns`: the ministry's mails that were put aside, and their analysis anew."""

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone

from dematmp.acts import aside
from dematmp.acts.models import ReturnMail
from storage.errors import StorageError
from storage.stores import object_store


class Command(BaseCommand):
    help = "Liste les courriers du ministère mis de côté, les analyse de nouveau, ou en copie un."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("mails", type=int, nargs="*", metavar="NUMÉRO", help="ceux-là (sinon tous)")
        parser.add_argument("--again", action="store_true", help="les analyser de nouveau")
        parser.add_argument("--copy", type=Path, metavar="DOSSIER", help="les copier là, en .eml")

    def handle(self, *args: object, **given: object) -> None:
        rows = aside.waiting()
        if given["mails"]:
            wanted = set(map(int, given["mails"]))  # type: ignore[call-overload]
            rows = rows.filter(pk__in=wanted)
            if unknown := sorted(wanted - set(rows.values_list("pk", flat=True))):
                raise CommandError(
                    f"Aucun courrier mis de côté n'a le numéro {', '.join(map(str, unknown))}."
                )
        try:
            if isinstance(given["copy"], Path):
                self._copy(rows, given["copy"])
            elif given["again"]:
                found = list(rows)
                rows_left = aside.again(found, by="exploitant", now=timezone.now())
                self.stdout.write(f"{len(found) - len(rows_left)} traité(s), {len(rows_left)} encore de côté")
                self._list(rows_left)
            else:
                self._list(list(rows))
        except (StorageError, OSError) as failed:
            raise CommandError(str(failed)) from failed

    def _list(self, rows: list[ReturnMail]) -> None:
        for each in rows:
            self.stdout.write(
                f"{each.pk}  {timezone.localtime(each.received_at):%d/%m/%Y %H:%M}  {each.error}"
            )

    def _copy(self, rows: QuerySet[ReturnMail], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for each in rows:
            path = folder / f"{each.pk}.eml"
            path.write_bytes(b"".join(object_store().open(each.key)))
            self.stdout.write(str(path))
