"""A sealed bid that somebody deleted at the store: its lock keeps it, and it is opened all the same."""

import io
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from dematmp.bids.models import SealedObject
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedFile
from dematmp.opening.reconciliation import reconcile
from storage.errors import ObjectMissing
from storage.s3 import S3Store
from storage.stores import object_store
from storage.versions import locked_versions
from tests.bids.test_direct import store
from tests.opening.test_opening import opened
from tests.world import World

__all__ = ["store"]
FILES = {"offre.txt": b"mon offre" * 1000}


def test_a_deletion_over_a_locked_bid_is_named_and_stops_no_opening(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path, files=FILES)
    assert list(reconcile(digests=True)) == []
    sealed = list(SealedObject.objects.filter(envelope__attempt__consultation=made).order_by("pk"))
    header = f"{sealed[0].envelope.prefix}/header.json"
    for key in [header, *(each.key for each in sealed)]:
        store.call("delete_object", bucket=store.deposits, Key=key)
        with pytest.raises(ObjectMissing):
            store.call("head_object", bucket=store.deposits, Key=key)
        assert store.exists(key)
    assert b"".join(store.open(sealed[0].key, 3, 10)) == b"".join(store.open(sealed[0].key))[3:13]
    told = {each.key: each for each in reconcile(digests=True)}
    assert set(told) == {header, *(each.key for each in sealed)}
    assert {each.kind for each in told.values()} == {"missing"}
    assert all("marque de suppression" in each.detail for each in told.values())
    assert all("la version verrouillée" in each.detail for each in told.values())
    with pytest.raises(CommandError):
        call_command("storage", "fsck", stdout=io.StringIO())
    made.deadlines.update(at=timezone.now())  # a store refuses requests that are signed in the future
    opened(world, Consultation.objects.get(pk=made.pk))
    found = {row.name: b"".join(object_store().open(row.key)) for row in OpenedFile.objects.all()}
    assert found == FILES


def test_what_was_written_over_a_locked_bid_is_not_what_is_opened(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path, files=FILES)
    for each in SealedObject.objects.filter(
        envelope__attempt__consultation=made, name__in=("1.cob", "t.cob")
    ):
        store.put(each.key, bytes(each.size))
        store.put(each.key, b"and once more, shorter")
    made.deadlines.update(at=timezone.now())
    session = opened(world, Consultation.objects.get(pk=made.pk))
    assert {row.state for row in session.envelopes.all()} == {"opened"}
    found = {row.name: b"".join(object_store().open(row.key)) for row in OpenedFile.objects.all()}
    assert found == FILES


def test_a_bid_under_more_versions_than_a_listing_gives_is_opened(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path, files=FILES)
    sealed = SealedObject.objects.get(
        envelope__attempt__consultation=made, envelope__kind="offre", name="1.cob"
    )
    key = sealed.key
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda _: store.put(key, b"x"), range(1001)))
    made.deadlines.update(at=timezone.now())
    session = opened(world, Consultation.objects.get(pk=made.pk))
    assert {row.state for row in session.envelopes.all()} == {"opened"}
    found = {row.name: b"".join(object_store().open(row.key)) for row in OpenedFile.objects.all()}
    assert found == FILES


def test_what_was_written_first_is_what_is_read_and_named_under_a_deletion(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    made = world.publish()
    world.deposit(made, tmp_path, files=FILES)
    sealed = SealedObject.objects.get(
        envelope__attempt__consultation=made, envelope__kind="offre", name="1.cob"
    )
    own = store.call("head_object", bucket=store.deposits, Key=sealed.key)["VersionId"]
    received = store.read(sealed.key)
    store.put(f"{sealed.key}.longer", b"another key")
    for over in (b"shorter", bytes(sealed.size), bytes(sealed.size), b"again"):
        store.put(sealed.key, over)
    store.delete(sealed.key)
    assert store.read(sealed.key) == received
    assert next(locked_versions(store, sealed.key, size=sealed.size)) == own
    assert len(list(locked_versions(store, sealed.key, size=sealed.size))) == 3
    assert b"".join(store.open(sealed.key, version=own)) == received
    with pytest.raises(ObjectMissing):  # one that is not there is not another one
        b"".join(store.open(sealed.key, version="aVersionThatNeverWas000000000000"))
    told = [each.detail for each in reconcile(digests=True) if each.key == sealed.key]
    assert len(told) == 1
    assert f"la version verrouillée {own} est dessous" in told[0]


def test_what_no_lock_keeps_is_missing(store: S3Store) -> None:
    for key in (f"trial/{uuid.uuid4()}/0.cob", f"sealed/{uuid.uuid4()}/never.cob"):
        if key.startswith("trial/"):
            store.put(key, b"essai")
            store.delete(key)
        assert not store.exists(key)
        with pytest.raises(ObjectMissing):
            b"".join(store.open(key))
