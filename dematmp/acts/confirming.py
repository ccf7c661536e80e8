"""Between the preparation of an act and its departure: what a person sees, then confirms or gives up."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.acts import pieces, rules, services, statuses
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.files import pieces_of
from dematmp.acts.models import Act, Transmission, TransmissionStep
from dematmp.acts.operators import Operator
from dematmp.audit.services import append

GIVEN_UP = "Abandonné avant l'envoi."


@dataclass(frozen=True)
class Review:
    """What leaves: bytes in all, the most allowed, and the pieces of R2131-5 that no file seems to be."""

    size: int
    most: int
    missing: list[str]


def review(act: Act) -> Review:
    """Of an act that awaits its confirmation."""
    files = pieces_of(act)
    typologies = [each.typology for each in files]
    missing = sorted(pieces.missing(typologies).values()) if act.nature == rules.CONTRACT else []
    return Review(sum(each.size for each in files), rules.ARCHIVE_BYTES, missing)


def is_unconfirmed(act: Act) -> bool:
    """Whether it awaits a confirmation: it was neither sent nor given up."""
    sent = act.transmission
    return sent.confirmed_at is None and sent.remote_id is None and not sent.is_over


def _locked(act: Act, by: User) -> Transmission:
    if act.buyer is None or not by.has_role("validator", act.buyer):
        raise AccessRefused("Seul un valideur de l'acheteur confirme un acte.")
    return Transmission.objects.select_for_update(of=("self",), no_key=True).get(act=act)


@transaction.atomic
def confirm(act: Act, *, by: User, now: datetime) -> None:
    """It leaves. Twice is harmless. Raises AccessRefused, ActRefused when it was given up."""
    sent = _locked(act, by)
    if sent.confirmed_at is not None:
        return
    if sent.is_over:
        raise ActRefused("Cet acte a été abandonné : préparez-le de nouveau.")
    Transmission.objects.filter(pk=sent.pk).update(confirmed_at=now, confirmed_by=by)
    record: dict[str, object] = {"act": str(act.uuid), "by": str(by.uuid), "identifier": act.identifier}
    append("act-confirmed", record, consultation=act.consultation_uuid, now=now)
    from dematmp.acts.tasks import transmit_act

    transaction.on_commit(lambda: transmit_act.delay(act.pk), robust=True)


def waits_elsewhere(act: Act) -> bool:
    """Whether its operator keeps it until somebody confirms it there."""
    sent = act.transmission
    return sent.remote_id is not None and not sent.is_over and sent.problem == services.UNCONFIRMED


def give_up_elsewhere(act: Act, operator: Operator, *, by: User, now: datetime) -> None:
    """Close at its operator an act that awaits its confirmation there: it never leaves.

    Raises AccessRefused; ActRefused when it waits no more; GatewayRefused, GatewayUnavailable.
    """
    if not act.is_validated_by(by):
        raise AccessRefused("Seul un valideur de l'acheteur abandonne un acte.")
    number = act.transmission.remote_id or 0
    if operator.find(act.number) != number or operator.status(number).code != statuses.UNCONFIRMED:
        raise ActRefused("Cet acte n'attend plus d'être confirmé chez l'opérateur : relisez où il en est.")
    operator.give_up(number)
    with transaction.atomic():
        services.reach(act.transmission, rules.ERROR, detail=services.GIVEN_UP, now=now)
        record: dict[str, object] = {"act": str(act.uuid), "by": str(by.uuid), "identifier": act.identifier}
        append("act-given-up", record, consultation=act.consultation_uuid, now=now)


@transaction.atomic
def give_up(act: Act, *, by: User, now: datetime) -> None:
    """It never leaves, and may be prepared again under its number. Twice is harmless.

    Raises AccessRefused, ActRefused once it was confirmed.
    """
    sent = _locked(act, by)
    if sent.is_over and sent.confirmed_at is None:
        return
    if sent.confirmed_at is not None:
        raise ActRefused("Cet acte a été confirmé : il est parti, ou part.")
    TransmissionStep.objects.create(transmission=sent, status=rules.ERROR, at=now, detail=GIVEN_UP)
    Transmission.objects.filter(pk=sent.pk).update(problem=GIVEN_UP)
    record: dict[str, object] = {"act": str(act.uuid), "by": str(by.uuid), "identifier": act.identifier}
    append("act-given-up", record, consultation=act.consultation_uuid, now=now)
