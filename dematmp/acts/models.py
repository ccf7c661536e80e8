"""An act, its transmission to the control authority, and each step of it."""

import uuid
from datetime import date
from typing import Self
from uuid import UUID

from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.accounts.words import fold, words_of
from dematmp.acts import territory
from dematmp.acts.beside import ActIncident, ActText, PrefectureLetter, Subscription
from dematmp.acts.rules import (
    ACKNOWLEDGED,
    AWAITED,
    ERROR,
    NATURES,
    STATUSES,
    act_identifier,
    control_since,
)
from dematmp.acts.subscribers import Agent, Authority, AuthorityGroup, Nounce, OperatorAccount
from dematmp.acts.transactions import (
    ClassificationVersion,
    EnvelopeSerial,
    IncludedFile,
    ReturnedMessage,
    ReturnMail,
    Step,
    Transaction,
    Window,
)
from dematmp.awards.models import Award

__all__ = [
    "Act",
    "ActIncident",
    "ActPiece",
    "ActText",
    "Agent",
    "Authority",
    "AuthorityGroup",
    "ClassificationVersion",
    "EnvelopeSerial",
    "IncludedFile",
    "Nounce",
    "OperatorAccount",
    "PrefectureLetter",
    "ReturnMail",
    "ReturnedMessage",
    "Step",
    "Subscription",
    "Transaction",
    "Transmission",
    "TransmissionStep",
    "Window",
]

_UNREAD = 500  # acts


class ActQuerySet(models.QuerySet["Act"]):
    def of_buyers(self, user: User) -> Self:
        """Acts of the buyers for which this person works."""
        return self.filter(
            buyer__memberships__user=user, buyer__memberships__role__in=["agent", "validator"]
        ).distinct()

    def received_by(self, user: User) -> Self:
        """Acknowledged acts of the authorities in the territory of this person's prefecture."""
        return self.received_at(*territory.prefectures_of(user))

    def received_at(self, *mine: Organisation) -> Self:
        """The same, of these prefectures."""
        prepared = models.Q(authority=None) & territory.within(mine, "buyer", nature="authority_nature")
        posted = territory.within(mine, "authority", nature="nature")
        return self.filter(prepared | posted, transmission__acknowledged_at__isnull=False)

    def searched(
        self,
        *,
        words: str = "",
        siren: str = "",
        nature: str = "",
        since: date | None = None,
        until: date | None = None,
    ) -> Self:
        """Each word in the text, the number, the subject or the sender's name; received between two days."""
        found, wanted = self, words_of(words)
        # Until its text is read, an act is found by what it says of itself: no database folds accents.
        unread = self.filter(text=None).order_by("-pk").values_list("pk", "number", "subject")
        itself = {
            pk: fold(f"{number} {subject}") for pk, number, subject in (unread[:_UNREAD] if wanted else ())
        }
        for word in wanted:
            found = found.filter(
                models.Q(subject__icontains=word)
                | models.Q(number__icontains=word)
                | models.Q(buyer__name__icontains=word)
                | models.Q(authority__name__icontains=word)
                | models.Q(pk__in=ActText.objects.filter(folded__contains=fold(word)).values("act"))
                | models.Q(pk__in=[pk for pk, said in itself.items() if fold(word) in said])
            )
        if siren:
            found = found.filter(models.Q(buyer__siret__startswith=siren) | models.Q(authority__siren=siren))
        if nature:
            found = found.filter(nature=nature)
        if since:
            found = found.filter(transmission__received_on__gte=since)
        return found.filter(transmission__received_on__lte=until) if until else found

    def awaiting_answer(self) -> Self:
        """A letter awaits the buyer's answer."""
        return self.filter(
            models.Exists(
                PrefectureLetter.objects.filter(act=models.OuterRef("pk"), kind__in=AWAITED, reply_id=None)
            ),
            transmission__cancelled_at=None,
        )

    def under_control(self, today: date) -> Self:
        """Received less than two months ago (CGCT L2131-6), and neither cancelled nor rejected since."""
        since = control_since(today)
        found = self.filter(transmission__received_on__gte=since, transmission__cancelled_at=None)
        return found.exclude(transmission__steps__status=ERROR)


