"""A bidder that kept its key seals other bytes once prices are known, with whoever writes in the store."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from dematmp.bids.models import Envelope
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedFile, OpeningSession
from signing import envelope as sealing
from signing.header import header_hash
from signing.manifest import FileDigest, build_closing
from storage.s3 import S3Store
from storage.stores import object_store
from tests.bids.test_direct import store
from tests.opening.test_opening import opened
from tests.world import World

__all__ = ["store"]
RECEIVED, LOWER = b"100000 EUR", b"079999 EUR"


def _sealed_again(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Consultation:
    """The consultation, past its deadline: its bid holds a lower price, well sealed under the same key."""
    kept: dict[bytes, bytes] = {}
    real = sealing._ek

    def keep(header: bytes, committee: bytes, platform: bytes) -> bytes:
        return kept.setdefault(header, real(header, committee, platform))

    monkeypatch.setattr(sealing, "_ek", keep)
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, folder, files={"prix.txt": RECEIVED})
    envelope = Envelope.objects.get(attempt__consultation=made, kind="offre")
    of = header_hash(bytes(envelope.header))
    closing = build_closing([FileDigest(1, len(LOWER), hashlib.sha256(LOWER).hexdigest())])
    for index, (name, data) in enumerate((("1.cob", LOWER), ("t.cob", closing)), start=1):
        sealing._write_sealed(folder / name, kept[of], of, index, [data], len(data))
        object_store().put(f"{envelope.prefix}/{name}", (folder / name).read_bytes())
    made.deadlines.update(at=timezone.now())
    return Consultation.objects.get(pk=made.pk)


def test_it_is_what_the_lock_kept_that_is_opened(
    world: World,
    store: S3Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = opened(world, _sealed_again(world, tmp_path, monkeypatch))
    assert {row.state for row in session.envelopes.all()} == {"opened"}
    (file,) = OpenedFile.objects.filter(opened__envelope__kind="offre")
    assert b"".join(store.open(file.key)) == RECEIVED


def test_without_a_lock_nothing_that_was_not_received_is_opened(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _sealed_again(world, tmp_path, monkeypatch)
    with pytest.raises(Exception, match="pour une cause technique"):
        opened(world, made)
    session = OpeningSession.objects.get(consultation=made)
    assert not session.envelopes.filter(state="opened", envelope__kind="offre").exists()
    assert not OpenedFile.objects.exclude(done_at=None).filter(opened__envelope__kind="offre").exists()
