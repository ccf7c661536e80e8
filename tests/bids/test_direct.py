"""Parts that clients send to S3 (real Ceph) themselves: nothing of a bid crosses the platform."""

import contextlib
import hashlib
import io
import re
import shutil
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.api import bidder as door
from dematmp.bids import presence
from dematmp.bids.destroying import destroy
from dematmp.bids.models import Attempt, Bid, Part, SealedObject
from dematmp.consultations import trial
from dematmp.consultations.models import DocumentVersion
from dematmp.opening.reconciliation import _lock, reconcile
from deploy.services.ceph import Ceph
from signing.client import ServerRefused, attempt_body, load_draft
from storage.errors import ObjectMissing
from storage.objects import Part as StoredPart
from storage.objects import Target
from storage.s3 import S3Store
from storage.stores import object_store, parse_object_store
from tests.bids.test_deposit import refused
from tests.world import World


def no_byte(*_: object, **__: object) -> Part:
    pytest.fail("a byte of a bid crossed the platform")


@pytest.fixture
def store(ceph: Ceph, settings: Settings) -> S3Store:
    """Two new buckets, the second one locked for a day."""
    name = uuid.uuid4().hex[:12]
    settings.DEPOSIT_RETENTION_DAYS = 1
    settings.OBJECT_STORE = parse_object_store(f"{ceph.store_url(name)}&deposits={name}-plis")
    call_command("storage", "setup", stdout=io.StringIO())
    made = object_store()
    assert isinstance(made, S3Store)
    return made


def send(target: Target | dict[str, object], data: bytes) -> int:
    url, headers = (
        (target.url, target.headers) if isinstance(target, Target) else (target["url"], target["headers"])
    )
    return httpx.put(str(url), content=data, headers=dict(headers)).status_code  # type: ignore[call-overload]


def test_a_bid_goes_straight_to_its_locked_bucket(
    world: World, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.attempts, "receive_part", no_byte)
    consultation = world.publish()
    files = {"grand.bin": b"0123456789abcdef" * 1024 * 600, "petit.txt": b"x"}  # two parts, then one
    world.deposit(consultation, tmp_path, files=files)
    bid = Bid.objects.get(consultation=consultation)
    for each in SealedObject.objects.filter(envelope__attempt=bid.attempt):
        assert store.size(each.key) == each.size
        said = store.call("head_object", bucket=store.deposits, Key=each.key)
        assert said["ObjectLockMode"] == "COMPLIANCE"
        assert said["ObjectLockRetainUntilDate"] > datetime.now(UTC)  # type: ignore[operator]
    assert Part.objects.received().filter(object__envelope__attempt=bid.attempt).count() == 9
    call_command("storage", "fsck", "--digests", stdout=io.StringIO())


def test_the_store_takes_the_announced_bytes_and_no_others(store: S3Store) -> None:
    key, good = f"sealed/{uuid.uuid4()}/0.cob", b"the announced bytes"
    upload = store.begin(key)
    target = store.target(key, upload, 1, size=len(good), sha256=hashlib.sha256(good).hexdigest())
    assert send(target, b"other bytes, alike!") == 400
    assert send(target, good + b"longer") == 403
    assert store.held(key, upload, 1) is None
    assert send(target, good) == 200
    assert store.held(key, upload, 1) == len(good)
    # Signed for one part of one upload: neither another number nor another object.
    elsewhere = Target(target.url.replace("partNumber=1", "partNumber=2"), target.headers)
    assert send(elsewhere, good) == 403
    assert send(Target(target.url.replace("0.cob", "1.cob"), target.headers), good) == 403


