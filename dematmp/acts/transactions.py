"""Transactions of the transmission service: one message each, its files, and every state it went through."""

from datetime import date
from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from dematmp.acts import statuses
from dematmp.acts.subscribers import ADMIN, ARCHIVIST, SUPER, Agent, Authority

ACT, LETTER, PIECES, OBSERVATIONS, REFERRAL, CANCELLATION, CLASSIFICATION = "1", "2", "3", "4", "5", "6", "7"
PREFECTURE = (LETTER, PIECES, OBSERVATIONS, REFERRAL)
TYPES = {
    ACT: "Transmission d'actes",
    LETTER: "Courrier simple",
    PIECES: "Demande de pièces complémentaires",
    OBSERVATIONS: "Lettre d'observations",
    REFERRAL: "Déféré au tribunal administratif",
    CANCELLATION: "Annulation",
    CLASSIFICATION: "Demande de classification",
}


class TransactionQuerySet(models.QuerySet["Transaction"]):
    def seen_by(self, agent: Agent) -> Self:
        """Its own and the prefecture's letters; an administrator or an archivist, all of the authority's."""
        if agent.role == SUPER:
            return self
        if not agent.may_read:
            return self.none()
        mine = self.filter(authority=agent.authority)
        if agent.role in (ADMIN, ARCHIVIST):
            return mine
        return mine.filter(Q(agent=agent) | Q(type__in=PREFECTURE, reply=""))

    def of_authority(self, agent: Agent) -> Self:
        """What the lists hold: all that the account's authority sent and received."""
        return self.filter(authority=agent.authority) if agent.may_read else self.none()

    def of_number(self, authority: Authority, number: str) -> Self:
        return self.filter(authority=authority, number=number).order_by("-pk")


class Transaction(models.Model):
    """One message to or from the ministry; the archive that carried it is its envelope."""

    authority = models.ForeignKey(Authority, models.PROTECT, related_name="transactions")
    agent = models.ForeignKey(Agent, models.PROTECT, related_name="transactions")
    type = models.CharField("type", max_length=1, choices=list(TYPES.items()))
    reply = models.CharField("réponse", max_length=1, blank=True, default="")
    related = models.ForeignKey("self", models.PROTECT, related_name="follow_ups", null=True, blank=True)
    nature = models.CharField("nature", max_length=1, blank=True, default="")
    number = models.CharField("numéro", max_length=15, blank=True, default="")
    subject = models.CharField("objet", max_length=500, blank=True, default="")
    classification = models.CharField("classification", max_length=30, blank=True, default="")
    classification_date = models.DateField("version de la classification", null=True, blank=True)
    decided_on = models.DateField("date", null=True, blank=True)
    unique_id = models.CharField("identifiant unique", max_length=60, blank=True, default="", db_index=True)
    paper = models.BooleanField("documents papier", default=False)
    broadcast = models.JSONField("personnes prévenues", default=list, blank=True)
    send_sources = models.BooleanField("joindre les fichiers aux avis", default=False)
    status = models.SmallIntegerField("état", choices=list(statuses.LABELS.items()))
    # False once an act failed before the ministry could have it: its number may serve again.
    holds_number = models.BooleanField(default=False)
    is_read = models.BooleanField("lu", default=False)
    message_name = models.CharField(max_length=100, blank=True, default="")
    message = models.BinaryField(null=True, blank=True)
    envelope_name = models.CharField("enveloppe", max_length=60, blank=True, default="", db_index=True)
    archive_key = models.CharField(max_length=200, blank=True, default="")
    archive_size = models.PositiveBigIntegerField("taille de l'archive (octets)", default=0)
    created_at = models.DateTimeField("déposé le")
    # The sender's own notes: when it last began, whether the ministry may have it, when to begin again.
    tried_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveIntegerField("envois tentés", default=0)
    uncertain = models.BooleanField("envoi sans réponse", default=False)
    due_at = models.DateTimeField("prochain essai", null=True, blank=True)
    problem = models.CharField("incident", max_length=300, blank=True, default="")
    alerted_at = models.DateTimeField("alerte donnée le", null=True, blank=True)
    objects = TransactionQuerySet.as_manager()

    class Meta:
        verbose_name = "transaction"
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["authority", "number"],
                condition=models.Q(type=ACT, holds_number=True),
                name="acts_transaction_number_once",
                violation_error_message="Un acte portant le même numéro interne existe déjà.",
            ),
            models.UniqueConstraint(
                fields=["related"],
                condition=models.Q(type=CANCELLATION, status__in=[1, 2, 3]),
                name="acts_one_cancellation_pending",
                violation_error_message="Une annulation est déjà en cours.",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "due_at"], name="acts_to_do"),
            models.Index(fields=["type", "created_at"], name="acts_by_type"),
            models.Index(fields=["tried_at"], name="acts_lately"),
        ]

    def __str__(self) -> str:
        return f"transaction {self.pk} ({self.type}, {self.number or self.authority.siren})"

    @property
    def nature_label(self) -> str:
        from dematmp.acts.versions import codes_of

        return codes_of(self.authority).nature_label(self.nature) if self.nature else ""

    def last_step(self, status: int) -> "Step | None":
        """The latest time that it reached a state."""
        return self.steps.filter(status=status).order_by("-pk").first()


