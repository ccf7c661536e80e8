"""What is kept beside an act: its text, what did not go through, and who follows."""

from django.db import models

from dematmp.accounts.models import User


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
