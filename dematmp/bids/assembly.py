"""The objects of a deposit put together in the store, from parts that it holds already."""

import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime

from dematmp.bids.models import Attempt, Envelope, Part, SealedObject
from signing.digests import composite_of_parts
from storage import errors as storage_errors
from storage.objects import Part as StoredPart
from storage.stores import object_store

_AT_ONCE = 8  # objects that the store completes together


class ObjectsLost(Exception):
    """The store no longer has what it acknowledged of these objects."""

    def __init__(self, sealed: list[SealedObject]) -> None:
        super().__init__(len(sealed))
        self.sealed = sealed


class Unfinished(Exception):
    """Time is up, and that many objects are still to be put together."""

    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


def sealed_objects(attempt: Attempt) -> list[SealedObject]:
    return list(
        SealedObject.objects.filter(envelope__attempt=attempt)
        .select_related("envelope__attempt__consultation")
        .prefetch_related("parts")
        .order_by("pk")
    )


def parts_of(sealed: SealedObject) -> tuple[list[Part], str]:
    """The parts in order, and the composite digest of the whole."""
    parts = sorted(sealed.parts.all(), key=lambda part: part.number)
    return parts, composite_of_parts([bytes.fromhex(part.sha256) for part in parts])


def complete_objects(sealed: list[SealedObject], *, now: datetime, within: float | None) -> None:
    """Some at a time. What is complete is written at once: a later call does not ask for it again."""
    store = object_store()
    until = time.monotonic() + within if within is not None else float("inf")
    taken = 0
    waiting = [each for each in sealed if each.completed_at is None]
    lost: list[SealedObject] = []
    going: dict[Future[None], tuple[SealedObject, str]] = {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="objet") as pool:
        while waiting or going:
            # Whatever the time left, a first handful is done: each call goes on.
            while waiting and len(going) < _AT_ONCE and (taken < _AT_ONCE or time.monotonic() < until):
                each, taken = waiting.pop(0), taken + 1
                parts, digest = parts_of(each)
                stored = [StoredPart(part.number, each.part_size(part.number), part.sha256) for part in parts]
                going[pool.submit(store.complete, each.key, each.upload_id, stored)] = (each, digest)
            if not going:
                break
            _write_completed(going, wait(going, return_when=FIRST_COMPLETED).done, lost, now=now)
    if lost:
        raise ObjectsLost(lost)
    if waiting:
        raise Unfinished(len(waiting))
    put_headers({each.envelope.pk: each.envelope for each in sealed}.values())


def put_headers(envelopes: Iterable[Envelope]) -> None:
    """Beside its objects, what opens an envelope: the store alone is then enough to a quorum."""
    store = object_store()
    for envelope in envelopes:
        store.put(f"{envelope.prefix}/header.json", bytes(envelope.header))
        store.put(f"{envelope.prefix}/keys.bin", bytes(envelope.keys))


def _write_completed(
    going: dict[Future[None], tuple[SealedObject, str]],
    done: Iterable[Future[None]],
    lost: list[SealedObject],
    *,
    now: datetime,
) -> None:
    for future in done:
        each, digest = going.pop(future)
        try:
            future.result()
        except (storage_errors.PartTruncated, storage_errors.ObjectMissing):
            lost.append(each)
            continue
        each.sha256, each.completed_at = digest, now
        each.save(update_fields=["sha256", "completed_at"])
