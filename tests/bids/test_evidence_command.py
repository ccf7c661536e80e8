"""`python -m signing evidence`, run as a company runs it: what each server knows of an attempt."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.services import issue_token
from signing.client import load_draft
from signing.fallback import deposit, went_by_backup
from tests.bids.test_backup_channel import NOWHERE, SMALL, live_world, sealed, speaker  # noqa: F401
from tests.channel import Channel
from tests.conftest import ROOT
from tests.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]
_DOSSIERS = ("dossier-de-preuve", "dossier-de-preuve-secours")


def brought(server: str, folder: Path, draft: Path, token: str, *, code: int = 0) -> tuple[set[str], str]:
    """`python -m signing evidence`, as a company runs it: the files written, and what is said besides."""
    (folder / "token").write_text(token)
    out = folder / "preuve"
    command = [sys.executable, "-m", "signing", "--server", server, "--token-file", str(folder / "token")]
    command += ["evidence", str(draft), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return names, done.stderr


def ready(world: World, server: LiveServer, channel: Channel, folder: Path) -> tuple[Path, str]:
    """A sealed draft, and the key by which its company asks."""
    made = world.publish(closes_in=timedelta(hours=1))
    draft = sealed(world, server, channel, made, folder, SMALL)
    return draft, issue_token(world.bidder, world.company, label="preuve", now=timezone.now())


def test_the_command_line_brings_what_each_server_knows_of_an_attempt(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    channel: Channel,
    tmp_path: Path,
) -> None:
    """Begun at the platform, which failed; deposited at the channel: each has its own attempt."""
    world = live_world
    draft, token = ready(world, live_server, channel, tmp_path / "a")
    nothing, said = brought(live_server.url, tmp_path / "a", draft, token)
    assert "aucune tentative" in said
    refused = ("envois-refuses", "envois-refuses-secours")  # the channel is asked too
    assert nothing == {f"{name}.{form}" for name in refused for form in ("json", "pdf")}
    speaker(world, live_server.url).upload(draft)
    deposit(speaker(world, NOWHERE), draft)
    assert went_by_backup(draft)
    names, _ = brought(live_server.url, tmp_path / "a", draft, token)
    both = {f"{name}.{form}" for name in _DOSSIERS for form in ("json", "pdf")}
    assert names == both | nothing
    here, there = (json.loads((tmp_path / "a" / "preuve" / f"{name}.json").read_text()) for name in _DOSSIERS)
    assert here["attempt"] != there["attempt"]
    assert here["receipt"] is None
    assert there["receipt"]["number"].startswith("ARS")
    for name in _DOSSIERS:
        assert (tmp_path / "a" / "preuve" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_what_one_server_knows_does_not_wait_for_the_other(
    live_world: World,  # noqa: F811
    live_server: LiveServer,
    channel: Channel,
    tmp_path: Path,
) -> None:
    world = live_world
    draft, token = ready(world, live_server, channel, tmp_path / "a")
    speaker(world, live_server.url).upload(draft)
    known = json.loads((draft / "attempts.json").read_text())
    (draft / "attempts.json").write_text(json.dumps(known | {NOWHERE: "d"}))
    state = load_draft(draft)
    (draft / "draft.json").write_text(json.dumps(state | {"backup": {"url": NOWHERE, "pass": "x"}}))
    names, said = brought(live_server.url, tmp_path / "a", draft, token)
    assert names == {"dossier-de-preuve.json", "dossier-de-preuve.pdf"}
    assert f"{NOWHERE} ne répond pas" in said
