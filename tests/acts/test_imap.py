"""The ministry's answers in a real IMAP box, over TLS: read once, kept, then deleted there."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.mailbox import Mail, box
from dematmp.acts.tasks import sweep_service
from dematmp.acts.transactions import ReturnMail, Transaction
from deploy.ministry import Ministry
from deploy.services.imap import Dovecot
from deploy.services.pki import TestAuthority
from tests.acts.service import Caller, posted
from tests.conftest import absent

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def dovecot(pki: TestAuthority) -> Iterator[Dovecot]:
    if reason := Dovecot.missing():
        absent(reason)
    made = Dovecot(pki)
    made.start()
    yield made
    made.stop()


def delivered(dovecot: Dovecot, number: int, data: bytes) -> None:
    path = dovecot.mails / "new" / f"{number}.essai"
    path.write_bytes(data)
    path.chmod(0o644)


def left(dovecot: Dovecot) -> list[Mail]:
    return list(box(dovecot.url).waiting())


def test_mails_leave_the_box_one_by_one_once_they_are_kept(
    dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mails = [b"From: m@example.fr\r\nSubject: %d\r\n\r\nbonjour\r\n" % each for each in range(3)]
    for number, data in enumerate(mails):
        delivered(dovecot, number, data)
    opened = box(dovecot.url)
    reading = opened.waiting()
    first = next(reading)
    assert first.raw == mails[0]
    opened.put_away(first)
    reading.close()  # the reader died here: the others wait
    assert [each.raw for each in left(dovecot)] == mails[1:]
    monkeypatch.setattr("dematmp.acts.imap.MAIL_BYTES", 10)
    assert left(dovecot) == []  # too big for us: they stay, and it is told
    assert caplog.text.count("trop gros") == 2
    monkeypatch.undo()
    opened = box(dovecot.url)
    for each in opened.waiting():
        opened.put_away(each)
    assert left(dovecot) == []
    with pytest.raises(MinistryUnavailable):
        opened.put_away(first)


@pytest.mark.parametrize("capability", ["", "IMAP4rev1"])
def test_what_others_marked_in_the_box_is_theirs_to_expunge(pki: TestAuthority, capability: str) -> None:
    """A server without UIDPLUS expunges all that is marked, or nothing: there, our mails are only marked."""
    if reason := Dovecot.missing():
        absent(reason)
    made = Dovecot(pki, capability=capability)
    made.start()
    try:
        theirs = made.mails / "cur" / "1.essai:2,T"
        theirs.write_bytes(b"Subject: la leur\r\n\r\n")
        theirs.chmod(0o644)
        delivered(made, 2, b"Subject: la notre\r\n\r\n")
        opened = box(made.url)
        for each in opened.waiting():
            assert b"la notre" in each.raw
            opened.put_away(each)
        assert left(made) == []
        names = sorted(path.name.partition(".")[0] for path in (made.mails / "cur").iterdir())
        assert names == (["1", "2"] if capability else ["1"])
        assert theirs.exists()
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("login", "plain"), [("mairie de d'Essai", False), ('a "b" \\ c', False), ("boîte à actes", True)]
)
def test_a_login_may_hold_any_character(
    dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, login: str, plain: bool
) -> None:
    """By AUTHENTICATE PLAIN; a server that has LOGIN alone takes those of ASCII, the others are told."""
    url = dovecot.url.replace("tdt:", quote(login, safe="") + ":")
    assert list(box(url).waiting()) == []
    monkeypatch.setattr("dematmp.acts.imap._PLAIN", "AUTH=AUCUN")
    if plain:
        with pytest.raises(MinistryUnavailable):
            list(box(url).waiting())
    else:
        assert list(box(url).waiting()) == []


@pytest.mark.parametrize("wrong", ["password", "certificate", "port", "folder", "clear"])
def test_a_box_that_does_not_answer_is_told(dovecot: Dovecot, wrong: str) -> None:
    url = {
        "password": dovecot.url.replace("tdt:", "tdt:x"),
        "certificate": dovecot.url.partition("?")[0],
        "port": "imaps://a:b@localhost:9/INBOX",
        "clear": "imap://a:b@mail.example.fr/INBOX",
        "folder": dovecot.url.replace("/INBOX", "/Absent"),
    }[wrong]
    with pytest.raises(MinistryUnavailable, match=r"IMAP|en clair"):
        list(box(url).waiting())


def test_an_act_is_acknowledged_by_a_mail_of_the_box(
    lea: Caller, ministry: Ministry, service: object, dovecot: Dovecot
) -> None:
    pk = posted(lea)
    service.ACTES = {**service.ACTES, "return_box": dovecot.url}  # type: ignore[attr-defined]
    for turn in range(20):
        sweep_service()
        for path in sorted((ministry.maildir / "new").iterdir()) if ministry.maildir else []:
            delivered(dovecot, 100 + turn, path.read_bytes())
            path.unlink()
        if Transaction.objects.get(pk=pk).status == 4:
            break
    assert Transaction.objects.get(pk=pk).status == 4
    assert left(dovecot) == []
    kept = ReturnMail.objects.get()
    assert kept.done_at is not None
