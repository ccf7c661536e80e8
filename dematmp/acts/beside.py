"""What is kept beside an act: its text, what did not go through, who follows, what the prefecture wrote."""

from django.db import models

from dematmp.accounts.models import User
from dematmp.acts.rules import AWAITED, LETTERS
from dematmp.acts.transactions import IncludedFile


class ActIncident(models.Model):
    """What did not go through, and which the rows forget when it is made again."""

    act = models.ForeignKey("acts.Act", models.CASCADE, related_name="incidents")
    at = models.DateTimeField("constaté le")
    what = models.CharField("incident", max_length=100)
    detail = models.CharField("motif", max_length=300, blank=True, default="")

    class Meta:
        verbose_name = "incident d'un acte"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.what} {self.at:%Y-%m-%d %H:%M:%S}"


class Subscription(models.Model):
    """A person follows the acts that they may see; `feed` is the secret part of their feeds' addresses."""

    user = models.OneToOneField(User, models.CASCADE, related_name="act_subscription")
    feed = models.CharField(max_length=32, unique=True)
    mail = models.BooleanField("par courriel", default=False)
    told_until = models.DateTimeField("nouvelles dites jusqu'au")

    class Meta:
        verbose_name = "suivi des actes"

    def __str__(self) -> str:
        return f"{self.user}"


class ActText(models.Model):
    """The text of an act and its annexes, for the search; `folded` has neither case nor accents."""

    act = models.OneToOneField("acts.Act", models.CASCADE, related_name="text")
    text = models.TextField("texte", blank=True, default="")
    folded = models.TextField(blank=True, default="")
    read_at = models.DateTimeField("lu le")

    class Meta:
        verbose_name = "texte d'un acte"

    def __str__(self) -> str:
        return f"texte de {self.act}"


class PrefectureLetter(models.Model):
    """What the prefecture sent about an act, as our operator gave it."""

    CHOICES = (("2", "réponse"), ("3", "refus motivé"), ("4", "envoi de ce qui est demandé"))

    act = models.ForeignKey("acts.Act", models.PROTECT, related_name="letters")
    remote_id = models.PositiveBigIntegerField("document chez l'opérateur")
    kind = models.CharField("message", max_length=3)
    written_on = models.DateField("date du courrier")
    text = models.TextField("texte", blank=True, default="")
    archive_key = models.CharField(max_length=200)
    documents = models.JSONField("documents", default=list, blank=True)  # their names in the archive
    verdict = models.CharField("antivirus", max_length=12, default="pending")  # of the whole archive
    threat = models.CharField("menace", max_length=300, blank=True, default="")
    found_at = models.DateTimeField("lu le")
    reply_id = models.PositiveBigIntegerField("réponse chez l'opérateur", null=True, blank=True)
    replied_at = models.DateTimeField("répondu le", null=True, blank=True)
    reminded_at = models.DateTimeField("rappelé le", null=True, blank=True)
    choice = models.CharField("réponse", max_length=1, choices=CHOICES, blank=True, default="")
    problem = models.CharField("échec de la réponse", max_length=300, blank=True, default="")

    class Meta:
        verbose_name = "courrier de la préfecture"
        verbose_name_plural = "courriers de la préfecture"
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["act", "remote_id"], name="acts_letter_once")]

    def __str__(self) -> str:
        return f"{self.kind} du {self.written_on}"

    @property
    def label(self) -> str:
        """What the letter is, in French."""
        return LETTERS.get(self.kind, "Courrier")

    @property
    def answer_files(self) -> "models.QuerySet[IncludedFile]":
        """What the buyer answered with, when this platform's own service transmitted it."""
        return IncludedFile.objects.filter(
            transaction=self.reply_id or 0, transaction__unique_id=self.act.identifier, rank__gte=1
        ).order_by("rank")

    @property
    def is_answerable(self) -> bool:
        return self.reply_id is None and self.kind in ("2-1", *AWAITED)

    @property
    def is_awaiting(self) -> bool:
        """Whether the control authority waits for an answer."""
        return self.reply_id is None and self.kind in AWAITED
