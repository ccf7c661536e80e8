"""Verbs about organisations and people."""

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from dematmp.accounts.errors import AccountError, OrganisationExists, RoleRefused, SiretRefused
from dematmp.accounts.models import (
    ApiToken,
    Commission,
    Invitation,
    Membership,
    Organisation,
    Seat,
    User,
)
from dematmp.accounts.rules import COMPANY, MANAGERS, clean_siret, clean_text, role_fits
from dematmp.audit.services import append
from dematmp.mails.services import store as store_mail


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
        kind=kind,
        name=clean_text(name),
        siret=number,
        country=country,
        foreign_number=clean_text(foreign_number),
        **actes,
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


@transaction.atomic
def give_role(
    user: User, organisation: Organisation, role: str, *, now: datetime, by: User | None = None
) -> Membership:
    """Give a role, once, and say so in the journal. `by` is who decides, None for the person itself.

    Raises AccountError when the organisation's kind has no such role.
    """
    membership = Membership(user=user, organisation=organisation, role=role)
    try:
        membership.clean()
    except ValidationError as refused:
        raise AccountError(" ".join(refused.messages)) from refused
    held, created = Membership.objects.get_or_create(user=user, organisation=organisation, role=role)
    if created:
        _journal_role("role-given", held, by=by or user, now=now)
    return held


def _journal_role(kind: str, membership: Membership, *, by: User, now: datetime) -> None:
    append(
        kind,
        {
            "user": str(membership.user.uuid),
            "organisation": str(membership.organisation.uuid),
            "role": membership.role,
            "by": str(by.uuid),
        },
        subject=membership.user.uuid,
        now=now,
    )


@transaction.atomic
def register_company(
    user: User,
    *,
    name: str,
    siret: str | None,
    country: str = "FR",
    foreign_number: str = "",
    now: datetime,
) -> Organisation:
    """The person who registers a company becomes its administrator and may bid."""
    company = create_organisation(
        kind=COMPANY, name=name, siret=siret, country=country, foreign_number=foreign_number
    )
    give_role(user, company, "administrator", now=now)
    give_role(user, company, "bidder", now=now)
    return company


@transaction.atomic
def invite(organisation: Organisation, *, email: str, role: str, by: User, now: datetime) -> Invitation:
    """Offer a role to an address, and tell it by mail; inviting twice sends the mail again.

    Raises RoleRefused when the organisation's kind has no such role.
    """
    if not role_fits(role, organisation.kind):
        raise RoleRefused("Ce rôle n'existe pas pour cette nature d'organisation.")
    invitation, _ = Invitation.objects.get_or_create(
        organisation=organisation,
        email=email.lower(),
        role=role,
        accepted_at=None,
        defaults={"invited_by": by, "invited_at": now},
    )
    store_mail(
        to=invitation.email,
        subject=f"{by} vous invite à rejoindre {organisation}",
        body=f"{by} vous propose le rôle « {invitation.get_role_display()} » de {organisation} sur "
        f"{settings.SITE_NAME}.\n\nConnectez-vous, ou créez un compte avec cette adresse, puis acceptez "
        f"l'invitation dans votre espace : {settings.SITE_URL}/mon-espace/\n\n"
        "Si vous ne connaissez pas cette personne, ne faites rien.",
        now=now,
    )
    return invitation


@transaction.atomic
def accept(invitation: Invitation, *, by: User, now: datetime) -> Membership:
    """The person invited takes the role; accepting twice is harmless."""
    Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(accepted_at=now)
    return give_role(by, invitation.organisation, invitation.role, by=invitation.invited_by, now=now)


@transaction.atomic
def take_role(membership: Membership, *, by: User, now: datetime) -> None:
    """Take a role away, and say so in the journal; access tokens open only what the roles left open.

    Raises RoleRefused for the last person who may invite others.
    """
    organisation = Organisation.objects.select_for_update(no_key=True).get(pk=membership.organisation.pk)
    last = organisation.memberships.filter(role=membership.role).exclude(pk=membership.pk)
    if membership.role == MANAGERS[organisation.kind] and not last.exists():
        raise RoleRefused(
            f"Il reste au moins une personne du rôle « {membership.get_role_display()} » : elle seule invite."
        )
    if Membership.objects.filter(pk=membership.pk).delete()[0]:
        _journal_role("role-taken", membership, by=by, now=now)


def issue_token(user: User, organisation: Organisation, *, label: str, now: datetime) -> str:
    """The text of a new bearer token, to be shown once."""
    return ApiToken.issue(user=user, organisation=organisation, label=label, now=now)[1]


def revoke_token(token: ApiToken, *, now: datetime) -> None:
    """A revoked token opens nothing any more; revoking twice is harmless."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now)


@transaction.atomic
def keep_commission(
    buyer: Organisation,
    *,
    name: str,
    members: Sequence[User],
    deputies: Sequence[User],
    threshold: int,
    by: User,
    now: datetime,
    president: User | None = None,
    commission: Commission | None = None,
) -> Commission:
    """Make a commission, or change it: the consultations that have keys already keep their holders.

    Raises AccountError.
    """
    if set(members) & set(deputies):
        raise AccountError("Une même personne n'est pas titulaire et suppléante.")
    if not 2 <= threshold <= len(members):
        raise AccountError("Le quorum est de 2 au moins et ne dépasse pas le nombre de titulaires.")
    for user in (*members, *deputies):
        if not user.has_role("member", buyer):
            raise AccountError(f"{user} n'est pas membre de la commission de {buyer}.")
    if president is not None and president not in (*members, *deputies):
        raise AccountError("La présidente ou le président est l'un des titulaires ou des suppléants.")
    made = commission or Commission(buyer=buyer)
    made.president = president
    made.name, made.threshold = clean_text(name), threshold
    made.changed_by, made.changed_at = by, now
    try:
        with transaction.atomic():
            made.save()
    except IntegrityError as taken:
        raise AccountError("Cet acheteur a déjà une commission de ce nom.") from taken
    made.seats.all().delete()
    Seat.objects.bulk_create(
        Seat(commission=made, user=user, deputy=deputy)
        for deputy, people in ((False, members), (True, deputies))
        for user in people
    )
    return made
