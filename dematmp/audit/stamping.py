"""Tokens from the timestamp authorities of the settings, in order."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings

from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import timestamp_anchors, timestamp_authority
from signing.authority import Authority
from signing.errors import ClockDisagrees, TimestampRefused
from signing.timestamps import Stamp, first_response, request_token, verify_token

EMBEDDED = "autorité intégrée à la plateforme (non qualifiée)"


def obtain_token(data: bytes, *, now: datetime) -> tuple[Stamp, str] | None:
    """A verified token over SHA-256 of `data` and the name of who gave it, or None when nobody gave one."""
    try:
        return ask_token(data, now=now)
    except TimestampRefused:
        return None


def check_token(response: bytes, data: bytes, *, at: datetime | None, of: str) -> None:
    """Refuse a kept token that does not prove that `data` existed at that hour. Raises JournalBroken."""
    digest = hashlib.sha256(data).digest()
    try:
        token = verify_token(response, digest=digest, ca_pem=timestamp_anchors())
    except TimestampRefused as refused:
        raise JournalBroken(f"Le jeton {of} ne se vérifie pas. {refused}") from refused
    if token.gen_time != at:
        raise JournalBroken(f"Le jeton {of} dit une autre heure que celle qui est gardée.")


def answer(request: bytes, *, now: datetime) -> bytes:
    """The DER response of the first authority whose token is good. Raises TimestampRefused."""
    return first_response(
        request, _authorities(), ca_pem=timestamp_anchors(), now=now, policies=settings.TSA_POLICIES
    )


def _authorities() -> list[Authority | str]:
    return [timestamp_authority() if url == "embedded" else url for url in settings.TSA_URLS]


def ask_token(data: bytes, *, now: datetime) -> tuple[Stamp, str]:
    """The same. Raises TimestampRefused, ClockDisagrees when an authority gives another time than ours."""
    return _asked(data, _authorities(), now=now)


def ask_others(data: bytes, *, now: datetime) -> tuple[Stamp, str]:
    """The same, of outside authorities alone where the settings name one: our clock proves nothing of itself.

    All are asked, and heard for some seconds. Raises ClockDisagrees where one of them gave another time, even
    where another one, before it or after, gives ours.
    """
    every = _authorities()
    others = [each for each in every if isinstance(each, str)] or every
    stamped, who = _asked(data, others, now=now, everyone=True)
    if stamped.disagreed:
        raise ClockDisagrees(
            "Une autorité d'horodatage donne une autre heure : " + ", ".join(stamped.disagreed)
        )
    return stamped, who


def _asked(
    data: bytes, authorities: Sequence[Authority | str], *, now: datetime, everyone: bool = False
) -> tuple[Stamp, str]:
    stamped = request_token(
        hashlib.sha256(data).digest(),
        authorities,
        ca_pem=timestamp_anchors(),
        now=now,
        policies=settings.TSA_POLICIES,
        everyone=everyone,
    )
    return stamped, EMBEDDED if stamped.authority == "embedded" else stamped.authority
