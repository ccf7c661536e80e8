"""Attempts, their envelopes and parts; bids and the proof of each."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.bids.channel_attempts import ChannelAttempt  # noqa: F401  (a model)
from dematmp.bids.rules import late_article
from dematmp.bids.start_refusals import StartRefusal  # noqa: F401  (a model)
from dematmp.consultations.models import KINDS, Consultation

COPY_MEDIA = {"paper": "papier", "medium": "support électronique (clé USB, disque)"}
# The cases of annexe 6, article 2, in which a backup copy may be opened.
COPY_REASONS = {
    "malware": "un programme informatique malveillant est détecté dans l'offre électronique",
    "late": "l'offre électronique, commencée avant la date limite, est arrivée hors délai ou incomplète",
    "unreadable": "l'offre électronique n'a pas pu être ouverte",
}
LATE_DECISIONS = {"admitted": "admis", "rejected": "écarté"}  # a « dépôt »: candidatures, or an offer


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def of(self, company: Organisation) -> Self:
        """What this company may see: its own attempts."""
        return self.filter(bidder=company)

    def trials_before(self, instant: datetime) -> Self:
        """Attempts on the test consultation whose sealed objects are to be destroyed."""
        return self.filter(consultation__trial=True, destroyed_at=None, started_at__lt=instant)

    def abandoned(self, instant: datetime) -> Self:
        """Never finalised, on consultations that closed before this instant, and idle since: not kept."""
        unfinished = self.filter(finalised_at=None, bid=None, destroyed_at=None, started_at__lt=instant)
        active = Part.objects.filter(received_at__gte=instant).values("object__envelope__attempt")
        return unfinished.exclude(consultation__deadlines__at__gte=instant).exclude(pk__in=active)

    def being_recorded(self) -> Self:
        """Finalised by their company, every byte received, and not a bid yet: the next run completes them."""
        return self.filter(finalised_at__isnull=False, bid=None)


class Attempt(models.Model):
    """A deposit that was begun; evidence of diligence even when nothing was deposited."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    deposit = models.UUIDField("dépôt", unique=True)
    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="attempts")
    bidder = models.ForeignKey(Organisation, models.PROTECT, related_name="attempts")
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    started_at = models.DateTimeField("commencée le")
    client_clock = models.DateTimeField("horloge du poste", null=True, blank=True)
    announced_bytes = models.PositiveBigIntegerField("taille annoncée (octets)")
    finalised_at = models.DateTimeField("finalisation reçue le", null=True, blank=True)
    finalised_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    destroyed_at = models.DateTimeField("fichiers effacés le", null=True, blank=True)
    preflight = models.JSONField("vérification avant scellement", default=dict, blank=True)
    objects = AttemptQuerySet.as_manager()

    class Meta:
        verbose_name = "tentative"
        ordering = ["started_at", "pk"]

    def __str__(self) -> str:
        return str(self.uuid)


class AttemptRefusal(models.Model):
    """What an attempt was refused, and when: evidence of what its company met."""

    attempt = models.ForeignKey(Attempt, models.CASCADE, related_name="refusals")
    at = models.DateTimeField("le")
    code = models.CharField(max_length=60)
    message = models.CharField("message", max_length=300)

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return self.code


class Envelope(models.Model):
    """One sealed envelope (pli/1): one consultation, lot, bidder, kind and deposit."""

    uuid = models.UUIDField(unique=True)
    attempt = models.ForeignKey(Attempt, models.PROTECT, related_name="envelopes")
    lot = models.CharField("lot", max_length=4)
    kind = models.CharField("enveloppe", max_length=12, choices=list(KINDS.items()))
    header = models.BinaryField()
    keys = models.BinaryField()

    class Meta:
        verbose_name = "pli"
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["attempt", "lot", "kind"],
                name="bids_one_envelope_per_lot_and_kind",
                violation_error_message="Un dépôt porte un seul pli par lot et par nature.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} lot {self.lot}"

    @property
    def prefix(self) -> str:
        """Where its objects live in the store; never a name of a person or a file.

        Sealed bids are locked there for years; what is only tried or rehearsed is not, and can be destroyed.
        """
        of = self.attempt.consultation
        return f"{'trial' if of.trial or of.twin_of_id else 'sealed'}/{of.uuid}/{self.uuid}"


