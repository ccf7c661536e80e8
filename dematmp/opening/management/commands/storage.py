"""`manage.py storage setup | check | fsck`: the object store made, looked at, compared with the database."""

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from dematmp.bids import presence
from dematmp.opening.reconciliation import IDLE, reconcile
from storage import buckets, disk
from storage.errors import StorageError
from storage.findings import Finding
from storage.folder import FolderStore
from storage.s3 import S3Store
from storage.stores import object_store

_WORDS = {"missing": "MANQUE", "different": "DIFFÈRE", "orphan": "ORPHELIN", "unlocked": "NON VERROUILLÉ"}


class Command(BaseCommand):
    help = "Prépare le stockage des objets, le vérifie, le compare à la base. Ne répare jamais rien."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("setup", help="crée les compartiments, verrou, versions, origine des pages")
        verbs.add_parser("check", help="vérifie ce que le stockage fait vraiment")
        fsck = verbs.add_parser("fsck", help="compare la base et le stockage, dans les deux sens")
        fsck.add_argument("--digests", action="store_true", help="relit chaque octet des plis et des pièces")
        fsck.add_argument("--recent", action="store_true", help="nomme aussi les envois de moins d'une heure")

    def handle(
        self, *args: object, verb: str, digests: bool = False, recent: bool = False, **options: object
    ) -> None:
        try:
            if verb == "fsck":
                self._fsck(digests=digests, idle=timedelta() if recent else IDLE)
            else:
                self._buckets(verb)
        except StorageError as failed:
            raise CommandError(f"{failed} (code : {failed.code})") from failed

    def _buckets(self, verb: str) -> None:
        store, site = object_store(), settings.SITE_URL
        days = settings.DEPOSIT_RETENTION_DAYS
        if verb == "setup":
            done = (
                buckets.setup(store, site=site, retention_days=days)
                if isinstance(store, S3Store)
                else ["Les objets sont dans un dossier : rien d'autre à préparer que sa marque."]
            )
            for line in done:
                self.stdout.write(line)
            presence.leave()
            return
        bad = 0
        for finding in self._findings(site=site, days=days):
            bad += not finding.good
            advice = "" if finding.good else f" → {finding.advice}"
            self.stdout.write(f"{'oui' if finding.good else 'NON'} : {finding.what}{advice}")
        if bad:
            raise CommandError(f"{bad} point(s) à corriger.")

    @staticmethod
    def _findings(*, site: str, days: int) -> Iterator[Finding]:
        """What the store does, then whether it is the one of the deposits; leaves no mark itself."""
        store = object_store()
        looked = (
            buckets.check(store, site=site, retention_days=days)
            if isinstance(store, S3Store)
            else disk.check(store)
            if isinstance(store, FolderStore)
            else ()
        )
        yield from looked
        lost = presence.is_lost()
        what = "la marque des dépôts est dans ce stockage" if lost or presence.is_left() else ""
        yield Finding(
            what or "ce stockage attend sa marque, que laissera le premier dépôt",
            not lost,
            "ce n'est pas le stockage des dépôts : montez le bon disque, nommez le bon compartiment ; après "
            "une vraie perte seulement, manage.py storage setup",
        )

    def _fsck(self, *, digests: bool, idle: timedelta) -> None:
        count = 0
        for found in reconcile(digests=digests, idle=idle):
            count += 1
            self.stdout.write(f"{_WORDS[found.kind]} {found.key} {found.detail}".rstrip())
        if count:
            raise CommandError(f"{count} différence(s) entre la base et le stockage. Rien n'a été touché.")
        self.stdout.write("La base et le stockage disent la même chose.")