class Act(models.Model):
    """One act; its number is never used again.

    `buyer` prepared it here. `authority` posted it by its own software, and may be a buyer here too.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    buyer = models.ForeignKey(Organisation, models.PROTECT, related_name="acts", null=True, blank=True)
    authority = models.ForeignKey(Authority, models.PROTECT, related_name="acts", null=True, blank=True)
    award = models.OneToOneField(Award, models.PROTECT, related_name="act", null=True, blank=True)
    # The award whose contract it transmits, signed here: another act than that of the decision.
    contract_of = models.ForeignKey(
        Award,
        models.PROTECT,
        related_name="contract_acts",
        null=True,
        blank=True,
        verbose_name="contrat de l'attribution",
    )
    number = models.CharField("numéro", max_length=15)
    nature = models.CharField(
        "nature", max_length=1, choices=[(code, label) for code, (_, label) in NATURES.items()]
    )
    classification = models.CharField("matière", max_length=20)
    typology = models.CharField("typologie", max_length=5)
    subject = models.CharField("objet", max_length=499)
    decided_on = models.DateField("date de la décision")
    document_key = models.CharField(max_length=200)
    document_sha256 = models.CharField("SHA-256", max_length=64)
    document_size = models.PositiveBigIntegerField("taille (octets)")
    document_name = models.CharField("nom du document", max_length=255, default="acte.pdf")
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    created_at = models.DateTimeField("préparé le")
    controller = models.ForeignKey(
        User, models.SET_NULL, related_name="+", null=True, blank=True, verbose_name="suivi par"
    )
    mark_told_at = models.DateTimeField("deux mois annoncés le", null=True, blank=True)
    published_on = models.DateField("publié ou notifié le", null=True, blank=True)
    procedure_sent_at = models.DateTimeField("procédure communiquée le", null=True, blank=True)
    # One that failed is prepared again, corrected: the former keeps its story and leaves its number.
    replaces = models.OneToOneField(
        "self", models.PROTECT, related_name="replaced_by", null=True, blank=True, verbose_name="remplace"
    )
    replaced_at = models.DateTimeField("remplacé le", null=True, blank=True)
    adopted_at = models.DateTimeField("appris le", null=True, blank=True)  # if posted elsewhere
    objects = ActQuerySet.as_manager()

    class Meta:
        verbose_name = "acte"
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["buyer", "number"],
                condition=models.Q(replaced_at=None),
                name="acts_number_once",
                violation_error_message="Ce numéro d'acte a déjà servi.",
            ),
            models.CheckConstraint(
                condition=models.Q(buyer__isnull=False) | models.Q(authority__isnull=False),
                name="acts_of_somebody",
                violation_error_message="Un acte est celui d'une collectivité.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.subject}"

    @property
    def about(self) -> Award | None:
        """The award that it transmits, or whose contract it transmits."""
        return self.award or self.contract_of

    @property
    def consultation_uuid(self) -> UUID | None:
        """The consultation that led to it."""
        return self.about.lot.consultation.uuid if self.about else None

    @property
    def sender(self) -> Organisation | Authority:
        """Whose act it is."""
        found = self.authority or self.buyer
        assert found is not None  # the database's own constraint
        return found

    def is_validated_by(self, user: User) -> bool:
        """Whether this person transmits, answers and cancels for the buyer."""
        return self.buyer is not None and user.has_role("validator", self.buyer)

    @property
    def controllers(self) -> "models.QuerySet[User]":
        """Who may be in charge of the act: those who would find it among what they received."""
        sender = self.sender
        nature = sender.authority_nature if isinstance(sender, Organisation) else sender.nature
        found = User.objects.filter(
            territory.controls(
                sender.department, sender.district, nature, prefix="memberships__organisation__"
            ),
            is_active=True,
            memberships__role="controller",
            memberships__organisation__kind="prefecture",
        )
        return found.distinct().order_by("last_name", "email")

    @property
    def in_charge(self) -> User | None:
        """Who follows the act, as long as they are of its control authority."""
        return self.controllers.filter(pk=self.controller_id or 0).first()

    @property
    def identifier(self) -> str:
        """The act's ACTES identifier, for ever."""
        return act_identifier(
            department=self.sender.department,
            siren=self.sender.siren,
            decided=self.decided_on,
            number=self.number,
            nature=self.nature,
        )


