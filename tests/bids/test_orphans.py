"""What a killed process leaves in the store is named by `manage.py storage fsck`, and by nothing else."""

import io
import os
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from dematmp.bids.models import SealedObject
from dematmp.opening.reconciliation import reconcile
from deploy.services.ceph import Ceph
from storage.objects import ObjectStore
from storage.stores import object_store, parse_object_store
from tests.world import World


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> ObjectStore:
    """A new and empty one."""
    url, name = f"folder://{tmp_path}/store", uuid.uuid4().hex[:12]
    if request.param == "s3":
        ceph: Ceph = request.getfixturevalue("ceph")
        url = f"{ceph.store_url(name)}&deposits={name}-plis"
    settings.DEPOSIT_RETENTION_DAYS = 1
    settings.OBJECT_STORE = parse_object_store(url)
    call_command("storage", "setup", stdout=io.StringIO())
    return object_store()


def test_an_upload_begun_by_a_process_that_died_is_named(world: World, store: ObjectStore) -> None:
    upload = store.begin(f"sealed/{uuid.uuid4()}/{uuid.uuid4()}/0.cob")
    (found,) = reconcile(idle=timedelta())
    assert found.kind == "orphan"
    assert "jamais achevé" in found.detail
    assert [each.upload_id for each in store.uploads()] == [upload]
    with pytest.raises(CommandError, match="1 différence"):
        call_command("storage", "fsck", "--recent", stdout=io.StringIO())


def test_an_upload_that_may_still_be_written_is_not_an_orphan(world: World, store: ObjectStore) -> None:
    store.begin(f"sealed/{uuid.uuid4()}/{uuid.uuid4()}/0.cob")
    assert list(reconcile()) == []


def test_what_a_company_may_still_finish_is_not_an_orphan(
    world: World, store: ObjectStore, tmp_path: Path
) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    speaker.upload(draft)
    assert SealedObject.objects.exclude(upload_id="").count() == len(list(store.uploads())) > 0
    assert list(reconcile(idle=timedelta())) == []
    # What it was told to be received, and is there no more, is named: of this part, then of the whole upload.
    begun = SealedObject.objects.exclude(upload_id="").order_by("pk")
    for each in begun:
        store.abort(each.key, each.upload_id)
    assert {(each.kind, each.key) for each in reconcile()} == {("missing", each.key) for each in begun}


def test_the_draft_of_a_writer_that_died_is_named(world: World, settings: Settings, tmp_path: Path) -> None:
    settings.OBJECT_STORE = parse_object_store(f"folder://{tmp_path}/store")
    object_store().put("documents/x/1", b"a piece")
    draft = tmp_path / "store" / "objects" / "documents" / "x" / f".{uuid.uuid4().hex}"
    draft.write_bytes(b"half of ")
    os.utime(draft, (0, 0))
    names = [each.key for each in reconcile() if each.kind == "orphan"]
    assert names == ["documents/x/1", f"objects/documents/x/{draft.name}"]


def test_what_arrives_during_the_run_is_no_orphan(world: World, store: ObjectStore, tmp_path: Path) -> None:
    """A deposit and a piece, received while a run reads the rows; a true orphan is still named."""
    made = world.publish()
    world.deposit(made, tmp_path / "a")
    lost = SealedObject.objects.filter(completed_at__isnull=False).earliest("pk")
    store.delete(lost.key)
    store.put(f"opened/{uuid.uuid4()}/1", b"de personne")
    run = reconcile()
    assert next(run).kind == "missing"
    world.deposit(made, tmp_path / "b")
    world.piece(made, name="ajout.pdf")
    store.put(f"opened/{uuid.uuid4()}/2", b"sa ligne vient")
    assert [each.key[-2:] for each in run if each.kind == "orphan"] == ["/1"]