class SealedObject(models.Model):
    """One sealed object of an envelope, received in parts."""

    envelope = models.ForeignKey(Envelope, models.PROTECT, related_name="objects_sealed")
    name = models.CharField(max_length=20)
    size = models.PositiveBigIntegerField("taille (octets)")
    part_bytes = models.PositiveIntegerField()
    upload_id = models.CharField(max_length=200, blank=True, default="")
    sha256 = models.CharField("empreinte composite", max_length=64, blank=True, default="")
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["envelope", "name"], name="bids_object_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        return f"{self.envelope.prefix}/{self.name}"

    @property
    def part_count(self) -> int:
        return -(-self.size // self.part_bytes)

    def part_size(self, number: int) -> int:
        """Bytes of part `number` (from 1)."""
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)


class PartQuerySet(models.QuerySet["Part"]):
    def received(self) -> Self:
        """Acknowledged: its bytes are in the store."""
        return self.filter(received_at__isnull=False)


class Part(models.Model):
    """One part. Its digest is reserved before its bytes are stored, then acknowledged with its time."""

    object = models.ForeignKey(SealedObject, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    received_at = models.DateTimeField(null=True, blank=True)
    objects = PartQuerySet.as_manager()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["object", "number"], name="bids_part_once")]

    def __str__(self) -> str:
        return str(self.number)


class Fingerprint(models.Model):
    """What a company said of its sealed bid before its bytes were all there: evidence, never a submission."""

    attempt = models.OneToOneField(Attempt, models.PROTECT, related_name="fingerprint")
    received_at = models.DateTimeField("reçue le")
    record = models.BinaryField("enregistrement")
    journal_index = models.PositiveBigIntegerField("rang au journal")
    nonce = models.BinaryField()
    token = models.BinaryField("jeton d'horodatage", null=True, blank=True)
    token_authority = models.CharField("autorité d'horodatage", max_length=200, blank=True, default="")
    token_at = models.DateTimeField("heure du jeton", null=True, blank=True)

    class Meta:
        verbose_name = "empreinte"
        ordering = ["received_at", "pk"]

    def __str__(self) -> str:
        return f"{self.received_at:%Y-%m-%d %H:%M}"


class BackupCopy(models.Model):
    """A backup copy on paper or on a medium: the platform only keeps the register of what became of it."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="backup_copies")
    company = models.CharField("entreprise", max_length=200)
    siret = models.CharField("SIRET", max_length=14, blank=True, default="")
    medium = models.CharField("support", max_length=10, choices=list(COPY_MEDIA.items()))
    lots = models.CharField("lots", max_length=200, blank=True, default="")
    received_at = models.DateTimeField("arrivée le")
    recorded_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    recorded_at = models.DateTimeField("inscrite le")
    opened_at = models.DateTimeField("ouverte le", null=True, blank=True)
    opened_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    open_reason = models.CharField("motif", max_length=12, choices=list(COPY_REASONS.items()), blank=True)
    open_words = models.CharField("précisions", max_length=500, blank=True, default="")
    destroyed_at = models.DateTimeField("détruite le", null=True, blank=True)
    destroyed_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)

    class Meta:
        verbose_name = "copie de sauvegarde"
        ordering = ["received_at", "pk"]

    def __str__(self) -> str:
        return f"{self.company} {self.received_at:%Y-%m-%d %H:%M}"


class ChannelVisit(models.Model):
    """When the backup channel last told what it holds of a consultation: an opening waits for one."""

    consultation = models.OneToOneField(Consultation, models.CASCADE, related_name="channel_visit")
    at = models.DateTimeField("horloge du canal de secours")
    deposits = models.PositiveIntegerField("dépôts importés", default=0)
    waived_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    waived_why = models.CharField("motif", max_length=300, blank=True, default="")
    waived_for = models.DateTimeField("pour la date limite du", null=True, blank=True)

    class Meta:
        verbose_name = "relevé du canal de secours"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"


class RefusedImportQuerySet(models.QuerySet["RefusedImport"]):
    def standing(self) -> Self:
        """Not taken since: what the channel tells of them is still refused."""
        return self.filter(settled_at=None)


class RefusedImport(models.Model):
    """A deposit of the backup channel that was not taken, kept apart: why, and whether an opening waits."""

    deposit = models.UUIDField("dépôt", unique=True)
    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="refused_imports")
    bidder = models.ForeignKey(Organisation, models.PROTECT, related_name="+", null=True, blank=True)
    number = models.CharField("numéro d'accusé", max_length=40, blank=True, default="")
    received_at = models.DateTimeField("reçu le, par le canal", null=True, blank=True)
    why = models.CharField("motif", max_length=300)
    holds_back = models.BooleanField("retient l'ouverture")
    record_sha256 = models.CharField("empreinte de l'enregistrement annoncé", max_length=64)
    of_bytes = models.BooleanField("octets différents", default=False)
    refused_at = models.DateTimeField("refusé le")
    settled_at = models.DateTimeField("pris en compte depuis, le", null=True, blank=True)
    objects = RefusedImportQuerySet.as_manager()

    class Meta:
        verbose_name = "dépôt du canal de secours refusé"
        verbose_name_plural = "dépôts du canal de secours refusés"
        ordering = ["refused_at", "pk"]

    def __str__(self) -> str:
        return self.number or str(self.deposit)


class Probe(models.Model):
    """A deposit of a canary by the platform itself: whether a company could have deposited at that time."""

    at = models.DateTimeField("le", db_index=True)
    succeeded = models.BooleanField("réussi")
    seconds = models.FloatField("durée (s)")
    code = models.CharField("code du refus", max_length=60, blank=True, default="")

    class Meta:
        verbose_name = "sonde"
        ordering = ["at"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.code or 'ok'}"


class OutageNotice(models.Model):
    """The buyer's agents were told of an interruption before this deadline, once."""

    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="outage_notices")
    started_at = models.DateTimeField("interruption commencée le")
    told_at = models.DateTimeField("annoncée le")

    class Meta:
        verbose_name = "interruption annoncée"
        verbose_name_plural = "interruptions annoncées"
        ordering = ["started_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["consultation", "started_at"], name="bids_one_notice_per_outage")
        ]

    def __str__(self) -> str:
        return f"{self.consultation} {self.started_at:%Y-%m-%d %H:%M}"