def test_what_the_store_does_not_hold_is_not_received(world: World, store: S3Store, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    assert state["direct"] is True
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    data = (draft / envelope / "1.cob").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    part = {"envelope": envelope, "name": "1.cob", "number": 1, "sha256": digest}
    path = f"/attempts/{state['attempt']}/parts"
    with refused("deposit.part-refused"):
        speaker.post(f"{path}/received", {"parts": [part]})  # never announced
    where = speaker.post(path, {"parts": [part]})["parts"]
    assert isinstance(where, list)
    with refused("deposit.part-truncated"):
        speaker.post(f"{path}/received", {"parts": [part]})  # announced, not sent
    with refused("deposit.part-refused"):
        speaker.post(path, {"parts": [{**part, "sha256": "0" * 64}]})  # other bytes under the same number
    assert not Part.objects.received().exists()
    assert send(where[0], data) == 200
    for _ in range(2):
        speaker.post(f"{path}/received", {"parts": [part]})
    assert Part.objects.received().count() == 1
    assert speaker.post(path, {"parts": [part]})["parts"] == [None]
    rival, _ = world.seal(world.publish(world.draft("2026-02")), tmp_path / "rival", rival=True)
    with pytest.raises(ServerRefused) as error:
        rival.post(path, {"parts": [part]})
    assert error.value.status == 404


def test_a_client_that_cannot_reach_the_store_goes_through_the_platform(
    world: World, store: S3Store, settings: Settings, tmp_path: Path
) -> None:
    settings.OBJECT_STORE = {**settings.OBJECT_STORE, "public": "http://127.0.0.1:9"}
    consultation = world.publish()
    world.deposit(consultation, tmp_path)
    assert Bid.objects.filter(consultation=consultation).exists()
    call_command("storage", "fsck", "--digests", stdout=io.StringIO())


def test_a_part_that_the_store_aborted_is_asked_for_again(
    world: World, store: S3Store, tmp_path: Path
) -> None:
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    sealed = SealedObject.objects.filter(name="1.cob").first()
    assert sealed is not None
    store.abort(sealed.key, sealed.upload_id)
    with refused("deposit.incomplete"):
        speaker.finalise(draft, attempt)
    speaker.upload(draft)
    assert speaker.finalise(draft, attempt)["state"] == "in-time"


def test_the_deposit_page_alone_may_speak_to_the_store(world: World, store: S3Store) -> None:
    consultation, browser = world.publish(), Client()
    browser.force_login(world.bidder)
    page = browser.get(reverse("new-deposit", args=[consultation.uuid]))
    assert store.direct in page["Content-Security-Policy"]
    other = browser.get(reverse("consultation", args=[consultation.uuid]))
    assert store.direct not in other["Content-Security-Policy"]


def test_check_says_what_the_store_really_does(
    db: None, store: S3Store, settings: Settings, ceph: Ceph
) -> None:
    said = io.StringIO()
    call_command("storage", "check", stdout=said)
    assert "NON" not in said.getvalue()
    assert "lu sur l'objet : 1.0" in said.getvalue()
    # A bucket made without its lock, for another site: each point is told, with what to do.
    bare = uuid.uuid4().hex[:12]
    ceph.create_bucket(bare)
    settings.OBJECT_STORE = parse_object_store(ceph.store_url(bare))
    said = io.StringIO()
    with pytest.raises(CommandError, match="à corriger"):
        call_command("storage", "check", stdout=said)
    assert "NON : les plis sont verrouillés" in said.getvalue()
    assert f"NON : {bare} garde les versions" in said.getvalue()
    assert f"NON : {bare} efface les envois abandonnés" in said.getvalue()
    assert f"NON : {bare} efface pour de bon les dépôts d'essai détruits" in said.getvalue()
    # Bids in a bucket of their own, that nobody locked: what is read back and deleted says so.
    apart = uuid.uuid4().hex[:12]
    ceph.create_bucket(apart)
    settings.OBJECT_STORE = parse_object_store(f"{ceph.store_url(bare)}&deposits={apart}")
    said = io.StringIO()
    with pytest.raises(CommandError, match="à corriger"):
        call_command("storage", "check", stdout=said)
    assert "NON : un pli est verrouillé 1 jours (lu sur l'objet : 0.0)" in said.getvalue()
    assert "NON : un pli verrouillé ne s'efface pas" in said.getvalue()
    key = f"sealed/{uuid.uuid4()}/{uuid.uuid4()}/0.cob"
    object_store().put(key, b"x")
    assert [each.kind for each in _lock(key)] == ["unlocked"]
    settings.OBJECT_STORE = {**settings.OBJECT_STORE, "public": "http://127.0.0.1:9"}
    said = io.StringIO()
    with pytest.raises(CommandError):
        call_command("storage", "check", stdout=said)
    assert "http://127.0.0.1:9 n'a pas répondu" in said.getvalue()
    assert "x-amz-content-sha256" not in said.getvalue()  # nobody knows what it verifies


def test_check_trusts_the_authority_that_the_settings_name(
    db: None, ceph_tls: Ceph, settings: Settings
) -> None:
    name = uuid.uuid4().hex[:12]
    settings.DEPOSIT_RETENTION_DAYS = 1
    settings.OBJECT_STORE = parse_object_store(f"{ceph_tls.store_url(name)}&deposits={name}-plis")
    call_command("storage", "setup", stdout=io.StringIO())
    said = io.StringIO()
    call_command("storage", "check", stdout=said)
    assert "de qui connaît l'autorité de ca=…" in said.getvalue()


def test_a_destroyed_trial_leaves_no_version(world: World, settings: Settings, tmp_path: Path) -> None:
    """Its days last a second; what is deleted elsewhere in the same bucket keeps its versions."""
    with Ceph(day=1) as engine:
        settings.DEPOSIT_RETENTION_DAYS = 0
        settings.OBJECT_STORE = parse_object_store(engine.store_url(engine.bucket))
        call_command("storage", "setup", stdout=io.StringIO())
        store = object_store()
        assert isinstance(store, S3Store)
        world.deposit(trial.ensure(now=timezone.now()), tmp_path)
        store.put("opened/x/1", b"x")
        store.delete("opened/x/1")
        attempt = Attempt.objects.get()
        (prefix,) = {each.prefix.split("/")[0] + "/" for each in attempt.envelopes.all()}
        destroy(attempt, now=timezone.now())

        def left(prefix: str) -> list[str]:
            said = store.call("list_object_versions", bucket=store.bucket, Prefix=prefix)
            rows = [said.get("Versions", []), said.get("DeleteMarkers", [])]
            return [each["Key"] for kind in rows if isinstance(kind, list) for each in kind]

        assert left(prefix)
        until = time.monotonic() + 60
        while left(prefix) and time.monotonic() < until:
            time.sleep(0.2)
        assert left(prefix) == []
        assert len(left("opened/")) == 2


def test_a_store_that_refuses_says_what_to_do(db: None, ceph: Ceph, settings: Settings) -> None:
    absent = ceph.store_url(uuid.uuid4().hex[:12])
    for wrong, said in (
        (absent, "storage setup"),
        (re.sub(r":[^:@/]+@", ":faux@", absent), "la clé et le secret"),
    ):
        settings.OBJECT_STORE = parse_object_store(wrong)
        with pytest.raises(CommandError, match=said):
            call_command("storage", "fsck", stdout=io.StringIO())


def test_check_of_a_folder_looks_at_it(db: None, settings: Settings, tmp_path: Path) -> None:
    """Not there, not writable, or without the mark that was left in it: said, and nothing is left behind."""
    root = tmp_path / "disque"

    def check() -> str:
        said = io.StringIO()
        with contextlib.suppress(CommandError):
            call_command("storage", "check", stdout=said)
            return said.getvalue() + "(0)"
        return said.getvalue() + "(1)"

    settings.OBJECT_STORE = parse_object_store(f"folder://{root}")
    assert f"NON : le dossier {root} existe" in check()
    assert not root.exists()
    root.mkdir()
    found = check()
    assert "oui : il reste " in found or "NON : il reste " in found
    assert "attend sa marque" in found
    assert [path for path in root.rglob("*") if path.is_file()] == []
    presence.check()
    assert "oui : la marque des dépôts" in check()
    (root / "objects" / presence.KEY).unlink()
    found = check()
    assert "NON : la marque des dépôts" in found
    assert found.endswith("(1)")
    assert [(each.kind, each.key) for each in reconcile()] == [("missing", presence.KEY)]
    shutil.rmtree(root / "objects")
    (root / "objects").write_bytes(b"a file where a folder is to be")
    assert "NON : le dossier" in check()


def test_setup_runs_twice_and_never_shortens_a_lock(store: S3Store, settings: Settings) -> None:
    settings.DEPOSIT_RETENTION_DAYS = 3
    call_command("storage", "setup", stdout=io.StringIO())
    settings.DEPOSIT_RETENTION_DAYS = 1
    said = io.StringIO()
    call_command("storage", "setup", stdout=said)
    assert "verrou COMPLIANCE de 3 jours" in said.getvalue()


@pytest.fixture(params=["folder", "s3"])
def either(request: pytest.FixtureRequest) -> None:
    if request.param == "s3":
        request.getfixturevalue("store")


@pytest.mark.usefixtures("either")
def test_fsck_names_what_is_missing_different_and_unknown(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    if settings.OBJECT_STORE["kind"] == "folder":
        shutil.rmtree(Path(settings.OBJECT_STORE["root"]), ignore_errors=True)  # of earlier tests
    consultation = world.publish()
    world.deposit(consultation, tmp_path, files={"a.txt": b"a" * 100, "b.txt": b"b" * 100})
    assert list(reconcile(digests=True)) == []
    first, second, third = SealedObject.objects.filter(name__in=("1.cob", "2.cob")).order_by("pk")[:3]
    where = object_store()
    where.delete(first.key)
    where.put(second.key, b"short")
    where.put(third.key, bytes(third.size))
    where.put(f"sealed/{consultation.uuid}/{uuid.uuid4()}/0.cob", b"unknown")
    where.put("ailleurs/1", b"under a prefix that nobody knows")
    found = {(each.kind, each.key) for each in reconcile()}
    assert ("missing", first.key) in found
    assert ("different", second.key) in found
    assert [kind for kind, _ in found].count("orphan") == 2
    assert ("orphan", "ailleurs/1") in found
    if isinstance(where, S3Store):  # what the lock kept under these is told by its id, and is the deposit's
        told = {each.key: each.detail for each in reconcile(digests=True)}
        for each in (first, second, third):
            version = re.search(r"la version verrouillée (\S+) est dessous", told[each.key])
            assert version
            said = where.call("head_object", bucket=where.deposits, Key=each.key, VersionId=version[1])
            assert said["ContentLength"] == each.size
    assert ("different", third.key) not in found
    assert ("different", third.key) in {(each.kind, each.key) for each in reconcile(digests=True)}
    envelope = first.envelope
    where.put(f"{envelope.prefix}/header.json", bytes(len(bytes(envelope.header))))
    assert ("different", f"{envelope.prefix}/header.json") in {(each.kind, each.key) for each in reconcile()}
    where.put(f"{envelope.prefix}/header.json", bytes(envelope.header))
    with pytest.raises(CommandError, match="4 différence"):
        call_command("storage", "fsck", stdout=io.StringIO())
    assert Attempt.objects.filter(consultation=consultation).exists()


def test_an_upload_that_expired_at_the_store_is_sent_again_whole(
    world: World, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun, left for months, resumed: one part of the object was received, the other never."""
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path, files={"f": b"0123456789abcdef" * 1024 * 600})
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    sealed = SealedObject.objects.filter(name="1.cob", envelope__kind="offre").get()
    envelope = str(sealed.envelope.uuid)
    data = (draft / envelope / "1.cob").read_bytes()[: 8 * 1024**2]
    part = {
        "envelope": envelope,
        "name": "1.cob",
        "number": 1,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path = f"/attempts/{state['attempt']}/parts"
    where = speaker.post(path, {"parts": [part]})["parts"]
    assert isinstance(where, list)
    assert send(where[0], data) == 200
    speaker.post(f"{path}/received", {"parts": [part]})
    sealed.refresh_from_db()
    store.abort(sealed.key, sealed.upload_id)
    monkeypatch.setattr("signing.client.Client.wait", lambda *_: None)
    with refused("deposit.part-refused"):
        speaker.upload(draft)
    attempt = str(speaker.upload(draft)["attempt"])
    assert speaker.finalise(draft, attempt)["state"] == "in-time"
    call_command("storage", "fsck", "--digests", stdout=io.StringIO())


def test_an_object_of_the_same_size_is_not_taken_for_the_one_announced(store: S3Store) -> None:
    """After a crash the upload is gone and an object is there: only its bytes tell whether it is ours."""
    key, good = f"sealed/{uuid.uuid4()}/0.cob", b"the announced bytes"
    parts = [StoredPart(1, len(good), hashlib.sha256(good).hexdigest())]
    upload = store.begin(key)
    store.put_part(key, upload, 1, io.BytesIO(good), size=len(good), part_bytes=64, sha256=parts[0].sha256)
    store.complete(key, upload, parts)
    store.complete(key, upload, parts)
    store.put(key, b"other bytes, alike!")
    with pytest.raises(ObjectMissing):
        store.complete(key, upload, parts)


def test_pieces_are_encrypted_at_rest_where_it_is_asked_for(
    world: World, store: S3Store, settings: Settings, ceph: Ceph, tmp_path: Path
) -> None:
    """Read back from the objects; sealed ones, which are ciphertext already, are as they were."""
    settings.OBJECT_STORE = {**settings.OBJECT_STORE, "sse": "essai"}
    out = io.StringIO()
    call_command("storage", "check", stdout=out)
    assert "chiffrées au repos" in out.getvalue()
    consultation = world.publish()
    made = object_store()
    assert isinstance(made, S3Store)
    version = DocumentVersion.objects.get(document__consultation=consultation)
    assert made.encrypted(version.key) == "aws:kms"
    assert b"".join(made.open(version.key)) == b"%PDF-1.7 essai"
    world.deposit(consultation, tmp_path)
    sealed = SealedObject.objects.filter(envelope__attempt__bid__consultation=consultation).first()
    assert sealed is not None
    assert made.encrypted(sealed.key) == ""
    settings.OBJECT_STORE = {**settings.OBJECT_STORE, "sse": "inconnue"}
    with pytest.raises(CommandError):
        call_command("storage", "check", stdout=io.StringIO())
