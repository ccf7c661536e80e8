"""Protectors, the ceremony and its holders, sessions, what was opened."""

import uuid
from typing import Self

from django.db import models

from dematmp.accounts.models import User
from dematmp.bids.models import Envelope
from dematmp.consultations.models import SERVED, VERDICTS, Consultation
from dematmp.opening.former_minutes import FormerMinutes  # noqa: F401  (a model)
from signing.ceremony import fingerprint
from signing.keys import key_hash

PROTECTOR_KINDS = {
    "passphrase": "phrase secrète",
    "passkey": "clé d'accès",
    "paper": "feuille de secours",
    "card": "carte à puce",
}

# Between two phases, of an envelope: what the other one becomes depends on it.
ENVELOPE_DECISIONS = {"admitted": "admise", "rejected": "rejetée"}
# Of a file that the antivirus kept: the committee decides, the software never does.
FILE_DECISIONS = {
    "set-aside": "écarté",
    "asked-again": "nouvel envoi demandé à l'entreprise",
    "examined": "examiné par la commission sur un poste isolé",
}


class ProtectorQuerySet(models.QuerySet["Protector"]):
    def kept(self) -> Self:
        """Those that their owner has not declared lost."""
        return self.filter(lost_at=None).order_by("pk")


class Protector(models.Model):
    """What protects a member's shares: its public key and, so that its owner may open from any machine, its
    seed under their passphrase or their passkey (protector/1, passkey/1), which the platform cannot open.
    The seed of a sheet of paper is on the sheet alone.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.PROTECT, related_name="protectors")
    kind = models.CharField("nature", max_length=12, choices=list(PROTECTOR_KINDS.items()))
    label = models.CharField("intitulé", max_length=100)
    public_key = models.BinaryField("clé publique")
    wrapped = models.BinaryField("graine scellée", null=True, blank=True)
    created_at = models.DateTimeField("créé le")
    lost_at = models.DateTimeField("déclaré perdu le", null=True, blank=True)
    objects = ProtectorQuerySet.as_manager()

    class Meta:
        verbose_name = "protecteur"
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.label

    @property
    def fingerprint(self) -> str:
        """What its owner writes down and compares: 16 hex digits of the hash of its public key."""
        return fingerprint(key_hash(bytes(self.public_key)))


class Ceremony(models.Model):
    """The committee's keys for one consultation.

    The platform's seeds are wrapped; the committee's are never here. `consultation` is the one that bears
    these keys or is about to; once they are made again, only `former_of` remembers. `twin` is the
    consultation of the rehearsal, whose own ceremony has the same holders.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    consultation = models.OneToOneField(
        Consultation, models.PROTECT, related_name="ceremony", null=True, blank=True
    )
    former_of = models.ForeignKey(
        Consultation, models.PROTECT, related_name="former_ceremonies_made", null=True, blank=True
    )
    twin = models.OneToOneField(Consultation, models.PROTECT, related_name="+", null=True, blank=True)
    epoch = models.PositiveSmallIntegerField("répartition", default=1)
    renews = models.ForeignKey("self", models.PROTECT, related_name="renewals", null=True, blank=True)
    dealer = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    dealer_key = models.BinaryField("clé éphémère de qui répartit", null=True, blank=True)
    threshold = models.PositiveSmallIntegerField("quorum")
    started_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    started_at = models.DateTimeField("commencée le")
    record = models.BinaryField("compte rendu", null=True, blank=True)
    recorded_at = models.DateTimeField("déposée le", null=True, blank=True)
    confirmed_at = models.DateTimeField("confirmée le", null=True, blank=True)
    token = models.BinaryField("jeton d'horodatage", null=True, blank=True)

    class Meta:
        verbose_name = "cérémonie des clés"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(threshold__gte=2),
                name="opening_never_one",
                violation_error_message="Jamais une seule personne n'ouvre : le quorum est de 2 au moins.",
            )
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def bearer(self) -> Consultation | None:
        """The consultation of these keys, or of those that they are about to replace."""
        return self.consultation or (self.renews.consultation if self.renews else None)

    @property
    def able(self) -> int:
        """How many holders have shown that their share opens, and still have what opens it."""
        confirmed = self.holders.exclude(confirmed_at=None)
        return confirmed.filter(shares__protector__lost_at=None, shares__isnull=False).distinct().count()

    @property
    def margin(self) -> int:
        """How many of those who can open may be missing; 0 or less is red: one lost phrase loses the bids."""
        return self.able - self.threshold

    @property
    def state(self) -> str:
        """waiting, recorded, confirmed."""
        if self.confirmed_at:
            return "confirmed"
        return "recorded" if self.recorded_at else "waiting"


