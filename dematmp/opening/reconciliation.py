"""The database and the object store compared both ways: what is missing, what differs, what nobody knows.

Nothing is repaired: whoever operates the platform decides, with the journal in hand.
"""

import contextlib
import hashlib
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.apps import apps
from django.db.models import Q
from django.utils import timezone
from django.utils.module_loading import import_string

from dematmp.bids import presence
from dematmp.bids.models import Envelope, SealedObject
from dematmp.consultations.models import DocumentVersion
from dematmp.opening.attested import own_version
from dematmp.opening.models import OpenedFile
from signing.digests import CompositeDigest
from storage import buckets
from storage.errors import ObjectMissing
from storage.s3 import LOCKED, S3Store
from storage.stores import object_store

# Known by other means: the journal's copy by `journal verify`, what `storage check` tried by nobody.
_ELSEWHERE = ("journal/", "sealed/probe/")
IDLE = timedelta(hours=1)


@dataclass(frozen=True)
class Difference:
    """`missing`: a row without its object; `different`: not its bytes; `orphan`: an object without a row, or
    an upload that nobody will finish; `unlocked`: a sealed object that could be deleted."""

    kind: str
    key: str
    detail: str = ""


@dataclass(frozen=True)
class Holding:
    """An object that a row names; `size` in bytes and `sha256` where they are known.

    A key that ends with a slash is a folder, all of whose objects are explained.
    """

    key: str
    size: int | None = None
    sha256: str = ""


def reconcile(*, digests: bool = False, idle: timedelta = IDLE) -> Iterator[Difference]:
    """Compare sizes; with `digests`, every byte that a row has a digest of. Raises StoreUnavailable.

    A room above this one says what it holds by its AppConfig: `holdings`, a dotted name. The whole store is
    listed: an object under a prefix that nobody knows is named too.

    An upload that no row knows is being written, unless it was begun `idle` ago.
    """
    known = {presence.KEY}
    there = set(object_store().every())  # before the rows are read: what comes meanwhile is no orphan
    if presence.is_lost():
        yield Difference("missing", presence.KEY, "la marque : ce n'est pas le stockage des dépôts")
    yield from _sealed(known, digests=digests)
    yield from _parts()
    yield from _documents(known, digests=digests)
    for file in OpenedFile.objects.order_by("pk").iterator():
        known.add(file.key)
        if file.done_at is not None:
            yield from _size(file.key, file.size)
    for holdings in _holdings():
        yield from _held(holdings, known, digests=digests)
    yield from _orphans(known, there)
    yield from _uploads(before=timezone.now() - idle)


def _holdings() -> Iterator[Iterator[Holding]]:
    """What each room above this one says that it holds."""
    for config in apps.get_app_configs():
        if named := getattr(config, "holdings", ""):
            yield import_string(named)()


def _size(key: str, expected: int) -> Iterator[Difference]:
    try:
        size = object_store().size(key)
    except ObjectMissing:
        yield Difference("missing", key, f"{expected} octets attendus")
        return
    if size != expected:
        yield Difference("different", key, f"{size} octets au lieu de {expected}")


def _lock(key: str) -> Iterator[Difference]:
    """Where bids have a locked bucket, the lock is read on the object itself.

    One that was deleted is read all the same, in the version that its lock keeps: it is named here.
    """
    store = object_store()
    if isinstance(store, S3Store) and store.deposits != store.bucket and key.startswith(LOCKED):
        try:
            until = buckets.locked_until(store, key)
        except ObjectMissing:
            yield Difference("missing", key, "une marque de suppression la recouvre ; elle se lit encore")
            return
        if until is None or until < timezone.now():
            yield Difference("unlocked", key, "aucun verrou ne le protège")


def _recoverable(found: Difference, *, size: int, part_bytes: int, sha256: str) -> Difference:
    """The same, with the version that its lock keeps under what was written or deleted over it."""
    if found.kind == "unlocked":
        return found
    kept = own_version(found.key, size=size, part_bytes=part_bytes, sha256=sha256)
    if kept is None:
        return found
    return replace(found, detail=f"{found.detail} ; la version verrouillée {kept} est dessous")


def _sealed(known: set[str], *, digests: bool) -> Iterator[Difference]:
    rows = SealedObject.objects.filter(completed_at__isnull=False, envelope__attempt__destroyed_at=None)
    for each in rows.select_related("envelope__attempt__consultation").order_by("pk").iterator():
        known.add(each.key)
        found = list(_size(each.key, each.size)) or list(_lock(each.key))
        if digests and not found:
            digest = CompositeDigest(each.part_bytes)
            for block in object_store().open(each.key):
                digest.update(block)
            if digest.hexdigest() != each.sha256:
                found = [Difference("different", each.key, "l'empreinte n'est pas celle de l'accusé")]
        for one in found:
            yield _recoverable(one, size=each.size, part_bytes=each.part_bytes, sha256=each.sha256)
    made = Envelope.objects.filter(attempt__bid__isnull=False, attempt__destroyed_at=None)
    for envelope in made.select_related("attempt__consultation").order_by("pk").iterator():
        for name, data in (("header.json", bytes(envelope.header)), ("keys.bin", bytes(envelope.keys))):
            key = f"{envelope.prefix}/{name}"
            known.add(key)
            found = list(_size(key, len(data))) or list(_lock(key))
            if not found and object_store().read(key) != data:
                found = [Difference("different", key, "ce n'est pas l'en-tête reçu")]
            for one in found:
                whole = CompositeDigest(len(data))
                whole.update(data)
                yield _recoverable(one, size=len(data), part_bytes=len(data), sha256=whole.hexdigest())


