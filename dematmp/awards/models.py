"""The decision on a lot."""

import uuid
from typing import Self

from django.db import models

from dematmp.accounts.models import Organisation, User
from dematmp.consultations.models import Lot

COMPANY, BUYER, BOTH = "company", "buyer", "both"
PARTIES = {COMPANY: "l'entreprise", BUYER: "l'acheteur", BOTH: "l'entreprise et l'acheteur"}


class AwardQuerySet(models.QuerySet["Award"]):
    def of_buyers(self, user: User) -> Self:
        """Those of the buyers for which this person works."""
        return self.filter(
            lot__consultation__buyer__memberships__user=user,
            lot__consultation__buyer__memberships__role__in=["agent", "validator"],
        ).distinct()

    def of_companies(self, user: User) -> Self:
        """Those of this person's companies, once the buyer has deposited a contract to sign."""
        return self.filter(
            company__memberships__user=user,
            company__memberships__role__in=["bidder", "administrator"],
            contract__isnull=False,
        ).distinct()


class Award(models.Model):
    """Who is awarded a lot, for how much, by whose decision."""

    lot = models.OneToOneField(Lot, models.PROTECT, related_name="award")
    company = models.ForeignKey(Organisation, models.PROTECT, related_name="awards")
    amount = models.DecimalField("montant (€ HT)", max_digits=14, decimal_places=2)
    reasons = models.TextField("motifs", max_length=4000)
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    decided_at = models.DateTimeField("décidée le")
    objects = AwardQuerySet.as_manager()

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


class ContractVersion(models.Model):
    """One state of the contract's PDF; each keeps every byte of the one before, and adds a signature."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    award = models.ForeignKey(Award, models.PROTECT, related_name="contract")
    number = models.PositiveSmallIntegerField("version")
    signed_by = models.CharField("signé par", max_length=7, choices=list(PARTIES.items()))
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField("déposée le")
    name = models.CharField("nom", max_length=255)
    key = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField("taille (octets)")
    sha256 = models.CharField("SHA-256", max_length=64)
    added_signatures = models.PositiveSmallIntegerField("signatures ajoutées")
    added_bytes = models.PositiveBigIntegerField("octets ajoutés")
    report = models.JSONField("signatures")

    class Meta:
        verbose_name = "version du contrat"
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["award", "number"], name="awards_contract_number_once"),
        ]

    def __str__(self) -> str:
        return f"{self.award}, version {self.number}"
