"""People and companies as the backup channel knows them: by a pass that the platform signed beforehand."""

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction

from dematmp.accounts.models import Membership, Organisation, User
from dematmp.audit.keys import channel_signer
from signing.errors import PassRefused
from signing.passes import issue, read

BIDDER = "bidder"
LASTS = timedelta(days=45)
_ROLES = ("administrator", "bidder")


def issue_pass(user: User, organisation: Organisation, *, now: datetime) -> str:
    """What lets this person deposit for this company on the backup channel, for some weeks."""
    facts = {
        "user": str(user.uuid),
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "organisation": str(organisation.uuid),
        "name": organisation.name,
        "siret": organisation.siret,
        "country": organisation.country,
        "foreign_number": organisation.foreign_number,
    }
    return issue(channel_signer(), BIDDER, facts, now=now, lasts=LASTS)


def accept_pass(text: str, *, now: datetime) -> tuple[User, Organisation]:
    """The person and the company of a pass, made here if they are new. Raises PassRefused."""
    said = read(text, settings.MAIN["key"], BIDDER, now=now)
    try:
        who, company = uuid.UUID(str(said["user"])), uuid.UUID(str(said["organisation"]))
        email, siret = str(said["email"]), said["siret"]
        with transaction.atomic():
            user, made = User.objects.get_or_create(
                uuid=who,
                defaults={
                    "email": email,
                    "first_name": str(said["first_name"])[:150],
                    "last_name": str(said["last_name"])[:150],
                },
            )
            if made:
                user.set_unusable_password()
                user.save(update_fields=["password"])
            organisation, _ = Organisation.objects.get_or_create(
                uuid=company,
                defaults={
                    "kind": "company",
                    "name": str(said["name"])[:200],
                    "siret": str(siret) if siret else None,
                    "country": str(said["country"])[:2],
                    "foreign_number": str(said["foreign_number"])[:60],
                },
            )
            for role in _ROLES:
                Membership.objects.get_or_create(user=user, organisation=organisation, role=role)
    except (KeyError, ValueError, IntegrityError) as bad:
        raise PassRefused("Ce laissez-passer ne se comprend pas ici.") from bad
    return user, organisation
