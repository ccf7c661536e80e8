"""`manage.py acts_windows`: the hours during which the ministry takes at most so many bytes."""

from argparse import ArgumentParser
from datetime import datetime

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from dematmp.acts import windows
from dematmp.acts.errors import ActError
from dematmp.acts.models import Window

_MO = 1024**2
_BY = "exploitant"


class Command(BaseCommand):
    help = (
        "Fenêtres de transmission : pendant chacune, le ministère reçoit tant de Mo au plus. Hors d'elles, "
        "l'envoi est libre. Sans argument, les liste."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="begins", default="", help="2026-12-01T20:00, heure légale")
        parser.add_argument("--to", dest="ends", default="", help="2026-12-01T23:00, heure légale")
        parser.add_argument("--mo", type=int, default=0, help="Mo permis pendant la fenêtre")
        parser.add_argument("--days", type=int, default=1, help="nombre de jours où elle se répète")
        parser.add_argument("--remove", type=int, nargs="+", metavar="NUMÉRO", help="retirer ces fenêtres")
        parser.add_argument("--past", action="store_true", help="lister aussi les fenêtres passées")

    def handle(self, *args: object, **given: object) -> None:
        now = timezone.now()
        try:
            if given["remove"]:
                self._remove(list(map(int, given["remove"])), now)  # type: ignore[call-overload]
            elif given["begins"] or given["ends"]:
                begins, ends = _instant(str(given["begins"])), _instant(str(given["ends"]))
                size, days = int(str(given["mo"])) * _MO, int(str(given["days"]))
                for made in windows.repeat(begins, ends, max(size, 0), days=days, by=_BY, now=now):
                    self.stdout.write(_said(made))
            else:
                rows = Window.objects.order_by("begins_at", "pk")
                for each in rows if given["past"] else rows.filter(ends_at__gt=now):
                    self.stdout.write(_said(each))
        except ActError as refused:
            raise CommandError(str(refused)) from refused

    def _remove(self, numbers: list[int], now: datetime) -> None:
        found = {each.pk: each for each in Window.objects.filter(pk__in=numbers).order_by("pk")}
        if unknown := [str(each) for each in numbers if each not in found]:
            raise CommandError(f"Aucune fenêtre n'a le numéro {', '.join(unknown)}.")
        for number, each in found.items():
            windows.remove(each, by=_BY, now=now)
            self.stdout.write(f"fenêtre {number} retirée")


def _instant(written: str) -> datetime:
    """By the legal time when it says no other."""
    try:
        found = datetime.fromisoformat(written)
    except ValueError as wrong:
        said = "Le début et la fin s'écrivent 2026-12-01T20:00."
        raise CommandError(said) from wrong
    return found if found.tzinfo else timezone.make_aware(found)


def _said(window: Window) -> str:
    begins, ends = timezone.localtime(window.begins_at), timezone.localtime(window.ends_at)
    return (
        f"{window.pk}  {begins:%d/%m/%Y %H:%M} → {ends:%d/%m/%Y %H:%M}  "
        f"{window.consumed / _MO:.1f} sur {window.rate_limit / _MO:.1f} Mo"
    )
