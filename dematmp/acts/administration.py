"""Accounts and authorities are made and changed, each change in the journal."""

from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter

from cryptography import x509
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from dematmp.accounts.models import Organisation
from dematmp.acts import identity
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.rules import check_identity
from dematmp.acts.subscribers import (
    ADMIN,
    GROUP,
    MODULES,
    PERMISSIONS,
    ROLES,
    SUPER,
    Agent,
    AgentQuerySet,
    Authority,
    AuthorityGroup,
)
from dematmp.audit.services import append

_ADMINISTERS = (SUPER, GROUP, ADMIN)


def authorities_of(agent: Agent) -> "list[int]":
    """The authorities that an administrator may see."""
    if agent.role == SUPER:
        rows = Authority.objects.all()
    elif agent.role == GROUP and agent.authority.group_id is not None:
        rows = Authority.objects.filter(group_id=agent.authority.group_id)
    else:
        rows = Authority.objects.filter(pk=agent.authority_id)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def agents_of(agent: Agent) -> AgentQuerySet:
    """The accounts that an administrator may see. Raises AccessRefused for who is none."""
    if agent.role not in _ADMINISTERS:
        raise AccessRefused("Accès refusé.")
    return Agent.objects.filter(authority__in=authorities_of(agent)).select_related("authority")


def authority_for(buyer: Organisation, *, now: datetime) -> Authority:
    """The authority of a buyer of this platform, made the first time. Raises ActRefused."""
    check_identity(
        siren=buyer.siren, department=buyer.department, district=buyer.district, nature=buyer.authority_nature
    )
    known = Authority.objects.filter(siren=buyer.siren)
    if (found := known.first()) is not None:
        return found
    made = Authority(
        organisation=buyer,
        name=buyer.name,
        siren=buyer.siren,
        department=buyer.department,
        district=buyer.district,
        nature=buyer.authority_nature,
    )
    try:
        return save_authority(made, by="", now=now)
    except ActRefused:
        if (found := known.first()) is None:  # else another worker made it meanwhile
            raise
        return found


def save_authority(made: Authority, *, by: str, now: datetime) -> Authority:
    """Raises ActRefused: incomplete identity, or a SIREN already there."""
    check_identity(siren=made.siren, department=made.department, district=made.district, nature=made.nature)
    _clean(made)
    try:
        with transaction.atomic():
            made.save()
            record = {"authority": made.siren, "name": made.name, "active": made.active, "by": by}
            append("act-authority", record, now=now)
    except IntegrityError as twice:
        raise ActRefused("Une collectivité de ce SIREN existe déjà.") from twice
    return made


def save_agent(
    made: Agent,
    *,
    password: str = "",
    certificate: x509.Certificate | None = None,
    by: str,
    now: datetime,
) -> Agent:
    """Raises ActRefused: no certificate, a login already taken or without password."""
    if made.role not in ROLES or made.permission not in PERMISSIONS:
        raise ActRefused("Le rôle ou le droit demandé n'existe pas.")
    try:
        validate_email(made.email)
    except ValidationError as wrong:
        raise ActRefused("L'adresse électronique n'est pas valable.") from wrong
    if not made.name:
        raise ActRefused("Le nom doit être présent.")
    if certificate is not None:
        identity.give_certificate(made, certificate)
    if not made.fingerprint:
        raise ActRefused("Le certificat est obligatoire.")
    if password:
        identity.give_password(made, password)
    if made.login and not made.password:
        raise ActRefused("Un identifiant demande un mot de passe.")
    if made._state.adding:
        made.created_at = now
    _clean(made)
    try:
        with transaction.atomic():
            made.save()
            record = {
                "account": made.pk,
                "authority": made.authority.siren,
                "active": made.active,
                "by": by,
                "certificate": made.fingerprint,
                "login": made.login,
                "permission": made.permission,
                "role": made.role,
            }
            append("act-account", record, now=now)
    except IntegrityError as twice:
        raise ActRefused("Cet identifiant est déjà pris.") from twice
    return made


def _clean(row: Agent | Authority) -> None:
    """Raises ActRefused for what a column does not bear."""
    try:
        row.clean_fields()
    except ValidationError as wrong:
        raise ActRefused(" ".join(wrong.messages)) from wrong


def may_give(by: Agent, role: str, authority: Authority) -> None:
    """Raises AccessRefused: an authority's administrator makes none of the two higher ones."""
    higher = role in (SUPER, GROUP) and by.role != SUPER
    if by.role not in _ADMINISTERS or higher or authority.pk not in authorities_of(by):
        raise AccessRefused("Accès refusé.")


def may_identify(by: Agent, before: Authority, after: Authority) -> None:
    """Raises AccessRefused: a town's administrator does not say under which identity its acts leave."""
    identity_of = attrgetter("siren", "department", "district", "nature")
    if by.role not in (SUPER, GROUP) and identity_of(before) != identity_of(after):
        raise AccessRefused(
            "Le SIREN, le département, l'arrondissement et la nature d'une collectivité se changent par un "
            "administrateur de groupe ou un super administrateur."
        )


def may_hold(by: Agent, made: Agent, certificate: x509.Certificate | None) -> None:
    """Whether an account may be on its certificate, which anybody can copy: it must lock nobody else out.

    Raises AccessRefused for that of another authority, ActRefused for a shared one without login.
    """
    held = identity.fingerprint(certificate) if certificate is not None else made.fingerprint
    known = Agent.objects.filter(pk=made.pk).first()
    if known is not None and (known.fingerprint, known.authority_id) == (held, made.authority_id):
        return
    others = Agent.objects.holding(held).exclude(pk=made.pk)
    if by.role != SUPER and others.exclude(authority=made.authority).exists():
        raise AccessRefused(
            "Ce certificat est celui d'un compte d'une autre collectivité : seul un super administrateur le "
            "partage."
        )
    if not made.login and others.exists():
        raise ActRefused("Un certificat partagé demande un identifiant et un mot de passe.")


def give_permissions(made: Agent, given: Mapping[str, str]) -> None:
    """`{module: permission}`, not saved. Raises ActRefused."""
    for module, permission in given.items():
        if module not in MODULES or permission not in PERMISSIONS:
            raise ActRefused("Le module ou le droit demandé n'existe pas.")
        if module == "1":
            made.permission = permission
        else:
            made.other_permissions = {**made.other_permissions, module: permission}


def group_named(name: str) -> AuthorityGroup:
    return AuthorityGroup.objects.get_or_create(name=name)[0]
