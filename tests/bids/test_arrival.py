"""A request is dated by its last byte, whoever is in front: nothing is gained by an early head."""

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.services import issue_token
from dematmp.bids.models import Attempt, Bid
from dematmp.mails.models import Mail
from signing.client import attempt_body, digests, load_draft
from tests.bids.test_backup_channel import speaker
from tests.world import World, make_world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def live_world(transactional_db: None) -> World:
    return make_world()


_JSON, _FORM = "application/json", "multipart/form-data; boundary=x"


def slowly(server: str, path: str, token: str, body: dict[str, object], *, kind: str = _JSON) -> float:
    """Send a request whose body is held back; the instant (Unix) just before its last byte leaves."""
    where, data = urlsplit(server), json.dumps(body).encode()
    head = (
        f"POST /api/v1{path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as line:
        line.sendall(head.encode() + data[:-1])
        time.sleep(1)  # a slow line
        last = timezone.now().timestamp()
        line.sendall(data[-1:])
        answer = line.recv(64)
    assert answer.split()[1] in (b"200", b"201"), answer
    return last


@pytest.mark.parametrize("kind", [_FORM, f"{_FORM}, long"])
def test_a_deposit_begins_and_ends_with_the_last_byte_of_its_requests(
    live_world: World, live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever it says to be: who reads it does not ask."""
    if kind.endswith("long"):
        monkeypatch.setattr("dematmp.bids.clock._FORM_BYTES", 10)
    made = live_world.publish()
    _, draft = live_world.seal(made, tmp_path)
    state, bidder = load_draft(draft), speaker(live_world, live_server.url)
    token = issue_token(live_world.bidder, live_world.company, label="lent", now=timezone.now())
    last = slowly(live_server.url, "/attempts", token, attempt_body(draft, state), kind=kind)
    attempt = Attempt.objects.get(consultation=made)
    assert attempt.started_at.timestamp() >= last
    bidder.upload(draft)
    body = {"objects": digests(state)}
    last = slowly(live_server.url, f"/attempts/{attempt.uuid}/finalise", token, body, kind=kind)
    bid = Bid.objects.get(consultation=made)
    assert bid.received_at.timestamp() >= last
    last = slowly(live_server.url, f"/deposits/{bid.uuid}/withdraw", token, {"sure": True}, kind=kind)
    bid.refresh_from_db()
    assert bid.withdrawn_at is not None
    # A body that nobody reads is not waited for: it is withdrawn at once, and dated then.
    assert bid.withdrawn_at.timestamp() >= (last if not kind.endswith("long") else last - 2)
    assert Mail.objects.filter(subject__contains="retiré").exists()
