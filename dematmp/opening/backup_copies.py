"""What becomes of a backup copy on paper or on a medium, once the bids are opened: annexe 6, article 2.

A copy is opened for what the opening found of its company's own bid, and destroyed once nothing may call for
it any more: when the minutes are closed.
"""

from datetime import datetime

from django.db.models import F

from dematmp.accounts.models import User
from dematmp.bids import copies
from dematmp.bids.errors import CopyRefused
from dematmp.bids.models import Attempt, BackupCopy
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession

_NOT_FOUND = {
    "malware": "L'antivirus n'a rien trouvé dans les fichiers ouverts de cette entreprise.",
    "late": "Aucun dépôt de cette entreprise, commencé avant la date limite, n'est hors délai ou inachevé.",
    "unreadable": "Les enveloppes de cette entreprise se sont ouvertes.",
}


def open_copy(copy: BackupCopy, *, reason: str, words: str, by: User, now: datetime) -> None:
    """Write that a copy is opened, for what was found of its company's bid. Raises CopyRefused."""
    if copy.opened_at is None:
        session = OpeningSession.objects.filter(consultation=copy.consultation).first()
        if session is None or (session.phase_opened_at is None and session.finished_at is None):
            raise CopyRefused(
                "Les plis ne sont pas encore ouverts : rien ne dit que la copie est nécessaire.",
                "Revenez une fois l'ouverture des plis achevée.",
            )
        if reason in _NOT_FOUND and not _is_found(copy, reason):
            raise CopyRefused(
                f"{_NOT_FOUND[reason]} La copie ne s'ouvre pas (annexe 6, article 2).",
                "Choisissez le motif que l'ouverture a montré, ou laissez la copie fermée.",
            )
    copies.open_copy(copy, reason=reason, words=words, by=by, now=now)


def may_be_destroyed(consultation: Consultation) -> bool:
    """Whether nothing may call for its closed copies any more: the minutes of the opening are closed."""
    return OpeningSession.objects.filter(consultation=consultation, closed_at__isnull=False).exists()


def destroy_copy(copy: BackupCopy, *, by: User, now: datetime) -> None:
    """Write that a copy is destroyed, once the minutes are closed. Raises CopyRefused."""
    kept = copy.destroyed_at is None and copy.opened_at is None
    if kept and not may_be_destroyed(copy.consultation):
        raise CopyRefused(
            "Une copie se garde jusqu'à la clôture du procès-verbal d'ouverture : elle peut encore servir.",
            "Clôturez d'abord le procès-verbal.",
        )
    copies.destroy_copy(copy, by=by, now=now)


def _is_found(copy: BackupCopy, reason: str) -> bool:
    """Whether that reason holds for the copy's company; for anybody, when nobody deposited under its name."""
    consultation = copy.consultation
    attempts = Attempt.objects.filter(consultation=consultation)
    mine = attempts.filter(
        **({"bidder__siret": copy.siret} if copy.siret else {"bidder__name": copy.company})
    )
    if copy.siret or mine.exists():
        attempts = mine
    if reason == "malware":
        found = OpenedFile.objects.filter(opened__envelope__attempt__in=attempts, verdict="infected")
        return found.exists()
    if reason == "unreadable":
        shut = OpenedEnvelope.objects.filter(
            envelope__attempt__in=attempts, state__in=("refused", "incident")
        )
        return shut.exists()
    begun = attempts.filter(started_at__lte=consultation.deadline)
    late = begun.filter(bid__late=True, started_at__lte=F("bid__deadline"))
    return late.exists() or begun.filter(bid=None).exists()