class PlatformKey(models.Model):
    """The platform's half of the keys of this name in the record; its seed is wrapped."""

    ceremony = models.ForeignKey(Ceremony, models.CASCADE, related_name="platform_keys")
    kind = models.CharField("enveloppe", max_length=32)
    public_key = models.BinaryField()
    wrapped_seed = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["ceremony", "kind"], name="opening_platform_key_once")]

    def __str__(self) -> str:
        return self.kind


class LentShare(models.Model):
    """A share of the former ceremony, sealed by its holder to who deals the same keys again."""

    ceremony = models.ForeignKey(Ceremony, models.CASCADE, related_name="lent")
    holder = models.ForeignKey("KeyHolder", models.PROTECT, related_name="+")
    kind = models.CharField("enveloppe", max_length=32)
    sealed = models.BinaryField()
    at = models.DateTimeField("prêtée le")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ceremony", "holder", "kind"], name="opening_lent_once")
        ]

    def __str__(self) -> str:
        return f"{self.holder} {self.kind}"


class KeyHolder(models.Model):
    ceremony = models.ForeignKey(Ceremony, models.CASCADE, related_name="holders")
    index = models.PositiveSmallIntegerField("numéro")
    user = models.ForeignKey(User, models.PROTECT, related_name="holdings")
    protectors = models.ManyToManyField(Protector, related_name="+")
    confirmed_at = models.DateTimeField("a confirmé le", null=True, blank=True)
    rehearsed_at = models.DateTimeField("a vérifié sa part le", null=True, blank=True)

    class Meta:
        verbose_name = "détenteur de clé"
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["ceremony", "index"], name="opening_holder_index_once"),
            models.UniqueConstraint(fields=["ceremony", "user"], name="opening_holder_user_once"),
        ]

    def __str__(self) -> str:
        return f"{self.index}. {self.user}"


class SealedShare(models.Model):
    """A share sealed to one of its holder's protectors."""

    holder = models.ForeignKey(KeyHolder, models.CASCADE, related_name="shares")
    protector = models.ForeignKey(Protector, models.PROTECT, related_name="shares")
    kind = models.CharField("enveloppe", max_length=32)
    sealed = models.BinaryField()
    checked_at = models.DateTimeField("ouverte par son détenteur le", null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["holder", "protector", "kind"], name="opening_share_once")
        ]

    def __str__(self) -> str:
        return self.kind


class SessionQuerySet(models.QuerySet["OpeningSession"]):
    def of_member(self, user: User) -> Self:
        """Sessions of ceremonies in which this person holds a share, as a member of the buyer's committee."""
        return self.filter(consultation__in=Consultation.every.held_by(user))

    def unfinished(self) -> Self:
        """Released, and not wholly opened or without the PDF of their minutes yet."""
        return self.filter(released_at__isnull=False, phase_opened_at=None, minutes_pdf=None)


class OpeningSession(models.Model):
    """One opening of one consultation; its ephemeral seed is wrapped, and wiped at the end."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    consultation = models.OneToOneField(Consultation, models.PROTECT, related_name="opening_session")
    started_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    started_at = models.DateTimeField("ouverte le")
    public_key = models.BinaryField()
    wrapped_seed = models.BinaryField(null=True, blank=True)
    phase = models.PositiveSmallIntegerField("phase", default=0)
    phase_opened_at = models.DateTimeField("phase ouverte le", null=True, blank=True)
    releases = models.JSONField("clés de la plateforme libérées", default=list, blank=True)
    released_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    released_at = models.DateTimeField("clé de la plateforme libérée le", null=True, blank=True)
    finished_at = models.DateTimeField("achevée le", null=True, blank=True)
    sealed_lots = models.JSONField("lots laissés scellés", default=list, blank=True)
    problem = models.CharField("incident", max_length=300, blank=True, default="")
    minutes = models.BinaryField("procès-verbal (JSON)", null=True, blank=True)
    minutes_pdf = models.BinaryField("procès-verbal (PDF scellé)", null=True, blank=True)
    closed_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    rescan_asked_at = models.DateTimeField(null=True, blank=True)  # before closing, by newer signatures:
    rescan_by = models.CharField(max_length=64, blank=True, default="")  # the SHA-256 of their engines
    closed_at = models.DateTimeField("procès-verbal clos le", null=True, blank=True)
    annex = models.BinaryField("annexe du procès-verbal (JSON)", null=True, blank=True)
    closed_pdf = models.BinaryField("procès-verbal clos (PDF scellé)", null=True, blank=True)
    objects = SessionQuerySet.as_manager()

    class Meta:
        verbose_name = "séance d'ouverture des plis"

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def state(self) -> str:
        """waiting, released (being unsealed), deciding (between two phases), done."""
        if self.finished_at:
            return "done"
        if self.phase_opened_at:
            return "deciding"
        return "released" if self.released_at else "waiting"

    @property
    def kinds(self) -> list[str]:
        """The kinds of envelope that this phase opens."""
        return self.consultation.opening_phases[self.phase]

    @property
    def left_sealed(self) -> dict[str, str]:
        """Lot → why the committee leaves it sealed."""
        return {row["lot"]: row["reason"] for row in self.sealed_lots}

    @property
    def key_names(self) -> list[str]:
        """The names of the keys that this phase needs: a lot left sealed needs none of its own."""
        return self.consultation.key_names(self.kinds, without=self.left_sealed)

    @property
    def is_last_phase(self) -> bool:
        return self.phase + 1 >= len(self.consultation.opening_phases)


class SessionShare(models.Model):
    """A share sealed to the session's key by its holder."""

    session = models.ForeignKey(OpeningSession, models.CASCADE, related_name="shares")
    holder = models.ForeignKey(KeyHolder, models.PROTECT, related_name="+")
    kind = models.CharField("enveloppe", max_length=32)
    sealed = models.BinaryField()
    received_at = models.DateTimeField("reçue le")

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["session", "holder", "kind"], name="opening_given_once")
        ]

    def __str__(self) -> str:
        return f"{self.holder} {self.kind}"


