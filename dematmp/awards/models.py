"""The decision on a lot."""

from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.consultations.models import Lot


class Award(models.Model):
    """Who is awarded a lot, for how much, by whose decision."""

    lot = models.OneToOneField(Lot, models.PROTECT, related_name="award")
    company = models.ForeignKey(Organisation, models.PROTECT, related_name="awards")
    amount = models.DecimalField("montant (€ HT)", max_digits=14, decimal_places=2)
    reasons = models.TextField("motifs", max_length=4000)
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    decided_at = models.DateTimeField("décidée le")

    class Meta:
        verbose_name = "attribution"
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount__gt=0),
                name="awards_amount_positive",
                violation_error_message="Le montant est positif.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.lot} à {self.company}"
