"""A committee's work by the command line alone, over HTTP: check a share, rehearse, change a holder, open."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from dematmp.accounts.services import issue_token
from dematmp.consultations import services
from dematmp.opening import rehearsals, renewals
from dematmp.opening.models import OpeningSession
from dematmp.opening.tasks import unseal_session
from dematmp.opening.unsealing import unseal_all
from signing.protectors import paper_words
from tests.conftest import ROOT
from tests.opening.test_renewal import newcomer
from tests.world import World, make_world

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


class Desk:
    """A member's own machine: a token, a sheet of words, the command line."""

    def __init__(self, world: World, server: LiveServer, user: User, folder: Path) -> None:
        folder.mkdir()
        self.server, self.folder = server.url, folder
        (folder / "token").write_text(issue_token(user, world.buyer, label="essai", now=timezone.now()))
        self.also = [word for each in world.fingerprints(user) for word in ("--also", each)]
        (folder / "words").write_text(paper_words(world.sheets[user.pk]))

    def run(self, verb: str, *arguments: str, code: int = 0) -> dict[str, object]:
        command = [sys.executable, "-m", "signing", "--server", self.server]
        command += ["--token-file", str(self.folder / "token"), "--json", verb, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else {"error": done.stderr}

    def mine(self, verb: str, *arguments: str, code: int = 0) -> dict[str, object]:
        return self.run(verb, *arguments, "--protector", str(self.folder / "words"), code=code)


def test_everything_by_the_command_line(
    transactional_db: None, live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        unseal_session, "delay", lambda _: None
    )  # this process unseals: its database is its own
    world = make_world()
    consultation = world.draft()
    world.keys(consultation, rehearsed=False)
    uuid = str(consultation.uuid)
    desks = {
        user.pk: Desk(world, live_server, user, tmp_path / f"desk{n}") for n, user in enumerate(world.members)
    }
    first, second = desks[world.members[0].pk], desks[world.members[1].pk]

    # The rehearsal, which allows the publication.
    twin = rehearsals.of(consultation)
    assert twin is not None
    first.mine("share", uuid, "--rehearsal")
    refused = first.run("open", uuid, "--rehearsal", code=1)
    assert "opening.quorum-missing" in str(refused["error"])
    second.mine("share", uuid, "--rehearsal")
    second.run("open", uuid, "--rehearsal")
    unseal_all(OpeningSession.objects.get(consultation=twin))
    consultation.refresh_from_db()
    assert consultation.rehearsed_at is not None
    at = (datetime.now(UTC) + timedelta(seconds=25)).replace(microsecond=0)
    services.set_deadline(consultation, at=at, by=world.agent, now=timezone.now())
    services.submit(consultation, by=world.agent, now=timezone.now())
    services.validate(consultation, by=world.validator, now=timezone.now())
    services.publish(consultation, by=world.validator, now=timezone.now())
    consultation.refresh_from_db()
    world.deposit(consultation, tmp_path / "bid")
    assert first.mine("check-share", uuid)["sha256"] == consultation.ceremony_sha256

    # Another holder: the fourth member takes the place of the third.
    newcomer(world)
    user = world.members[3]
    third = Desk(world, live_server, user, tmp_path / "desk3")
    members = [world.members[0], world.members[1], user]
    made = renewals.start(consultation, members=members, threshold=2, by=world.agent, now=timezone.now())
    key = ["--key", str(tmp_path / "ephemeral")]
    code = str(third.run("renew-offer", str(made.uuid), *key)["code"])
    wrong = first.mine("renew-lend", str(made.uuid), "--code", "0000 0000 0000 0000", code=1)
    assert "n'allez pas plus loin" in str(wrong["error"])
    for desk in (first, second):
        desk.mine("renew-lend", str(made.uuid), "--code", code)
    codes = {
        str(desk.mine("renew-list", str(made.uuid), *desk.also)["code"]) for desk in (first, second, third)
    }
    assert len(codes) == 1
    third.run("renew-deal", str(made.uuid), *key, "--list-code", codes.pop())
    assert not (tmp_path / "ephemeral").exists()
    for desk in (first, second, third):
        desk.mine("renew-confirm", str(made.uuid), *desk.also)
    consultation.refresh_from_db()
    assert consultation.ceremony.epoch == 2

    # The opening: the newcomer's share and a former holder's.
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds() + 0.05))
    third.mine("share", uuid)
    second.mine("share", uuid)
    second.run("open", uuid)
    session = OpeningSession.objects.get(consultation=consultation)
    unseal_all(session)
    session.refresh_from_db()
    assert session.finished_at is not None
    assert "tous les plis qui comptent" in str(second.run("resume", uuid, code=1)["error"]).lower()