class OpenedEnvelope(models.Model):
    """What became of one envelope; `ek` is written for the opened ones only."""

    session = models.ForeignKey(OpeningSession, models.CASCADE, related_name="envelopes")
    envelope = models.OneToOneField(Envelope, models.PROTECT, related_name="opened")
    state = models.CharField(
        "état",
        max_length=12,
        choices=[
            ("waiting", "à ouvrir"),
            ("opened", "ouvert"),
            ("refused", "illisible"),
            ("unopened", "non ouvert"),
            ("incident", "incident technique"),
        ],
    )
    reason = models.CharField("motif", max_length=300, blank=True, default="")
    ek = models.CharField(max_length=64, blank=True, default="")
    opened_at = models.DateTimeField("ouvert le", null=True, blank=True)
    tries = models.PositiveSmallIntegerField("essais", default=0)
    decision = models.CharField(
        "décision", max_length=12, choices=list(ENVELOPE_DECISIONS.items()), blank=True, default=""
    )
    decision_reason = models.CharField("motif de la décision", max_length=1000, blank=True, default="")
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField("décidé le", null=True, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.envelope} {self.state}"


class OpenedFile(models.Model):
    """One file of an opened envelope; served only when the antivirus cleared it."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    opened = models.ForeignKey(OpenedEnvelope, models.CASCADE, related_name="files")
    index = models.PositiveIntegerField()
    name = models.CharField("nom", max_length=255)
    size = models.PositiveBigIntegerField("taille (octets)")
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, default="")
    key = models.CharField(max_length=200)
    verdict = models.CharField("antivirus", max_length=12, choices=list(VERDICTS.items()), default="pending")
    verdict_detail = models.CharField(max_length=200, blank=True, default="")
    engine = models.CharField("antivirus et signatures", max_length=300, blank=True, default="")
    scanned_at = models.DateTimeField("analysé le", null=True, blank=True)
    signature = models.JSONField("signatures", null=True, blank=True)
    decision = models.CharField(
        "décision", max_length=12, choices=list(FILE_DECISIONS.items()), blank=True, default=""
    )
    decision_reason = models.CharField("motif de la décision", max_length=1000, blank=True, default="")
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField("décidé le", null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["opened", "index"], name="opening_file_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_served(self) -> bool:
        """Files that are not clean, or whose envelope was not wholly opened, are never served."""
        return self.verdict in SERVED and self.done_at is not None and self.opened.state == "opened"

    @property
    def is_kept(self) -> bool:
        """Infected or unscannable: kept, never served, and the committee says what it does of it."""
        return self.verdict in ("infected", "unscannable")


class Observation(models.Model):
    """What a member wants written after the minutes; never edited."""

    session = models.ForeignKey(OpeningSession, models.CASCADE, related_name="observations")
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    text = models.TextField("observation", max_length=4000)
    at = models.DateTimeField("le")

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return self.text[:60]


class MinutesSignature(models.Model):
    """A member signs the closed minutes: by confirming their digest, or by a signed PDF of them."""

    session = models.ForeignKey(OpeningSession, models.CASCADE, related_name="signatures")
    user = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField("le")
    sha256 = models.CharField("empreinte du procès-verbal signé", max_length=64)
    pdf = models.BinaryField("procès-verbal signé (PDF)", null=True, blank=True)
    report = models.JSONField("vérification de la signature", null=True, blank=True)

    class Meta:
        ordering = ["at", "pk"]
        constraints = [models.UniqueConstraint(fields=["session", "user"], name="opening_signed_once")]

    def __str__(self) -> str:
        return f"{self.user} {self.at:%Y-%m-%d}"
