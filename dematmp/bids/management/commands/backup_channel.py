"""The backup channel by hand: take the consultations there, import the deposits here, go without it."""

from argparse import ArgumentParser

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.bids.errors import BidError
from dematmp.bids.importing import pull
from dematmp.bids.models import RefusedImport
from dematmp.bids.tasks import fetch_consultations
from dematmp.bids.visits import waive
from dematmp.consultations.models import Consultation
from signing.errors import PassRefused


class Command(BaseCommand):
    help = "Canal de secours des dépôts : mirror (là-bas), pull (ici), waive (ouvrir sans lui)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("mirror", help="sur le canal : reprendre les consultations de la plateforme")
        taken = verbs.add_parser("pull", help="sur la plateforme : importer les dépôts du canal")
        taken.add_argument(
            "--again", action="store_true", help="reprendre aussi ceux dont les octets étaient autres"
        )
        one = verbs.add_parser("waive", help="sur la plateforme : ouvrir sans le canal, s'il est perdu")
        one.add_argument("consultation")
        one.add_argument("--by", required=True, help="adresse de la personne qui le décide")
        one.add_argument("--why", required=True, help="motif, inscrit au journal")

    def handle(self, *args: object, **options: object) -> None:
        now = timezone.now()
        try:
            if options["verb"] == "mirror":
                self.stdout.write(f"{fetch_consultations(now=now)} consultation(s) reprise(s).")
            elif options["verb"] == "pull":
                if not settings.BACKUP_CHANNEL["url"]:
                    raise CommandError("Cette plateforme n'a pas de canal de secours (DEMATMP_BACKUP_URL).")
                self.stdout.write(f"{pull(now=now, again=bool(options['again']))} dépôt(s) importé(s).")
                for each in RefusedImport.objects.standing().select_related("consultation", "bidder"):
                    held = "retient l'ouverture" if each.holds_back else "ne retient rien"
                    self.stdout.write(
                        f"Mis de côté ({held}) : {each}, {each.bidder or 'inconnue'}, {each.why}"
                    )
            else:
                found = Consultation.objects.public().filter(uuid=str(options["consultation"])).first()
                person = User.objects.filter(email=str(options["by"]).lower()).first()
                if found is None or person is None:
                    raise CommandError("Consultation ou personne inconnue.")
                waive(found, why=str(options["why"]), by=person, now=now)
                self.stdout.write("Inscrit au journal : cette consultation s'ouvrira sans le canal.")
        except (BidError, PassRefused) as refused:
            raise CommandError(f"[{refused.code}] {refused}") from refused
