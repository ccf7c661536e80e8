"""The box of the ministry's answers over HTTPS, under an authority that the system does not know."""

from pathlib import Path

import pytest

from dematmp.acts import mailbox
from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.mailbox import box
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
        waiting = list(box(f"{url}/returns" if over_http else f"maildir://{tmp_path / 'Maildir'}").waiting())
    assert [each.raw for each in waiting] == [MAIL]
    assert "0001" in caplog.text
    assert "trop gros" in caplog.text
