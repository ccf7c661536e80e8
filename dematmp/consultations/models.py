"""A consultation, its lots, its documents and their versions, its deadline as a versioned decision."""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime

from django.conf import settings
from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.consultations.queries import ConsultationQuerySet, RealOnly, Searched
from dematmp.consultations.rules import (
    DOCUMENT_KINDS,
    OPENING_ORDERS,
    PROCEDURES,
    binding_limits,
    is_open,
    opening_phases,
)
from signing.ceremony import key_name

KINDS = {"candidature": "candidature", "offre": "offre"}
VERDICTS = {
    "pending": "analyse en attente",
    "clean": "sain",
    "infected": "infecté",
    "unscannable": "non analysable",
    "not_scanned": "non analysé (aucun antivirus configuré)",
}
SERVED = frozenset({"clean", "not_scanned"})


def default_kinds() -> list[str]:
    return ["candidature", "offre"]


class Cpv(models.Model):
    """A code of the common procurement vocabulary, imported by `manage.py import_cpv`."""

    code = models.CharField(primary_key=True, max_length=8)
    label = models.CharField("libellé", max_length=300)

    def __str__(self) -> str:
        return f"{self.code} {self.label}"


RealManager = RealOnly.from_queryset(ConsultationQuerySet)


class Consultation(Searched):
    """Only what people decide is stored; whether it is open is computed from the deadline and the clock.

    A twin (`twin_of`) is the same consultation for its rehearsal: keys of its own, a dummy bid, opened by the
    committee through the real path before the publication. `objects` never gives one.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    buyer = models.ForeignKey(Organisation, models.PROTECT, related_name="consultations")
    reference = models.CharField("référence", max_length=40)
    title = models.CharField("intitulé", max_length=250)
    object = models.TextField("objet", max_length=1000)
    procedure = models.CharField("procédure", max_length=10, choices=list(PROCEDURES.items()))
    cpv = models.CharField("code CPV principal", max_length=8)
    estimated_value = models.DecimalField(
        "valeur estimée (€ HT, jamais publiée)", max_digits=14, decimal_places=2, null=True, blank=True
    )
    kinds = models.JSONField("enveloppes demandées", default=default_kinds)
    keys_per_lot = models.BooleanField("une clé par lot", default=False)
    opening_order = models.CharField(
        "ordre d'ouverture", max_length=12, choices=list(OPENING_ORDERS.items()), default="together"
    )
    required_pieces = models.JSONField("pièces attendues dans chaque enveloppe", default=list, blank=True)
    deposit_rules = models.TextField("règles de dépôt", blank=True, default="")
    limits = models.JSONField("limites de dépôt plus strictes", default=dict, blank=True)
    fingerprint_first = models.BooleanField("empreinte d'abord", default=False)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    created_at = models.DateTimeField("créée le")
    submitted_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    submitted_at = models.DateTimeField("soumise le", null=True, blank=True)
    validated_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    validated_at = models.DateTimeField("validée le", null=True, blank=True)
    published_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    published_at = models.DateTimeField("publiée le", null=True, blank=True)
    opening_at = models.DateTimeField("séance d'ouverture commencée le", null=True, blank=True)
    ceremony_sha256 = models.CharField(
        "empreinte de la cérémonie des clés", max_length=64, blank=True, default=""
    )
    ceremony_record = models.BinaryField("compte rendu de la cérémonie", null=True, blank=True)
    former_ceremonies = models.JSONField("empreintes des répartitions remplacées", default=list, blank=True)
    rehearsed_at = models.DateTimeField("répétition réussie le", null=True, blank=True)
    trial = models.BooleanField("consultation d'essai", default=False, editable=False)
    twin_of = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, editable=False, related_name="twins"
    )
    objects = RealManager()
    every = ConsultationQuerySet.as_manager()

    class Meta:
        verbose_name = "consultation"
        ordering = ["-published_at", "-created_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["buyer", "reference"],
                name="consultations_reference_once",
                violation_error_message="Cet acheteur a déjà une consultation de cette référence.",
            ),
            models.UniqueConstraint(
                fields=["trial"],
                condition=models.Q(trial=True),
                name="consultations_one_trial",
                violation_error_message="Il y a déjà une consultation d'essai.",
            ),
            models.CheckConstraint(
                condition=models.Q(validated_by__isnull=True)
                | ~models.Q(validated_by=models.F("submitted_by")),
                name="consultations_second_person",
                violation_error_message="Une autre personne que l'auteur doit valider.",
            ),
            models.CheckConstraint(
                condition=models.Q(published_at__isnull=True)
                | (models.Q(validated_at__isnull=False) & ~models.Q(ceremony_sha256="")),
                name="consultations_published_when_ready",
                violation_error_message="Une consultation se publie validée et ses clés déposées.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reference} {self.title}"

    @property
    def current_deadline(self) -> "Deadline | None":
        return self.deadlines.order_by("-version").first()

    @property
    def deadline(self) -> datetime | None:
        """The binding instant, or None while none was decided."""
        current = self.current_deadline
        return current.at if current else None

    def announced_deadlines(self) -> list["Deadline"]:
        """The binding one, then those that the public saw before it; what a draft tried stays private."""
        announced: list[Deadline] = []
        for each in self.deadlines.order_by("-version"):
            if announced and self.published_at and announced[-1].decided_at <= self.published_at:
                break
            announced.append(each)
        return announced

    def is_open(self, *, now: datetime) -> bool:
        return self.published_at is not None and is_open(self.deadline, now=now)

    def key_name(self, kind: str, lot: str) -> str:
        """The name, in the ceremony record, of the keys of this envelope of this lot."""
        return key_name(kind, lot if self.keys_per_lot else "")

    def key_names(self, kinds: Iterable[str], *, without: Collection[str] = ()) -> list[str]:
        """The names of all the keys of these kinds of envelope, but those of the lots `without`."""
        if not self.keys_per_lot:
            return list(kinds)
        lots = [
            lot for lot in self.lots.order_by("pk").values_list("number", flat=True) if lot not in without
        ]
        return [key_name(kind, lot) for kind in kinds for lot in lots]

    @property
    def opening_phases(self) -> list[list[str]]:
        """The kinds of envelope opened at each phase of the session."""
        return opening_phases(self.kinds, self.opening_order)

    @property
    def deposit_limits(self) -> dict[str, int]:
        """What is announced of this consultation, and checked: bytes and counts."""
        return binding_limits(self.limits, settings.DEPOSIT_LIMITS, published=bool(self.published_at))

    @property
    def ceremonies(self) -> set[str]:
        """Hashes of the ceremony records to which a bid may have been sealed: the same keys in all."""
        return {self.ceremony_sha256, *self.former_ceremonies}

    @property
    def step(self) -> str:
        """Where people's decisions have brought it: draft, submitted, validated, published."""
        if self.published_at:
            return "published"
        if self.validated_at:
            return "validated"
        return "submitted" if self.submitted_at else "draft"