class ActPiece(models.Model):
    """An annex of an act; its typology was confirmed by a person."""

    act = models.ForeignKey(Act, models.PROTECT, related_name="pieces")
    rank = models.PositiveSmallIntegerField("rang")
    name = models.CharField("nom", max_length=255)
    typology = models.CharField("typologie", max_length=5)
    media_type = models.CharField("type", max_length=60)
    key = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField("taille (octets)")
    sha256 = models.CharField("SHA-256", max_length=64)

    class Meta:
        verbose_name = "pièce de l'acte"
        ordering = ["rank"]
        constraints = [models.UniqueConstraint(fields=["act", "rank"], name="acts_piece_rank_once")]

    def __str__(self) -> str:
        return self.name


class Transmission(models.Model):
    """What was sent and what came back.

    `archive_key` is written before the first post, `remote_id` after it.
    """

    act = models.OneToOneField(Act, models.PROTECT, related_name="transmission")
    envelope_name = models.CharField("enveloppe", max_length=60, blank=True, default="")
    envelope = models.BinaryField(null=True, blank=True)
    message = models.BinaryField(null=True, blank=True)
    archive_key = models.CharField(max_length=200, blank=True, default="")
    confirmed_at = models.DateTimeField("confirmée le", null=True, blank=True)  # nothing leaves before
    confirmed_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    tried_at = models.DateTimeField("premier envoi", null=True, blank=True)
    # Whose number `remote_id` is: an address and an account elsewhere, empty for this very service; None
    # before the first post, and for what left before this was kept.
    operator_url = models.CharField("opérateur", max_length=200, null=True, blank=True)
    operator_login = models.CharField("compte chez l'opérateur", max_length=100, blank=True, default="")
    remote_id = models.PositiveBigIntegerField(
        "transaction chez l'opérateur", null=True, blank=True, db_index=True
    )
    submitted_at = models.DateTimeField("transmis le", null=True, blank=True)
    acknowledged_at = models.DateTimeField("acquitté le", null=True, blank=True)
    acknowledgement = models.BinaryField("acquittement (XML)", null=True, blank=True)
    received_on = models.DateField("reçu en préfecture le", null=True, blank=True)
    problem = models.CharField("incident", max_length=300, blank=True, default="")
    # Since when nothing more is known of it, and when its people were told.
    stuck_since = models.DateTimeField("en attente depuis", null=True, blank=True)
    stuck_told_at = models.DateTimeField("attente annoncée le", null=True, blank=True)
    polls = models.PositiveIntegerField("lectures de l'état", default=0)
    due_at = models.DateTimeField("prochaine lecture", null=True, blank=True)
    cancellation_id = models.PositiveBigIntegerField("annulation chez l'opérateur", null=True, blank=True)
    cancellation_asked_at = models.DateTimeField("annulation demandée le", null=True, blank=True)
    cancelled_at = models.DateTimeField("annulé le", null=True, blank=True)

    class Meta:
        verbose_name = "télétransmission"
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.envelope_name or f"transmission {self.pk}"

    @property
    def status(self) -> int | None:
        """The last known status of the transaction, None before the operator has it."""
        last = self.steps.order_by("-pk").first()
        return last.status if last else None

    @property
    def label(self) -> str:
        """The status in French."""
        if (status := self.status) is None:
            return "En attente d'envoi" if self.confirmed_at else "À confirmer"
        return STATUSES.get(status, str(status))

    @property
    def is_over(self) -> bool:
        return self.acknowledged_at is not None or self.status == ERROR


class TransmissionStep(models.Model):
    """One status reached; never edited."""

    transmission = models.ForeignKey(Transmission, models.CASCADE, related_name="steps")
    status = models.SmallIntegerField("état", choices=list(STATUSES.items()))
    at = models.DateTimeField("constaté le")
    detail = models.CharField("détail", max_length=300, blank=True, default="")

    class Meta:
        verbose_name = "étape"
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["transmission", "status"], name="acts_status_once"),
            models.CheckConstraint(
                condition=models.Q(status__lte=ACKNOWLEDGED),
                name="acts_status_known",
                violation_error_message="Cet état n'est pas de la télétransmission.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()} {self.at:%Y-%m-%d %H:%M:%S}"
