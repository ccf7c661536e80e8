"""What a company was refused before an attempt existed, here or on the backup channel: it keeps its proof."""

from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.consultations.models import Consultation


class StartRefusal(models.Model):
    """An attempt that was refused before it existed: its company keeps the proof that it came."""

    consultation = models.ForeignKey(Consultation, models.PROTECT, related_name="start_refusals")
    bidder = models.ForeignKey(Organisation, models.PROTECT, related_name="start_refusals")
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField("le")
    code = models.CharField(max_length=60)
    message = models.CharField("message", max_length=300)
    journal_index = models.PositiveBigIntegerField("rang au journal")
    # Met on the backup channel: the entry of its own journal with its proof, under this key.
    channel_key = models.CharField(
        "clé du journal du canal de secours", max_length=300, blank=True, default=""
    )
    channel_entry = models.JSONField("entrée au journal du canal", null=True, blank=True)

    class Meta:
        verbose_name = "envoi refusé d'emblée"
        ordering = ["-at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["channel_key", "journal_index"],
                condition=~models.Q(channel_key=""),
                name="bids_channel_refusal_once",
            )
        ]

    def __str__(self) -> str:
        return self.code