def _parts() -> Iterator[Difference]:
    """What was said to be received of deposits that are not made yet, in their unfinished uploads."""
    begun = SealedObject.objects.filter(completed_at=None, envelope__attempt__destroyed_at=None)
    store = object_store()
    for each in begun.exclude(upload_id="").select_related("envelope__attempt__consultation").order_by("pk"):
        for part in each.parts.received().order_by("number"):
            try:
                held = store.held(each.key, each.upload_id, part.number)
            except ObjectMissing:
                yield Difference("missing", each.key, "envoi commencé, dont le stockage n'a plus rien")
                break
            expected = each.part_size(part.number)
            if held != expected:
                yield Difference(
                    "missing", each.key, f"partie {part.number} reçue, {held or 0} octets sur {expected}"
                )


def _documents(known: set[str], *, digests: bool) -> Iterator[Difference]:
    for version in DocumentVersion.objects.order_by("pk").iterator():
        known.add(version.key)
        found = list(_size(version.key, version.size))
        if digests and not found:
            found = list(_digest(version.key, version.sha256))
        yield from found


def _digest(key: str, expected: str) -> Iterator[Difference]:
    sha256 = hashlib.sha256()
    for block in object_store().open(key):
        sha256.update(block)
    if sha256.hexdigest() != expected:
        yield Difference("different", key, "l'empreinte n'est pas celle de la pièce")


def _held(holdings: Iterator[Holding], known: set[str], *, digests: bool) -> Iterator[Difference]:
    """What the rooms above hold."""
    for each in holdings:
        if each.key in known:
            continue
        known.add(each.key)
        if each.key.endswith("/"):
            continue
        found = [] if each.size is None else list(_size(each.key, each.size))
        if each.size is None and not object_store().exists(each.key):
            found = [Difference("missing", each.key)]
        if digests and each.sha256 and not found:
            found = list(_digest(each.key, each.sha256))
        yield from found


def _orphans(known: set[str], there: Collection[str]) -> Iterator[Difference]:
    """Objects of no row; those of a deposit being recorded are not known yet, and are not orphans.

    Nor are those whose row came since it was looked for: each is looked for again before it is named.
    """
    recording = Envelope.objects.filter(
        Q(attempt__finalised_at__isnull=False, attempt__bid=None) | Q(attempt__destroyed_at__isnull=False)
    )
    being = {envelope.prefix for envelope in recording.select_related("attempt__consultation").order_by("pk")}
    candidates = []
    for key in sorted(there):
        folder = key.rpartition("/")[0]
        explained = key in known or f"{folder}/" in known or folder in being
        if not explained and not key.startswith(_ELSEWHERE):
            candidates.append(key)
    held = {each.key for holdings in _holdings() for each in holdings} if candidates else set()
    for key in candidates:
        if key not in held and f"{key.rpartition('/')[0]}/" not in held and not _has_a_row_now(key):
            yield Difference("orphan", key)


def _has_a_row_now(key: str) -> bool:
    """Whether a row that came during the run explains it."""
    *_, folder, name = f"/{key}".split("/")
    with contextlib.suppress(ValueError):
        deposits = Envelope.objects.filter(uuid=uuid.UUID(folder)).exclude(attempt__finalised_at=None)
        for envelope in deposits.select_related("attempt__consultation").order_by("pk"):
            mine = name in ("header.json", "keys.bin") or envelope.objects_sealed.filter(name=name).exists()
            if mine and key.startswith(f"{envelope.prefix}/"):
                return True
    return DocumentVersion.objects.filter(key=key).exists() or OpenedFile.objects.filter(key=key).exists()


def _uploads(*, before: datetime) -> Iterator[Difference]:
    """Uploads of no row: a process was killed after it began one, and before it wrote so.

    Those of attempts stay as long as their company may finish them, and are not orphans.
    """
    begun = SealedObject.objects.filter(completed_at=None, envelope__attempt__destroyed_at=None)
    waited = set(begun.exclude(upload_id="").order_by("pk").values_list("upload_id", flat=True))
    for upload in object_store().uploads():
        if upload.upload_id not in waited and upload.begun <= before:
            since = timezone.localtime(upload.begun)
            yield Difference(
                "orphan", upload.key, f"envoi commencé le {since:%d/%m/%Y à %H:%M}, jamais achevé"
            )
