"""`manage.py acts_account`: an authority of the transmission service, and one of its accounts."""

import os
from argparse import ArgumentParser
from pathlib import Path

from cryptography import x509
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from dematmp.acts.administration import group_named, save_agent, save_authority
from dematmp.acts.errors import ActError
from dematmp.acts.subscribers import BOTH, PERMISSIONS, ROLES, USER, Agent, Authority


class Command(BaseCommand):
    help = (
        "Crée une collectivité si son SIREN est nouveau, et un compte de télétransmission. "
        "Le mot de passe, s'il en faut un, se lit dans DEMATMP_ACTS_PASSWORD."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--siren", required=True)
        parser.add_argument("--authority", default="", help="nom de la collectivité")
        parser.add_argument("--department", default="", help="trois caractères, par exemple 034")
        parser.add_argument("--district", default="1")
        parser.add_argument("--nature", default="31")
        parser.add_argument("--group", default="", help="groupe de collectivités")
        parser.add_argument("--name", required=True)
        parser.add_argument("--given-name", default="")
        parser.add_argument("--email", required=True)
        parser.add_argument("--certificate", type=Path, required=True, help="PEM ou DER")
        parser.add_argument("--login", default="")
        parser.add_argument("--role", choices=list(ROLES), default=USER)
        parser.add_argument("--permission", choices=list(PERMISSIONS), default=BOTH)

    def handle(self, *args: object, **given: str) -> None:
        now = timezone.now()
        try:
            authority = Authority.objects.filter(siren=given["siren"]).first()
            if authority is None:
                authority = save_authority(
                    Authority(
                        siren=given["siren"],
                        name=given["authority"] or given["siren"],
                        department=given["department"],
                        district=given["district"],
                        nature=given["nature"],
                        group=group_named(given["group"]) if given["group"] else None,
                    ),
                    by="exploitant",
                    now=now,
                )
            made = save_agent(
                Agent(
                    authority=authority,
                    name=given["name"],
                    given_name=given["given_name"],
                    email=given["email"],
                    login=given["login"],
                    role=given["role"],
                    permission=given["permission"],
                ),
                password=os.environ.get("DEMATMP_ACTS_PASSWORD", "") if given["login"] else "",
                certificate=_certificate(Path(given["certificate"])),
                by="exploitant",
                now=now,
            )
        except (ActError, OSError) as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write(f"compte {made.pk} de {authority} ({authority.siren})")


def _certificate(path: Path) -> x509.Certificate:
    data = path.read_bytes()
    try:
        return (
            x509.load_pem_x509_certificate(data)
            if b"-----BEGIN" in data
            else x509.load_der_x509_certificate(data)
        )
    except ValueError as broken:
        raise CommandError(f"{path} n'est pas un certificat PEM ou DER.") from broken
