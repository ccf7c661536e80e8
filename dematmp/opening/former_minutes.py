"""Minutes that later ones complete: they stay, as they were written and sealed."""

from django.db import models

from dematmp.accounts.models import User


class FormerMinutes(models.Model):
    """The minutes of an opening that went on, for a bid received in time and known afterwards."""

    session = models.ForeignKey("opening.OpeningSession", models.PROTECT, related_name="former_minutes")
    minutes = models.BinaryField("procès-verbal (JSON)")
    pdf = models.BinaryField("procès-verbal (PDF scellé)")
    finished_at = models.DateTimeField("séance achevée le")
    reopened_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    reopened_at = models.DateTimeField("séance reprise le")

    class Meta:
        verbose_name = "procès-verbal antérieur"
        verbose_name_plural = "procès-verbaux antérieurs"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.session} {self.finished_at:%Y-%m-%d %H:%M}"
