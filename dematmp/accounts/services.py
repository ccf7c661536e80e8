"""Verbs about organisations and people."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from dematmp.accounts.errors import AccountError, OrganisationExists, SiretRefused
from dematmp.accounts.models import ApiToken, Membership, Organisation, User
from dematmp.accounts.rules import COMPANY, clean_siret


def create_organisation(
    *,
    kind: str,
    name: str,
    siret: str | None = None,
    country: str = "FR",
    foreign_number: str = "",
    **actes: str,
) -> Organisation:
    """A new organisation. Raises SiretRefused or OrganisationExists."""
    number = clean_siret(siret) if siret else None
    organisation = Organisation(
        kind=kind, name=name, siret=number, country=country, foreign_number=foreign_number, **actes
    )
    if number and Organisation.objects.filter(siret=number).exists():
        raise OrganisationExists(
            "Une organisation porte déjà ce SIRET : demandez à son administrateur de vous inviter."
        )
    try:
        organisation.full_clean()
        with transaction.atomic():
            organisation.save()
    except ValidationError as refused:
        raise SiretRefused(" ".join(refused.messages)) from refused
    except IntegrityError as raced:
        raise OrganisationExists("Une organisation porte déjà ce SIRET.") from raced
    return organisation


def give_role(user: User, organisation: Organisation, role: str) -> Membership:
    """Give a role, once. Raises AccountError when the organisation's kind has no such role."""
    membership = Membership(user=user, organisation=organisation, role=role)
    try:
        membership.clean()
    except ValidationError as refused:
        raise AccountError(" ".join(refused.messages)) from refused
    return Membership.objects.get_or_create(user=user, organisation=organisation, role=role)[0]


@transaction.atomic
def register_company(
    user: User, *, name: str, siret: str | None, country: str = "FR", foreign_number: str = ""
) -> Organisation:
    """The person who registers a company becomes its administrator and may bid."""
    company = create_organisation(
        kind=COMPANY, name=name, siret=siret, country=country, foreign_number=foreign_number
    )
    give_role(user, company, "administrator")
    give_role(user, company, "bidder")
    return company


def issue_token(user: User, organisation: Organisation, *, label: str, now: datetime) -> str:
    """The text of a new bearer token, to be shown once."""
    return ApiToken.issue(user=user, organisation=organisation, label=label, now=now)[1]


def revoke_token(token: ApiToken, *, now: datetime) -> None:
    """A revoked token opens nothing any more; revoking twice is harmless."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now)
