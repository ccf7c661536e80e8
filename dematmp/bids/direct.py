"""Parts that clients send to the object store themselves: no byte of a bid crosses the platform.

The platform signs one address for the digest and the size announced, and for no other digest: what the store
then holds under that number is those bytes. It asks the store before it says that a part was received.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dematmp.bids.attempts import find_part, forget_upload, mark_received, open_upload, reserve_part
from dematmp.bids.errors import PartRefused, PartTruncated
from dematmp.bids.models import Attempt, Part
from storage.errors import ObjectMissing
from storage.objects import Target
from storage.stores import object_store


@dataclass(frozen=True)
class Wanted:
    """One part that a client has sealed: of which object, which number, its lower-hex SHA-256."""

    envelope: uuid.UUID
    name: str
    number: int
    sha256: str


def targets(attempt: Attempt, wanted: Sequence[Wanted]) -> list[Target | None]:
    """Where each is to be sent; None for one that was received already.

    Raises PartRefused, AlreadyDeposited, StoreUnavailable.
    """
    store = object_store()
    if not store.direct:
        raise PartRefused("Cette plateforme reçoit elle-même les parties.")
    found: list[Target | None] = []
    for each in wanted:
        sealed = find_part(attempt, each.envelope, each.name, each.number)
        part = reserve_part(attempt, sealed, each.number, each.sha256)
        if part.received_at:
            found.append(None)
            continue
        open_upload(sealed)
        size = sealed.part_size(each.number)
        found.append(store.target(sealed.key, sealed.upload_id, each.number, size=size, sha256=each.sha256))
    return found


def acknowledge(attempt: Attempt, sent: Sequence[Wanted], *, now: datetime) -> list[Part]:
    """What the client says that it sent, once the store says that it holds it.

    Raises PartRefused for a digest that was not announced, PartTruncated for what the store does not hold.
    """
    store, received = object_store(), []
    for each in sent:
        sealed = find_part(attempt, each.envelope, each.name, each.number)
        part = sealed.parts.filter(number=each.number, sha256=each.sha256).first()
        if part is None:
            raise PartRefused(f"La partie {each.number} n'a pas été annoncée ainsi.")
        if not part.received_at:
            try:
                held = store.held(sealed.key, sealed.upload_id, each.number)
            except ObjectMissing as gone:
                raise forget_upload(sealed, now=now) from gone
            if held != sealed.part_size(each.number):
                raise PartTruncated(f"Le stockage n'a pas reçu la partie {each.number}.")
            part = mark_received(part)
        received.append(part)
    return received