class BidQuerySet(models.QuerySet["Bid"]):
    def of(self, company: Organisation) -> Self:
        """What this company may see: its own bids."""
        return self.filter(bidder=company)


class Bid(models.Model):
    """A finalised deposit.

    `record` is the exact bytes that are timestamped and whose digest is in the journal.
    """

    uuid = models.UUIDField("dépôt", unique=True)
    attempt = models.OneToOneField(Attempt, models.PROTECT, related_name="bid")
    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="bids")
    bidder = models.ForeignKey(Organisation, models.PROTECT, related_name="bids")
    number = models.CharField("numéro d'accusé", max_length=40, unique=True)
    received_at = models.DateTimeField("reçue le")
    deadline = models.DateTimeField("date limite à la réception")
    late = models.BooleanField("hors délai")
    withdrawn_at = models.DateTimeField("retirée le", null=True, blank=True)
    record = models.BinaryField("enregistrement")
    journal_index = models.PositiveBigIntegerField("rang au journal")
    nonce = models.BinaryField()
    proof = models.TextField("preuve d'inclusion")
    token = models.BinaryField("jeton d'horodatage", null=True, blank=True)
    token_authority = models.CharField("autorité d'horodatage", max_length=200, blank=True, default="")
    token_at = models.DateTimeField("heure du jeton", null=True, blank=True)
    receipt_pdf = models.BinaryField("accusé de réception (PDF scellé)", null=True, blank=True)
    receipt_stamped = models.BooleanField("le PDF porte le jeton", default=False)
    # Received by the backup channel: its own journal signs the proof, under this key.
    channel_key = models.CharField(
        "clé du journal du canal de secours", max_length=300, blank=True, default=""
    )
    objects = BidQuerySet.as_manager()

    class Meta:
        verbose_name = "offre"
        ordering = ["received_at", "pk"]

    def __str__(self) -> str:
        return self.number

    @property
    def late_article(self) -> str:
        """The article that eliminates it when it is late."""
        return late_article(self.attempt.envelopes.order_by().values_list("kind", flat=True))


class LateDecision(models.Model):
    """What the buyer decided of a late bid, and why, before any bid is opened."""

    bid = models.OneToOneField(Bid, models.PROTECT, related_name="late_decision")
    decision = models.CharField("décision", max_length=10, choices=list(LATE_DECISIONS.items()))
    reason = models.CharField("motif", max_length=2000)
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField("décidée le")

    class Meta:
        verbose_name = "décision sur une offre hors délai"
        verbose_name_plural = "décisions sur une offre hors délai"
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.bid} {self.decision}"


class StoreMark(models.Model):
    """That a mark was left in the store of sealed objects (`presence`); one row at most is of use."""

    left_at = models.DateTimeField("laissée le")

    class Meta:
        verbose_name = "marque du stockage"
        verbose_name_plural = "marques du stockage"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.left_at}"