class Step(models.Model):
    """A state reached; never edited. `flux` is the XML that the ministry sent with it, byte for byte."""

    transaction = models.ForeignKey(Transaction, models.CASCADE, related_name="steps")
    status = models.SmallIntegerField("état", choices=list(statuses.LABELS.items()))
    at = models.DateTimeField("le")
    message = models.CharField("message", max_length=512, blank=True, default="")
    flux = models.BinaryField(null=True, blank=True)

    class Meta:
        verbose_name = "étape de la transaction"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.get_status_display()} {self.at:%Y-%m-%d %H:%M:%S}"


class IncludedFile(models.Model):
    """A file of a transaction: rank 0 is the message, 1 the main document, 2 and more its annexes."""

    transaction = models.ForeignKey(Transaction, models.CASCADE, related_name="files")
    rank = models.PositiveSmallIntegerField("rang")
    name = models.CharField("nom métier", max_length=255)
    posted_name = models.CharField("nom d'origine", max_length=255)
    media_type = models.CharField("type", max_length=60)
    size = models.PositiveBigIntegerField("taille (octets)")
    sha1 = models.CharField("SHA-1", max_length=40, blank=True, default="")
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, default="")
    typology = models.CharField("typologie", max_length=5, blank=True, default="")
    signature = models.TextField("signature détachée (base64)", blank=True, default="")
    key = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = "fichier de la transaction"
        ordering = ["rank"]
        constraints = [models.UniqueConstraint(fields=["transaction", "rank"], name="acts_file_rank_once")]

    def __str__(self) -> str:
        return self.name


class EnvelopeSerial(models.Model):
    """The last number of an authority's envelopes on a day."""

    authority = models.ForeignKey(Authority, models.CASCADE, related_name="serials")
    day = models.DateField()
    serial = models.PositiveSmallIntegerField()

    class Meta:
        verbose_name = "numéro d'enveloppe"
        constraints = [models.UniqueConstraint(fields=["authority", "day"], name="acts_serial_once")]

    def __str__(self) -> str:
        return f"{self.authority} {self.day} {self.serial}"


class ClassificationVersion(models.Model):
    """A RetourClassification as it was received: every version is kept, its bytes never change."""

    authority = models.ForeignKey(Authority, models.CASCADE, related_name="classifications")
    on = models.DateField("date de la version")
    bytes = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    received_at = models.DateTimeField("reçue le")

    class Meta:
        verbose_name = "classification reçue"
        verbose_name_plural = "classifications reçues"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.authority}, {self.on}"


class Window(models.Model):
    """Hours during which the ministry takes at most so many bytes; outside every window, sending is free."""

    begins_at = models.DateTimeField("début")
    ends_at = models.DateTimeField("fin")
    rate_limit = models.PositiveBigIntegerField("octets permis")
    consumed = models.PositiveBigIntegerField("octets envoyés", default=0)

    class Meta:
        verbose_name = "fenêtre de transmission"
        verbose_name_plural = "fenêtres de transmission"
        ordering = ["begins_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("begins_at")),
                name="acts_window_ends_after",
                violation_error_message="La fenêtre finit après avoir commencé.",
            )
        ]

    def __str__(self) -> str:
        begins, ends = timezone.localtime(self.begins_at), timezone.localtime(self.ends_at)
        return f"{begins:%d/%m/%Y %H:%M} → {ends:%d/%m/%Y %H:%M}"


class ReturnMail(models.Model):
    """A mail of the ministry as it came, kept; what could not be understood stays with its reason."""

    sha256 = models.CharField(max_length=64, unique=True)
    key = models.CharField(max_length=200)
    received_at = models.DateTimeField("reçu le")
    tried_at = models.DateTimeField("dernière analyse", null=True, blank=True)
    done_at = models.DateTimeField("traité le", null=True, blank=True)
    error = models.CharField("incident", max_length=500, blank=True, default="")
    told_at = models.DateTimeField("signalé à l'exploitant le", null=True, blank=True)

    class Meta:
        verbose_name = "courrier du ministère"
        verbose_name_plural = "courriers du ministère"
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.sha256[:12]


class ReturnedMessage(models.Model):
    """A message of the ministry that was acted upon; the same name and content a second time is nothing."""

    mail = models.ForeignKey(ReturnMail, models.PROTECT, related_name="messages")
    name = models.CharField("nom", max_length=120)
    sha256 = models.CharField(max_length=64)
    transaction = models.ForeignKey(
        Transaction, models.PROTECT, related_name="returned", null=True, blank=True
    )

    class Meta:
        verbose_name = "message du ministère"
        constraints = [models.UniqueConstraint(fields=["name", "sha256"], name="acts_returned_once")]

    def __str__(self) -> str:
        return self.name


def today_serial(authority: Authority, day: date) -> int:
    """The next envelope number of an authority that day, from 1; call it in a transaction."""
    row, _ = EnvelopeSerial.objects.select_for_update().get_or_create(
        authority=authority, day=day, defaults={"serial": 0}
    )
    row.serial += 1
    row.save(update_fields=["serial"])
    return row.serial
