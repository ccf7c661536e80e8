"""nginx as it is shipped, in front of a real gunicorn: clients that dawdle keep nobody waiting."""

import contextlib
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest

from deploy.services.nginx import Nginx
from deploy.services.pki import TestAuthority
from tests.channel import Channel
from tests.conftest import absent

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]
_DAWDLERS = 60  # gunicorn has four threads here


def test_sixty_slow_clients_do_not_hold_the_platform(channel: Channel, tmp_path: Path) -> None:
    """Each sends the head of a part and a few bytes of its body, then nothing."""
    pki = TestAuthority(tmp_path)
    front = Nginx(channel.url, pki, conf="site.conf.in")
    if reason := front.missing():
        absent(reason)
    context = ssl.create_default_context(cafile=str(pki.held.pem))
    with front, contextlib.ExitStack() as open_ones:
        assert isinstance(front, Nginx)
        head = "PUT /api/v1/attempts/x/envelopes/x/objects/1.cob/parts/1 HTTP/1.1\r\nHost: localhost\r\n"
        for _ in range(_DAWDLERS):
            plain = open_ones.enter_context(socket.create_connection(("127.0.0.1", front.port)))
            secured = open_ones.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            secured.sendall(f"{head}Content-Length: 8388608\r\n\r\n".encode() + b"x" * 100)
        started = time.monotonic()
        for _ in range(5):
            answer = httpx.get(f"{front.url}/api/v1/time", verify=context, timeout=10)
            assert answer.status_code == 200
        assert time.monotonic() - started < 10
