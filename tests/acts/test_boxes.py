"""The box of the ministry's answers over HTTPS, under an authority that the system does not know."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from dematmp.acts import mailbox
from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.mailbox import box
from deploy.ministry import Server
from deploy.services.pki import TestAuthority
from tests.acts.service import ministry_in

MAIL = b"From: actes@ministere.example.fr\r\nSubject: ACTES\r\n\r\nBonjour\r\n"


def test_a_box_under_a_private_authority_is_read_over_tls(tmp_path: Path, pki: TestAuthority) -> None:
    with ministry_in(tmp_path, maildir=False, tls=pki.server("boite")) as (made, url):
        (made.returns / "0001").write_bytes(MAIL)
        good = box(f"{url}/returns?ca={pki.held.pem}")
        (mail,) = good.waiting()
        assert mail.raw == MAIL
        good.put_away(mail)
        assert list(good.waiting()) == []


def test_a_box_of_an_authority_that_nobody_knows_is_not_read(tmp_path: Path, pki: TestAuthority) -> None:
    other = TestAuthority(tmp_path / "autre")
    empty = tmp_path / "vide.pem"
    empty.write_text("")
    with ministry_in(tmp_path, maildir=False, tls=pki.server("boite")) as (_, url):
        for ca, said in (
            ("", "ne répond pas"),
            (f"?ca={other.held.pem}", "ne répond pas"),
            (f"?ca={tmp_path / 'absent.pem'}", "ne se lit pas"),
            (f"?ca={empty}", "ne se lit pas"),
        ):
            with pytest.raises(MinistryUnavailable, match=said):
                list(box(f"{url}/returns{ca}").waiting())


@pytest.mark.parametrize("over_http", [True, False])
def test_a_mail_too_big_keeps_no_other_waiting_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, over_http: bool
) -> None:
    monkeypatch.setattr(mailbox, "MAIL_BYTES", 100)
    with ministry_in(tmp_path, maildir=not over_http) as (made, url):
        folder = made.returns if over_http else tmp_path / "Maildir" / "new"
        (folder / "0001").write_bytes(MAIL * 2)
        (folder / "0002").write_bytes(MAIL)
        (folder / "0003").write_bytes(MAIL)
        opened = box(f"{url}/returns" if over_http else f"maildir://{tmp_path / 'Maildir'}")
        assert [each.raw for each in opened.waiting()] == [MAIL] * 2
        monkeypatch.setattr(mailbox, "BATCH", 1)  # those too big fill no batch
        (waiting,) = opened.waiting()
    assert waiting.handle == "0002"
    assert "0001" in caplog.text
    assert "trop gros" in caplog.text


class Unannounced(BaseHTTPRequestHandler):
    """A box of two mails: the first, of 60 MB, does not say its length."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path.endswith("/"):
            self.wfile.write(b"0001 0002")
        elif self.path.endswith("2"):
            self.wfile.write(MAIL)
        else:
            for _ in range(1000):
                self.wfile.write(MAIL * 1000)
            self.server.was_read_whole = True  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Silent."""


def test_a_mail_that_says_no_length_is_not_read_beyond_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mailbox, "MAIL_BYTES", 100_000)
    with Server(("127.0.0.1", 0), Unannounced) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (waiting,) = box(f"http://127.0.0.1:{server.server_port}/returns").waiting()
        server.shutdown()
    assert waiting.raw == MAIL
    assert not hasattr(server, "was_read_whole")
    assert "trop gros" in caplog.text