class Deadline(models.Model):
    """One version of the deadline; the last one binds. Never edited."""

    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="deadlines")
    version = models.PositiveSmallIntegerField()
    at = models.DateTimeField("date limite")
    zone = models.CharField("fuseau horaire", max_length=40, default=settings.TIME_ZONE)
    reason = models.CharField("motif", max_length=300, blank=True, default="")
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    decided_at = models.DateTimeField("décidée le")

    class Meta:
        verbose_name = "date limite"
        ordering = ["version"]
        constraints = [
            models.UniqueConstraint(
                fields=["consultation", "version"], name="consultations_deadline_version_once"
            )
        ]

    def __str__(self) -> str:
        return f"v{self.version} {self.at.isoformat()}"


class Lot(models.Model):
    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="lots")
    number = models.CharField("numéro", max_length=4)
    title = models.CharField("intitulé", max_length=250)
    cpv = models.CharField("code CPV", max_length=8, blank=True, default="")
    estimated_value = models.DecimalField(
        "valeur estimée (€ HT, jamais publiée)", max_digits=14, decimal_places=2, null=True, blank=True
    )

    class Meta:
        verbose_name = "lot"
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(
                fields=["consultation", "number"],
                name="consultations_lot_once",
                violation_error_message="Ce numéro de lot existe déjà.",
            )
        ]

    def __str__(self) -> str:
        return f"Lot {self.number} – {self.title}"


class EnvelopeKeys(models.Model):
    """The two public keys to which one kind of envelope is sealed; `kind` is their name in the record.

    The ceremony record carries their hashes.
    """

    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="envelope_keys")
    kind = models.CharField("enveloppe", max_length=32)
    committee = models.BinaryField("clé publique de la commission")
    platform = models.BinaryField("clé publique de la plateforme")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["consultation", "kind"], name="consultations_keys_once")
        ]

    def __str__(self) -> str:
        return self.kind


