"""The register of backup copies: paper or a medium, in an envelope marked « copie de sauvegarde ».

R2132-11 and annexe 6 of the code, article 2: when it arrived, whether and why it was opened, its destruction.
"""

from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.accounts.rules import clean_text
from dematmp.audit.services import append, utc_text
from dematmp.bids.errors import CopyRefused
from dematmp.bids.models import COPY_REASONS, BackupCopy
from dematmp.consultations.models import Consultation


@transaction.atomic
def record_copy(
    consultation: Consultation,
    *,
    company: str,
    siret: str,
    medium: str,
    lots: str,
    received_at: datetime,
    by: User,
    now: datetime,
) -> BackupCopy:
    """A copy arrived at that instant. Raises CopyRefused when it could not have, or has not yet."""
    if consultation.published_at is None or received_at < consultation.published_at or received_at > now:
        raise CopyRefused("L'heure d'arrivée va de la publication de la consultation à maintenant.")
    made = BackupCopy.objects.create(
        consultation=consultation,
        company=clean_text(company)[:200],
        siret=siret,
        medium=medium,
        lots=clean_text(lots)[:200],
        received_at=received_at,
        recorded_by=by,
        recorded_at=now,
    )
    _write(made, "received", {"at": utc_text(received_at), "medium": medium}, by=by, now=now)
    return made


@transaction.atomic
def open_copy(copy: BackupCopy, *, reason: str, words: str, by: User, now: datetime) -> None:
    """Write that a copy is opened, and why. Raises CopyRefused before the deadline, or if it came after."""
    locked = BackupCopy.objects.select_for_update(no_key=True).get(pk=copy.pk)
    deadline = locked.consultation.deadline
    if deadline is None or now <= deadline:
        raise CopyRefused("Rien ne s'ouvre avant la date limite.", "Revenez après la date limite.")
    if locked.received_at > deadline:
        raise CopyRefused(
            "Cette copie est arrivée après la date limite : elle ne s'ouvre pas (annexe 6, article 2).",
            "Elle est conservée fermée, puis détruite à la fin de la procédure.",
        )
    if locked.destroyed_at is not None or reason not in COPY_REASONS:
        raise CopyRefused("Cette copie ne peut plus être ouverte.")
    if locked.opened_at is None:
        locked.opened_at, locked.opened_by = now, by
        locked.open_reason, locked.open_words = reason, clean_text(words, lines=True)[:500]
        locked.save()
        _write(locked, "opened", {"reason": reason, "words": locked.open_words}, by=by, now=now)


@transaction.atomic
def destroy_copy(copy: BackupCopy, *, by: User, now: datetime) -> None:
    """Write that a copy is destroyed, after the deadline. Raises CopyRefused, for one that was opened too:
    annexe 6, article 2 has those destroyed that were not.
    """
    locked = BackupCopy.objects.select_for_update(no_key=True).get(pk=copy.pk)
    if locked.consultation.is_open(now=now):
        raise CopyRefused("Une copie se garde au moins jusqu'à la date limite.")
    if locked.opened_at is not None:
        raise CopyRefused(
            "Cette copie a été ouverte : elle ne se détruit pas (annexe 6, article 2).",
            "Elle se conserve avec les pièces de la procédure.",
        )
    if locked.destroyed_at is None:
        locked.destroyed_at, locked.destroyed_by = now, by
        locked.save(update_fields=["destroyed_at", "destroyed_by"])
        _write(locked, "destroyed", {}, by=by, now=now)


def _write(copy: BackupCopy, act: str, said: dict[str, object], *, by: User, now: datetime) -> None:
    append(
        "backup-copy",
        {"copy": str(copy.uuid), "act": act, **said, "by": str(by.uuid)},
        consultation=copy.consultation.uuid,
        subject=copy.uuid,
        now=now,
    )
