"""What was checked before sealing: counted in the record and the receipt, strictly, and once."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from dematmp.bids import preflight, receipts, services, tasks
from dematmp.bids.models import Attempt, Bid
from signing.client import Client, ServerRefused, load_draft, rows_of
from tests.conftest import ROOT
from tests.world import World

FILES = {"acte.pdf": b"acte", "plan.zip": b"plan"}


def _sealed(world: World, folder: Path) -> tuple[Client, Path, str]:
    speaker, draft = world.seal(world.publish(closes_in=timedelta(hours=1)), folder, files=FILES)
    return speaker, draft, str(speaker.upload(draft)["attempt"])


def _envelope(draft: Path) -> str:
    """The one of the offer, of two files; nothing is said of the candidature."""
    return str(rows_of(load_draft(draft)["envelopes"])[1]["envelope"])


def _finalise(speaker: Client, draft: Path, attempt: str, preflight: object) -> dict[str, object]:
    objects = [
        {"envelope": each["envelope"], "name": row["name"], "sha256": row["sha256"]}
        for each in rows_of(load_draft(draft)["envelopes"])
        for row in rows_of(each["objects"])
    ]
    return speaker.post(f"/attempts/{attempt}/finalise", {"objects": objects, "preflight": preflight})


def _said(draft: Path, **more: object) -> dict[str, object]:
    return {"envelope": _envelope(draft), "checked": 2, "codes": {"ok": 1, "pdf.password": 1}, **more}


def test_the_record_and_the_receipt_count_what_was_checked(world: World, tmp_path: Path) -> None:
    speaker, draft, attempt = _sealed(world, tmp_path)
    receipt = _finalise(speaker, draft, attempt, [_said(draft)])
    kept = {"checked": 2, "codes": {"ok": 1, "pdf.password": 1}}
    bid = Bid.objects.get()
    assert [each["preflight"] for each in rows_of(receipt["envelopes"])] == [None, kept]
    assert [each["preflight"] for each in json.loads(bytes(bid.record))["envelopes"]] == [None, kept]
    words = "2 fichiers sur 2 : sans remarque (1), PDF protégé par un mot de passe (1)"
    assert [said for _, _, said in receipts.checks(bid)] == ["non vérifié avant scellement", words]


def test_the_command_line_checks_nothing_and_the_receipt_says_so(world: World, tmp_path: Path) -> None:
    receipt = world.deposit(world.publish(), tmp_path)
    assert [each["preflight"] for each in rows_of(receipt["envelopes"])] == [None, None]
    assert [said for _, _, said in receipts.checks(Bid.objects.get())] == ["non vérifié avant scellement"] * 2


def test_the_first_finalisation_s_checks_stand_even_after_a_crash(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker, draft, attempt = _sealed(world, tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(services, "complete_objects", killed)
        _finalise(speaker, draft, attempt, [_said(draft)])
    assert not Bid.objects.exists()
    with time_machine.travel(timedelta(minutes=5)):
        tasks.sweep()
    again = _finalise(speaker, draft, attempt, [_said(draft, codes={"zip.bomb": 2})])
    kept = [each["preflight"] for each in rows_of(again["envelopes"])]
    assert kept == [None, {"checked": 2, "codes": {"ok": 1, "pdf.password": 1}}]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"envelope": "00000000-0000-0000-0000-000000000000"}, "deposit.preflight-refused"),
        ({"checked": 3}, "deposit.preflight-refused"),
        ({"codes": {"ok": 3}}, "deposit.preflight-refused"),
        ({"checked": -1}, "request.malformed"),
        ({"checked": "2"}, "request.malformed"),
        ({"checked": True}, "request.malformed"),
        ({"checked": 10**9}, "request.malformed"),
        ({"codes": {"ok": 0}}, "request.malformed"),
        ({"codes": {"acte d'engagement.pdf": 1}}, "request.malformed"),
        ({"codes": {"a" * 60: 1}}, "request.malformed"),
        ({"codes": {f"ok.{number}": 1 for number in range(65)}}, "request.malformed"),
    ],
)
def test_a_summary_that_cannot_be_is_refused_and_nothing_is_finalised(
    world: World, tmp_path: Path, more: dict[str, object], code: str
) -> None:
    speaker, draft, attempt = _sealed(world, tmp_path)
    with pytest.raises(ServerRefused, check=lambda error: error.reason == code and bool(error.next)):
        _finalise(speaker, draft, attempt, [_said(draft, **more)])
    assert Attempt.objects.get().finalised_at is None
    assert _finalise(speaker, draft, attempt, [_said(draft)])["state"] == "in-time"


def test_an_envelope_is_told_once(world: World, tmp_path: Path) -> None:
    speaker, draft, attempt = _sealed(world, tmp_path)
    with pytest.raises(ServerRefused, check=lambda error: error.reason == "deposit.preflight-refused"):
        _finalise(speaker, draft, attempt, [_said(draft), _said(draft)])


def test_every_code_of_the_page_has_its_words() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "frontend" / "deposit").glob("*.js"))
    assert {"ok", *re.findall(r'warn\(\s*"([a-z0-9.-]+)"', sources)} == set(preflight.LABELS)
