"""A finalisation that the store takes long to follow, and a receipt compared with what was sealed."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from dematmp.api import bidder as door
from dematmp.audit.keys import journal_signer
from dematmp.bids.models import Attempt, Bid, SealedObject
from signing.client import Client, load_draft
from signing.errors import ReceiptRefused
from signing.receipt import verify_receipt
from tests.world import World

MANY = {f"plan {number:02}.txt": b"plan" for number in range(20)}


def test_a_very_large_deposit_is_put_away_in_several_answers_at_its_first_instant(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_FINALISE_SECONDS", -1.0)  # a handful of objects an answer
    waited: list[int] = []
    monkeypatch.setattr(Client, "wait", waited.append)
    speaker, draft = world.seal(world.publish(), tmp_path, files=MANY)
    attempt = str(speaker.upload(draft)["attempt"])
    digests = [
        {"envelope": envelope["envelope"], "name": each["name"], "sha256": each["sha256"]}
        for envelope in load_draft(draft)["envelopes"]  # type: ignore[attr-defined]
        for each in envelope["objects"]
    ]
    first = speaker.post(f"/attempts/{attempt}/finalise", {"objects": digests})
    assert (first["state"], first["code"]) == ("recording", "deposit.being-recorded")
    assert not Bid.objects.exists()
    receipt = speaker.finalise(draft, attempt)
    assert receipt["state"] == "in-time"
    assert receipt["received"] == first["received"]
    assert len(waited) == 2  # 25 objects, eight an answer
    assert not SealedObject.objects.filter(completed_at=None).exists()
    finalised = Attempt.objects.get().finalised_at
    assert finalised is not None
    assert datetime.fromisoformat(str(receipt["received"])) == finalised


def _bends_header(folder: Path) -> None:
    header = next(folder.glob("*/header.json"))
    header.write_bytes(header.read_bytes() + b" ")


def _bends(**more: object) -> Callable[[Path], None]:
    def bend(folder: Path) -> None:
        path = folder / "receipt.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return bend


@pytest.mark.parametrize(
    "bend",
    [
        _bends_header,
        _bends(received="2026-01-01T00:00:00.000000Z"),
        _bends(envelopes=[]),
        _bends(state="late"),
    ],
)
def test_a_receipt_of_something_else_than_what_was_sealed_here_is_refused(
    world: World, tmp_path: Path, bend: Callable[[Path], None]
) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    receipt = speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))
    speaker.collect(str(receipt["deposit"]), draft, wait=0)
    key = journal_signer().verifier_key
    assert verify_receipt(draft, journal_key=key, ca_pem=None).sealed_here
    bend(draft)
    with pytest.raises(ReceiptRefused):
        verify_receipt(draft, journal_key=key, ca_pem=None)
