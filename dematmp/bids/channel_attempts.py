"""What a company tried on the backup channel: its evidence, as that channel's own journal proves it."""

import base64
import contextlib
import json
import uuid
from typing import Self

from django.db import models

from dematmp.accounts.models import Organisation
from dematmp.consultations.models import Consultation


class ChannelAttemptQuerySet(models.QuerySet["ChannelAttempt"]):
    def of(self, company: Organisation) -> Self:
        """What this company may see: its own attempts."""
        return self.filter(bidder=company)

    def of_deposit(self, deposit: uuid.UUID, company: Organisation) -> "ChannelAttempt | None":
        """What the channel met of this deposit of this company."""
        return self.of(company).filter(deposit=deposit).first()

    def people(self) -> set[uuid.UUID]:
        """Ids of who began them, by the record of each beginning."""
        journals = self.values_list("evidence__journal__entries", flat=True)
        found = set[uuid.UUID]()
        for entry in (each for entries in journals for each in entries if each["type"] == "attempt"):
            with contextlib.suppress(KeyError, TypeError, ValueError):  # proven, whatever it says
                record = json.loads(base64.b64decode(str(entry["record"])))
                found.add(uuid.UUID(str(record["by"])))
        return found


class ChannelAttempt(models.Model):
    """An attempt that the backup channel met, deposited or not: evidence, never a submission."""

    uuid = models.UUIDField("tentative", unique=True)
    deposit = models.UUIDField("dépôt", db_index=True)
    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="channel_attempts")
    bidder = models.ForeignKey(Organisation, models.PROTECT, related_name="channel_attempts")
    started_at = models.DateTimeField("commencée le, par l'horloge du canal")
    changed = models.CharField("dernier changement, dit par le canal", max_length=64)
    evidence = models.JSONField("dossier de preuve du canal")
    channel_key = models.CharField("clé du journal du canal de secours", max_length=300)
    imported_at = models.DateTimeField("reprise le")
    objects = ChannelAttemptQuerySet.as_manager()

    class Meta:
        verbose_name = "tentative au canal de secours"
        verbose_name_plural = "tentatives au canal de secours"
        ordering = ["started_at", "pk"]

    def __str__(self) -> str:
        return str(self.uuid)
