"""What a clock, a dealer or one member alone may try against an opening."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.audit.keys import timestamp_authority
from dematmp.opening.decisions import leave_sealed
from dematmp.opening.models import OpeningSession
from signing.ceremony import parse_record
from signing.client import ServerRefused
from signing.errors import CeremonyRefused
from tests.fronts import answering
from tests.world import World, client


@pytest.mark.parametrize("ahead", [30, 3600])
def test_a_clock_that_an_authority_contradicts_opens_nothing(
    world: World, tmp_path: Path, settings: Settings, ahead: int
) -> None:
    """This node is ahead by that many seconds; an honest authority elsewhere has the true time."""
    made = world.publish(closes_in=timedelta(hours=2))
    world.deposit(made, tmp_path)
    assert made.deadline is not None
    true = made.deadline + timedelta(seconds=1 - ahead)

    def honest(request: bytes) -> bytes:
        return timestamp_authority().respond(request, now=true)

    with (
        answering(honest, content_type="application/timestamp-reply") as authority,
        time_machine.travel(made.deadline + timedelta(seconds=1), tick=True),
    ):
        session = world.share(made, 0)
        world.share(made, 1)
        settings.TSA_URLS = [authority]
        with pytest.raises(ServerRefused) as refused:
            client(world.members[0], world.buyer).post(f"/openings/{session['session']}/open")
    assert refused.value.reason == "opening.before-deadline"
    assert OpeningSession.objects.get().released_at is None


@pytest.mark.parametrize("per_lot", [False, True])
def test_one_member_alone_excludes_no_lot(world: World, tmp_path: Path, per_lot: bool) -> None:
    """Two members brought shares for two lots; a third leaves one sealed: they are asked again."""
    made = world.publish(world.draft(keys_per_lot=per_lot), closes_in=timedelta(hours=1))
    for lot in ("1", "2"):
        world.deposit(made, tmp_path / lot, lot=lot)
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1), tick=True):
        said = world.share(made, 0)
        world.share(made, 1)
        session = OpeningSession.objects.get()
        leave_sealed(session, lot="2", reason="seul", by=world.members[2], now=timezone.now())
        with pytest.raises(ServerRefused) as refused:
            client(world.members[2], world.buyer).post(f"/openings/{said['session']}/open")
    assert refused.value.reason == "opening.quorum-missing"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("date", "demain", "date"), ("keys", None, "plusieurs noms")],
)
def test_a_record_that_would_harm_later_is_refused_now(
    world: World, field: str, value: object, words: str
) -> None:
    made = world.draft()
    world.keys(made)
    made.refresh_from_db()
    record = json.loads(bytes(made.ceremony_record or b""))
    if value is None:
        first = next(iter(record["keys"].values()))
        value = dict.fromkeys(record["keys"], first)
    data = json.dumps({**record, field: value}, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(CeremonyRefused, match=words):
        parse_record(data)
