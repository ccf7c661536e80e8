"""What a hostile platform may ask of the programs of companies and members: nothing they did not mean."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from django.utils import timezone

from dematmp.accounts.services import issue_token
from signing.client import Client, ServerRefused, load_draft, rows_of
from signing.committee import Committee
from signing.errors import CeremonyRefused
from signing.fallback import is_away
from signing.keys import new_seed, public_key
from tests.world import World, application

SESSION = "11111111-1111-4111-8111-111111111111"


def test_a_company_sends_what_it_sealed_and_no_other_file(world: World, tmp_path: Path) -> None:
    """The platform names a file of the company's machine among the objects of its attempt."""
    _, draft = world.seal(world.publish(), tmp_path, files={"offre.txt": b"notre prix : 123 456 EUR"})
    secret = tmp_path / "plain" / "0"
    secret.parent.mkdir(exist_ok=True)
    secret.write_bytes(b"notre prix : 123 456 EUR")
    got: dict[str, bytes] = {}

    def hostile(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/attempts"):
            named = {"envelope": str(secret.parent), "name": secret.name, "size": 24, "parts": []}
            return httpx.Response(201, json={"attempt": "x", "direct": False, "objects": [named]})
        got[request.url.path] = request.content
        return httpx.Response(200, json={})

    Client("http://hostile", "t", transport=httpx.MockTransport(hostile)).upload(draft)
    sealed = [row for each in rows_of(load_draft(draft)["envelopes"]) for row in rows_of(each["objects"])]
    assert len(got) == len(sealed)
    assert all(b"123 456" not in each for each in got.values())


@pytest.mark.parametrize("lie", [lambda said, twin: {**said, "consultation": twin}, lambda said, _: said])
def test_a_rehearsal_never_takes_the_real_shares(
    world: World, lie: Callable[[dict[str, object], str], dict[str, object]]
) -> None:
    """The platform serves the real ceremony as the twin's, with a deadline that is past."""
    made = world.draft()
    world.keys(made, rehearsed=False)
    twin = made.ceremony.twin
    assert twin is not None
    inner = httpx.WSGITransport(app=application())
    taken: list[bytes] = []

    class Hostile(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            path = request.url.path
            if path.endswith("/opening"):
                key = base64.b64encode(public_key(new_seed())).decode()
                said = {"session": SESSION, "public_key": key, "kinds": ["candidature", "offre"]}
                return httpx.Response(201, json=said)
            if path.endswith("/shares"):
                taken.append(request.read())
                return httpx.Response(200, json={})
            url = str(request.url).replace(str(twin.uuid), str(made.uuid))
            asked = httpx.Request(request.method, url, headers=request.headers, content=request.read())
            answer = inner.handle_request(asked)
            if path.endswith("/ceremony"):
                said = json.loads(answer.read())
                said["deadline"] = (timezone.now() - timedelta(days=1)).isoformat()
                return httpx.Response(200, json=lie(said, str(twin.uuid)))
            return answer

    member = world.members[0]
    token = issue_token(member, world.buyer, label="x", now=timezone.now())
    speaker = Committee("http://127.0.0.1", token, transport=Hostile())
    for asked in (str(twin.uuid), str(made.uuid)):
        session = speaker.start_opening(asked)
        with pytest.raises(CeremonyRefused):
            speaker.give_share(asked, session, world.seeds[member.pk], rehearsal=True)
    assert not [each for each in taken if b"sealed" in each]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_front_without_its_platform_is_a_platform_that_is_away(status: int) -> None:
    """The proxy answers, and nothing behind it: the backup channel is for this too."""

    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"<h1>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Front) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        told: list[str] = []
        client = Client(f"http://127.0.0.1:{server.server_port}", "t", tries=2)
        client.told = told.append
        with pytest.raises(ServerRefused) as refused:
            client.get("/time")
        server.shutdown()
    assert is_away(refused.value)
    assert len(told) == 1
    assert not is_away(ServerRefused(409, "x", "x", "", {}))
