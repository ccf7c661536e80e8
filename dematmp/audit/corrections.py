"""An embedded authority whose clock had run ahead never goes back by itself: an operator answers for it."""

from datetime import datetime, timedelta

from django.db import transaction

from dematmp.audit.errors import AuditError
from dematmp.audit.keys import timestamp_authority
from dematmp.audit.services import append, utc_text

TOLERATED = timedelta(seconds=60)  # the skew beyond which a token is refused


class NotAhead(AuditError):
    """The authority's last token is not in the future: nothing to correct."""

    code = "clock.not-ahead"


def ahead(*, now: datetime) -> timedelta | None:
    """By how much the authority's last token is in the future, when its next ones would be refused."""
    last = timestamp_authority().last_given()
    return last - now if last is not None and last - now >= TOLERATED else None


def correct(reason: str, *, now: datetime) -> datetime | None:
    """Let the authority begin again from the present; the false time, which is returned, enters the journal.

    None when it was unreadable. Raises NotAhead. Killed in between, the journal has the entry and the next
    run corrects.
    """
    authority = timestamp_authority()
    last = authority.last_given()
    if not authority.is_unreadable() and (last is None or ahead(now=now) is None):
        raise NotAhead("L'autorité intégrée n'est pas en avance : il n'y a rien à corriger.")
    with transaction.atomic():
        append("clock-corrected", {"last": utc_text(last) if last else None, "reason": reason}, now=now)
    authority.forget()
    return last
