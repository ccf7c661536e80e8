"""`manage.py acts_operator`: the account of a buyer at a S2LOW elsewhere; tried before it is kept."""

import os
from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from dematmp.accounts.models import Organisation
from dematmp.acts.correspondence import forget_operator, set_operator, try_operator
from dematmp.acts.errors import ActError
from dematmp.acts.models import Transmission
from dematmp.acts.rules import ERROR


class Command(BaseCommand):
    help = (
        "Règle le compte d'un acheteur chez un opérateur de télétransmission (S2LOW), après l'avoir essayé. "
        "Les mots de passe se lisent dans DEMATMP_OPERATOR_PASSWORD et DEMATMP_OPERATOR_P12_PASSWORD."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("siret", help="SIRET de l'acheteur")
        parser.add_argument("--url", default="", help="adresse de l'opérateur, https://…")
        parser.add_argument("--login", default="")
        parser.add_argument("--p12", type=Path, help="certificat de l'acheteur et sa clé (PKCS#12)")
        parser.add_argument("--authority", type=Path, help="autorité du serveur (PEM)")
        parser.add_argument("--untried", action="store_true", help="régler sans essayer")
        parser.add_argument(
            "--forget", action="store_true", help="revenir au service réglé pour toute la plateforme"
        )

    def handle(self, *args: object, **given: object) -> None:
        buyer = Organisation.objects.filter(kind="buyer", siret=given["siret"]).first()
        if buyer is None:
            raise CommandError(f"Aucun acheteur n'a le SIRET {given['siret']}.")
        under_way = Transmission.objects.filter(
            act__buyer=buyer, act__authority=None, tried_at__isnull=False, acknowledged_at=None
        ).exclude(steps__status=ERROR)
        if under_way.exists():
            raise CommandError("Un acte de cet acheteur attend son acquittement.")
        now = timezone.now()
        if given["forget"]:
            forget_operator(buyer, now=now)
            self.stdout.write(f"{buyer} : le service de la plateforme")
            return
        url, p12, authority = str(given["url"]), given["p12"], given["authority"]
        if not url.startswith("https://"):
            raise CommandError("L'adresse de l'opérateur commence par https://.")
        values = {
            "url": url,
            "login": str(given["login"]),
            "password": os.environ.get("DEMATMP_OPERATOR_PASSWORD", ""),
            "p12_password": os.environ.get("DEMATMP_OPERATOR_P12_PASSWORD", ""),
        }
        try:
            data = p12.read_bytes() if isinstance(p12, Path) else b""
            pem = authority.read_text() if isinstance(authority, Path) else ""
            if not given["untried"]:
                version = try_operator(**values, p12=data, authority=pem)
                self.stdout.write(f"l'opérateur répond ; classification du {version:%d/%m/%Y}")
            set_operator(buyer, **values, p12=data, authority=pem, now=now)
        except (ActError, OSError, ValueError) as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write(f"{buyer} : {url}")
