"""Whether the backup channel told all that it received for a consultation, or who answers for its loss."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.services import append
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable, WaiverRefused
from dematmp.bids.importing import pull
from dematmp.bids.models import ChannelVisit
from dematmp.consultations.models import Consultation

SETTLING = timedelta(seconds=30)
SILENT = timedelta(minutes=5)  # it is visited each minute


@dataclass(frozen=True)
class Health:
    """When the channel last answered, by its clock (None: never), and whether that is lately enough."""

    answered_at: datetime | None
    is_well: bool


def health(consultation: Consultation, *, now: datetime) -> Health | None:
    """How the channel is, for an open consultation; None where there is none to look at."""
    if not settings.BACKUP_CHANNEL["url"] or consultation.twin_of_id or consultation.trial:
        return None
    if consultation.published_at is None or not consultation.is_open(now=now):
        return None
    at = ChannelVisit.objects.filter(consultation=consultation).values_list("at", flat=True).first()
    return Health(at, (at or consultation.published_at) > now - SILENT)


def is_reconciled(consultation: Consultation) -> bool:
    """Whether the channel told, some time after the deadline by its clock, all that it received.

    True too where there is no channel. A request that came at the very deadline is written a little later.
    """
    if not settings.BACKUP_CHANNEL["url"] or consultation.twin_of_id or consultation.trial:
        return True
    visit, deadline = ChannelVisit.objects.filter(consultation=consultation).first(), consultation.deadline
    if visit is None or deadline is None:
        return False
    waived = visit.waived_by_id is not None and visit.waived_for == deadline
    return waived or visit.at > deadline + SETTLING


def reconcile_channel(consultation: Consultation, *, now: datetime) -> None:
    """Before an opening: what the channel received is among the others.

    What is wrong with the deposits of another consultation, or does not come, holds back the opening of that
    one alone. Raises ChannelUnreachable, ChannelRefused.
    """
    if is_reconciled(consultation):
        return
    try:
        pull(now=now, evidence=False)
    except (ChannelRefused, ChannelUnreachable):
        if not is_reconciled(consultation):
            raise
    if not is_reconciled(consultation):
        raise ChannelUnreachable(
            "Le canal de secours peut encore enregistrer un dépôt arrivé à la dernière seconde."
        )


@transaction.atomic
def waive(consultation: Consultation, *, why: str, by: User, now: datetime) -> None:
    """Open without the channel's word, when it is lost: who decided it, and why, is in the journal.

    It is for the deadline that has just passed, until the channel answers. Raises WaiverRefused before it.
    """
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.deadline is None or now <= locked.deadline:
        raise WaiverRefused("Le canal de secours peut recevoir des dépôts jusqu'à la date limite.")
    said = {"waived_by": by, "waived_why": why[:300], "waived_for": locked.deadline}
    ChannelVisit.objects.update_or_create(
        consultation=consultation, defaults=said, create_defaults=said | {"at": now}
    )
    append(
        "channel-waived",
        {"by": str(by.uuid), "why": why[:300]},
        consultation=consultation.uuid,
        now=now,
    )
