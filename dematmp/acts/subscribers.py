"""Who may transmit: authorities, their agents with their certificates, the nounces of a browser."""

import uuid
from typing import Self

from django.db import models

from dematmp.accounts.models import Organisation

NONE, READ, DEPOSIT, TRANSMIT, BOTH = "NONE", "RO", "CS", "TT", "RW"
PERMISSIONS = {
    NONE: "aucun accès",
    READ: "lecture",
    DEPOSIT: "dépôt, confirmé par un autre",
    TRANSMIT: "télétransmission",
    BOTH: "dépôt et télétransmission",
}
SUPER, GROUP, ADMIN, USER, ARCHIVIST = "SADM", "GADM", "ADM", "USER", "ARCH"
ROLES = {
    SUPER: "super administrateur",
    GROUP: "administrateur de groupe",
    ADMIN: "administrateur de collectivité",
    USER: "utilisateur",
    ARCHIVIST: "archiviste",
}
MODULES = {"1": "actes", "2": "helios", "3": "dia", "4": "mail"}


class AuthorityGroup(models.Model):
    """Authorities administered together."""

    name = models.CharField("nom", max_length=200, unique=True)
    active = models.BooleanField("actif", default=True)

    class Meta:
        verbose_name = "groupe de collectivités"

    def __str__(self) -> str:
        return self.name


class Authority(models.Model):
    """A local authority that transmits its acts here; `organisation` when it buys here too."""

    organisation = models.OneToOneField(
        Organisation, models.PROTECT, related_name="authority", null=True, blank=True
    )
    group = models.ForeignKey(
        AuthorityGroup, models.PROTECT, related_name="authorities", null=True, blank=True
    )
    name = models.CharField("nom", max_length=200)
    siren = models.CharField("SIREN", max_length=9, unique=True)
    department = models.CharField("département (3 caractères)", max_length=3)
    district = models.CharField("arrondissement", max_length=1)
    nature = models.CharField("nature de collectivité", max_length=2)
    email = models.EmailField("adresse électronique", blank=True, default="")
    address = models.CharField("adresse", max_length=200, blank=True, default="")
    postal_code = models.CharField("code postal", max_length=10, blank=True, default="")
    city = models.CharField("ville", max_length=100, blank=True, default="")
    telephone = models.CharField("téléphone", max_length=20, blank=True, default="")
    active = models.BooleanField("active", default=True)

    class Meta:
        verbose_name = "collectivité"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(siren__regex=r"^[0-9]{9}$"),
                name="acts_authority_siren",
                violation_error_message="Le SIREN a neuf chiffres.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class AgentQuerySet(models.QuerySet["Agent"]):
    def active(self) -> Self:
        """Whose account, authority and group are all active."""
        return self.filter(active=True, authority__active=True).exclude(authority__group__active=False)

    def holding(self, fingerprint: str) -> Self:
        """Those who share this certificate (base64 of the SHA-1 of its DER)."""
        return self.filter(fingerprint=fingerprint).exclude(fingerprint="").order_by("pk")


class Agent(models.Model):
    """An account of an authority, known by a certificate and, when it is shared, by a login too."""

    authority = models.ForeignKey(Authority, models.PROTECT, related_name="agents")
    name = models.CharField("nom", max_length=100)
    given_name = models.CharField("prénom", max_length=100, blank=True, default="")
    email = models.EmailField("adresse électronique")
    telephone = models.CharField("téléphone", max_length=20, blank=True, default="")
    login = models.CharField("identifiant", max_length=100, blank=True, default="")
    password = models.CharField("mot de passe (empreinte)", max_length=200, blank=True, default="")
    certificate = models.BinaryField("certificat (DER)", blank=True, default=b"")
    fingerprint = models.CharField(
        "empreinte du certificat", max_length=28, blank=True, default="", db_index=True
    )
    role = models.CharField("rôle", max_length=4, choices=list(ROLES.items()), default=USER)
    permission = models.CharField("droit", max_length=4, choices=list(PERMISSIONS.items()), default=READ)
    other_permissions = models.JSONField("droits des autres modules", default=dict, blank=True)
    active = models.BooleanField("actif", default=True)
    created_at = models.DateTimeField("créé le")
    objects = AgentQuerySet.as_manager()

    class Meta:
        verbose_name = "agent télétransmetteur"
        verbose_name_plural = "agents télétransmetteurs"
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["login"],
                condition=~models.Q(login=""),
                name="acts_login_once",
                violation_error_message="Cet identifiant est déjà pris.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.given_name} {self.name}".strip()

    @property
    def may_deposit(self) -> bool:
        """Whether this account may create acts, and answer the prefecture's letters."""
        return self.role not in (SUPER, GROUP) and self.permission in (DEPOSIT, BOTH)

    @property
    def may_transmit(self) -> bool:
        """Whether this account may send what was created, by itself or by another, and cancel."""
        return self.role not in (SUPER, GROUP) and self.permission in (TRANSMIT, BOTH)

    @property
    def may_read(self) -> bool:
        return self.permission != NONE or self.role == ARCHIVIST


class Nounce(models.Model):
    """A word given to a server that knows a password, for the browser of a person who has the certificate.

    Only the digest that is expected back is kept: SHA-256 of `password:nounce`. Valid five minutes.
    """

    value = models.CharField(max_length=64, unique=True)
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="nounces")
    expected = models.CharField(max_length=64)
    expires_at = models.DateTimeField("expire le")

    class Meta:
        verbose_name = "jeton de redirection"

    def __str__(self) -> str:
        return f"{self.agent}, jusqu'à {self.expires_at:%H:%M:%S}"


class OperatorAccount(models.Model):
    """A buyer's account at an operator elsewhere; its secrets are wrapped by the platform's key."""

    buyer = models.OneToOneField(Organisation, models.CASCADE, related_name="operator_account")
    url = models.URLField("adresse")
    login = models.CharField("identifiant", max_length=100, blank=True, default="")
    password = models.BinaryField(null=True, blank=True)
    p12 = models.BinaryField(null=True, blank=True)
    p12_password = models.BinaryField(null=True, blank=True)
    authority = models.TextField("autorité de l'opérateur (PEM)", blank=True, default="")
    codes_asked_at = models.DateTimeField("classification demandée le", null=True, blank=True)

    class Meta:
        verbose_name = "compte chez un opérateur de télétransmission"

    def __str__(self) -> str:
        return f"{self.buyer}, {self.url}"


def new_key() -> str:
    """The random part of an object's key."""
    return uuid.uuid4().hex
