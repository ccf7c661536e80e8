"""Which classification an authority holds: the last one received, else the one shipped."""

import hashlib
from datetime import date, datetime

from dematmp.acts.classification import Codes, parsed, shipped
from dematmp.acts.subscribers import Authority
from dematmp.acts.transactions import ClassificationVersion


def held(authority: Authority) -> bytes:
    """Its bytes: the same at each call until one of a later date arrives."""
    last = ClassificationVersion.objects.filter(authority=authority).order_by("-on", "-pk").first()
    return bytes(last.bytes) if last else shipped()


def codes_of(authority: Authority) -> Codes:
    return Codes(parsed(held(authority)))


def held_date(authority: Authority) -> date:
    return codes_of(authority).version.on


def keep(authority: Authority, data: bytes, *, now: datetime) -> None:
    """A version received; the same bytes as the last one are not kept twice. Raises MessageRefused."""
    version = parsed(data)
    if held(authority) == data:
        return
    ClassificationVersion.objects.create(
        authority=authority,
        on=version.on,
        bytes=data,
        sha256=hashlib.sha256(data).hexdigest(),
        received_at=now,
    )