class Criterion(models.Model):
    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="criteria")
    name = models.CharField("critère", max_length=200)
    weight = models.PositiveSmallIntegerField("pondération (%)")

    class Meta:
        verbose_name = "critère"
        ordering = ["-weight", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(weight__gte=1, weight__lte=100),
                name="consultations_weight_percent",
                violation_error_message="Une pondération est comprise entre 1 et 100 %.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.weight} %"


class Document(models.Model):
    """A piece of the consultation file (DCE); its contents are in its versions."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="documents")
    kind = models.CharField("nature", max_length=8, choices=list(DOCUMENT_KINDS.items()), default="other")
    title = models.CharField("intitulé", max_length=200)

    class Meta:
        verbose_name = "pièce du dossier de consultation"
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.title

    @property
    def current(self) -> "DocumentVersion | None":
        """The last version sent, whatever the antivirus says of it: the buyer's."""
        return self.versions.order_by("-number").first()

    @property
    def served(self) -> "DocumentVersion | None":
        """The last version that may be served: the public's. An infected new version replaces nothing."""
        return self.served_versions.order_by("-number").first()

    @property
    def served_versions(self) -> "models.QuerySet[DocumentVersion]":
        """Every version that was or is offered to the public."""
        return self.versions.filter(verdict__in=SERVED)


class DocumentVersion(models.Model):
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    document = models.ForeignKey(Document, models.CASCADE, related_name="versions")
    number = models.PositiveSmallIntegerField("version")
    name = models.CharField("nom du fichier", max_length=255)
    size = models.PositiveBigIntegerField("taille (octets)")
    sha256 = models.CharField("SHA-256", max_length=64)
    crc32 = models.PositiveBigIntegerField("CRC-32, pour le ZIP du dossier", null=True, blank=True)
    key = models.CharField(max_length=200)
    verdict = models.CharField("antivirus", max_length=12, choices=list(VERDICTS.items()), default="pending")
    verdict_detail = models.CharField(max_length=200, blank=True, default="")
    engine = models.CharField("antivirus et signatures", max_length=300, blank=True, default="")
    scanned_at = models.DateTimeField("analysée le", null=True, blank=True)
    uploaded_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField("déposée le")

    class Meta:
        verbose_name = "version d'une pièce"
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(
                fields=["document", "number"], name="consultations_document_version_once"
            ),
            models.CheckConstraint(
                condition=models.Q(size__gt=0),
                name="consultations_document_not_empty",
                violation_error_message="Un fichier vide n'est pas une pièce.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (v{self.number})"

    @property
    def is_served(self) -> bool:
        """Files that are not clean are never served."""
        return self.verdict in SERVED


class Follower(models.Model):
    """An e-mail left, if one wishes, to be told of changes."""

    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="followers")
    email = models.EmailField("adresse électronique")
    since = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["consultation", "email"], name="consultations_follower_once")
        ]

    def __str__(self) -> str:
        return self.email


class Withdrawal(models.Model):
    """One line of the register of downloads; anonymous unless an e-mail was left."""

    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="withdrawals")
    version = models.ForeignKey(
        DocumentVersion, models.PROTECT, null=True, blank=True, related_name="withdrawals"
    )
    email = models.EmailField("adresse électronique", blank=True, default="")
    at = models.DateTimeField("heure")
    entry = models.PositiveBigIntegerField("rang au journal", null=True, blank=True, db_index=True)

    class Meta:
        verbose_name = "retrait"
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.version or 'dossier complet'}"


class Question(models.Model):
    """A question; the answer is published to all, without naming who asked."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    consultation = models.ForeignKey(Consultation, models.CASCADE, related_name="questions")
    text = models.TextField("question", max_length=4000)
    email = models.EmailField("adresse électronique", blank=True, default="")
    asked_at = models.DateTimeField("posée le")
    answer = models.TextField("réponse", max_length=8000, blank=True, default="")
    answered_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    answered_at = models.DateTimeField("répondue le", null=True, blank=True)

    class Meta:
        verbose_name = "question"
        ordering = ["asked_at", "pk"]

    def __str__(self) -> str:
        return self.text[:60]
