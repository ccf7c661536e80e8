"""What may go wrong with the journal and the platform's own keys."""

from typing import ClassVar


class AuditError(Exception):
    """Root of this room's errors; `code` is stable, the message is for people."""

    code: ClassVar[str] = "audit.error"


class NotInTransaction(AuditError):
    """An entry was appended outside the transaction of the act that it proves."""

    code = "audit.not-in-transaction"


class KeysMissing(AuditError):
    """The platform's keys are not where DEMATMP_SECRETS_DIR says."""

    code = "audit.keys-missing"


class JournalBroken(AuditError):
    """The entries, the tiles and the checkpoint do not agree."""

    code = "audit.journal-broken"


class CopyUnreadable(JournalBroken):
    """The copy's checkpoint is not of our key, or not one: an alarm, which holds no deposit back."""

    code = "audit.copy-unreadable"
