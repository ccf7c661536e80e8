"""Organisations, people, and what a person may do for an organisation."""

import hashlib
import secrets
import uuid
from datetime import datetime
from typing import ClassVar, Self

from allauth.account.models import EmailAddress
from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models

from dematmp.accounts.errors import SiretRefused
from dematmp.accounts.rules import KINDS, ROLES, clean_siret, role_fits


def validate_siret(value: str) -> None:
    """Django validator over `clean_siret`."""
    try:
        clean_siret(value)
    except SiretRefused as refused:
        raise ValidationError(str(refused), code=refused.code) from refused


class Organisation(models.Model):
    """A buyer, a company or a prefecture. A foreign company has no SIRET but a national number."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    kind = models.CharField("nature", max_length=12, choices=list(KINDS.items()))
    name = models.CharField("nom", max_length=200)
    siret = models.CharField(
        "SIRET", max_length=14, null=True, blank=True, unique=True, validators=[validate_siret]
    )
    country = models.CharField("pays (code ISO)", max_length=2, default="FR")
    foreign_number = models.CharField("numéro national étranger", max_length=60, blank=True, default="")
    department = models.CharField("département (3 caractères, ACTES)", max_length=3, blank=True, default="")
    district = models.CharField("arrondissement (ACTES)", max_length=1, blank=True, default="")
    authority_nature = models.CharField(
        "nature de collectivité (ACTES)", max_length=2, blank=True, default=""
    )

    class Meta:
        verbose_name = "organisation"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(siret__isnull=False)
                | (~models.Q(country="FR") & ~models.Q(foreign_number="")),
                name="accounts_siret_or_foreign_number",
                violation_error_message=(
                    "Indiquez un SIRET, ou le pays et le numéro national d'une entreprise étrangère."
                ),
            ),
            models.CheckConstraint(
                condition=models.Q(kind="company") | models.Q(siret__isnull=False),
                name="accounts_public_body_has_siret",
                violation_error_message="Un organisme public français a un SIRET.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def siren(self) -> str:
        """The first nine digits of the SIRET, or the empty string."""
        return (self.siret or "")[:9]


class UserManager(BaseUserManager["User"]):
    """Users are known by their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: object) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: object) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractUser):
    """A person. No pseudonym: the name stands on every act."""

    username = None  # type: ignore[assignment]
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    email = models.EmailField("adresse électronique", unique=True)
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()  # type: ignore[misc,assignment]

    class Meta:
        verbose_name = "personne"

    def __str__(self) -> str:
        return self.get_full_name() or self.email

    @property
    def is_robot(self) -> bool:
        """The platform itself, which rehearses or probes: its addresses are under .invalid (RFC 2606)."""
        return self.email.endswith(".invalid")

    def organisations(self, role: str) -> models.QuerySet[Organisation]:
        """The organisations for which this person holds this role."""
        return Organisation.objects.filter(memberships__user=self, memberships__role=role).distinct()

    def has_role(self, role: str, organisation: Organisation | None = None) -> bool:
        """Whether this person holds this role, anywhere or for this organisation."""
        held = self.memberships.filter(role=role)
        return (held.filter(organisation=organisation) if organisation else held).exists()


class Membership(models.Model):
    """One role of one person for one organisation."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="memberships")
    role = models.CharField(
        "rôle", max_length=16, choices=[(role, label) for role, (_, label) in ROLES.items()]
    )

    class Meta:
        verbose_name = "rôle"
        constraints = [
            models.UniqueConstraint(
                fields=["user", "organisation", "role"],
                name="accounts_role_once",
                violation_error_message="Cette personne a déjà ce rôle.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()} de {self.organisation}"

    def clean(self) -> None:
        if not role_fits(self.role, self.organisation.kind):
            raise ValidationError(
                "Ce rôle n'existe pas pour cette nature d'organisation.", code="account.role-refused"
            )


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def waiting(self) -> Self:
        return self.filter(accepted_at=None)

    def for_person(self, user: User) -> Self:
        """What this person may accept: sent to an address that they have confirmed."""
        confirmed = EmailAddress.objects.filter(user=user, verified=True).order_by("pk")
        return self.waiting().filter(email__in=[each.email.lower() for each in confirmed])


class Invitation(models.Model):
    """A role offered to an address; it is given when its holder accepts it, signed in."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="invitations")
    email = models.EmailField("adresse électronique")
    role = models.CharField(
        "rôle", max_length=16, choices=[(role, label) for role, (_, label) in ROLES.items()]
    )
    invited_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    invited_at = models.DateTimeField("invitée le")
    accepted_at = models.DateTimeField("acceptée le", null=True, blank=True)
    objects = InvitationQuerySet.as_manager()

    class Meta:
        verbose_name = "invitation"
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "email", "role"],
                condition=models.Q(accepted_at=None),
                name="accounts_invited_once",
                violation_error_message="Cette personne est déjà invitée.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email}, {self.get_role_display()} de {self.organisation}"


class Commission(models.Model):
    """A committee that a buyer keeps: who holds the keys of its consultations, and how many open."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    buyer = models.ForeignKey(Organisation, models.CASCADE, related_name="commissions")
    name = models.CharField("nom", max_length=120)
    threshold = models.PositiveSmallIntegerField("quorum", default=2)
    president = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    changed_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    changed_at = models.DateTimeField("modifiée le")

    class Meta:
        verbose_name = "commission"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["buyer", "name"],
                name="accounts_commission_once",
                violation_error_message="Cet acheteur a déjà une commission de ce nom.",
            ),
            models.CheckConstraint(
                condition=models.Q(threshold__gte=2),
                name="accounts_commission_never_one",
                violation_error_message="Jamais une seule personne n'ouvre : le quorum est de 2 au moins.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Seat(models.Model):
    """A member of a commission; a deputy holds a share only where they replace somebody."""

    commission = models.ForeignKey(Commission, models.CASCADE, related_name="seats")
    user = models.ForeignKey(User, models.PROTECT, related_name="seats")
    deputy = models.BooleanField("suppléant", default=False)

    class Meta:
        verbose_name = "siège"
        ordering = ["deputy", "pk"]
        constraints = [models.UniqueConstraint(fields=["commission", "user"], name="accounts_seat_once")]

    def __str__(self) -> str:
        return f"{self.user}{' (suppléant)' if self.deputy else ''}"


class TokenQuerySet(models.QuerySet["ApiToken"]):
    def matching(self, text: str) -> "ApiToken | None":
        """The live token that has this text, or None."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.filter(digest=digest, revoked_at=None).select_related("user", "organisation").first()


class ApiToken(models.Model):
    """A bearer token of the command line; only its digest is kept."""

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="tokens")
    label = models.CharField("intitulé", max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField("créé le")
    revoked_at = models.DateTimeField("révoqué le", null=True, blank=True)
    objects = TokenQuerySet.as_manager()

    class Meta:
        verbose_name = "jeton d'accès"

    def __str__(self) -> str:
        return self.label

    @classmethod
    def issue(
        cls, *, user: User, organisation: Organisation, label: str, now: datetime
    ) -> tuple["ApiToken", str]:
        """A new token and its text, which is shown once and never stored."""
        text = "dmp_" + secrets.token_urlsafe(32)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls.objects.create(
            user=user, organisation=organisation, label=label, digest=digest, created_at=now
        ), text
