"""Tokens from the timestamp authorities of the settings, in order."""

import hashlib
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

    Raises ClockDisagrees as soon as one of them gave another time, even where the next one gives ours.
    """
    every = _authorities()
    stamped, who = _asked(data, [each for each in every if isinstance(each, str)] or every, now=now)
    if stamped.disagreed:
        raise ClockDisagrees(
            "Une autorité d'horodatage donne une autre heure : " + ", ".join(stamped.disagreed)
        )
    return stamped, who


def _asked(data: bytes, authorities: list[Authority | str], *, now: datetime) -> tuple[Stamp, str]:
    digest = hashlib.sha256(data).digest()
    stamped = request_token(
        digest, authorities, ca_pem=timestamp_anchors(), now=now, policies=settings.TSA_POLICIES
    )
    return stamped, EMBEDDED if stamped.authority == "embedded" else stamped.authority
