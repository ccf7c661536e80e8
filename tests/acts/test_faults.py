"""Whatever fails between an authority and the ministry, nothing is lost and nothing leaves twice."""

import gzip
import io
import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from dematmp.acts import checking, moves, renewing, returns, sending
from dematmp.acts.checking import check
from dematmp.acts.errors import MessageRefused
from dematmp.acts.mailbox import Maildir
from dematmp.acts.ministry import HttpMinistry
from dematmp.acts.models import Agent, Authority, ReturnMail, Transaction, Window
from dematmp.acts.package import pack, unpack
from dematmp.acts.rules import ARCHIVE_BYTES
from dematmp.acts.tasks import renew_codes, sweep_service
from dematmp.audit.models import Entry
from dematmp.mails.models import Mail
from deploy.ministry import Ministry
from deploy.services.nginx import Nginx
from deploy.transmission import Stack
from storage.stores import object_store
from tests.acts.service import Caller, act_fields, ministry_in, multipart, posted, state, until
from tests.acts.stack import Running
from tests.acts.test_interop import letters
from tests.conftest import absent
from tests.migrated import lay_sqlite


def ready(lea: Caller, number: str = "PANNE_1") -> int:
    """An act that was checked and waits for the ministry."""
    pk = posted(lea, number)
    check(pk, now=timezone.now())
    assert state(lea, pk)[0] == 2
    return pk


def test_a_ministry_down_for_hours_costs_only_hours(lea: Caller, ministry: Ministry) -> None:
    pk = ready(lea)
    ministry.mode = "down"
    now = timezone.now()
    for hour in range(6):
        sending.send(pk, HttpMinistry(), now=now + timedelta(hours=hour))
        sending.alert(now=now + timedelta(hours=hour))
    assert state(lea, pk)[0] == 2
    assert Transaction.objects.get(pk=pk).problem == "Le ministère a répondu 503."
    assert Entry.objects.filter(kind="act-late").count() == 1
    told = Mail.objects.filter(subject__contains="PANNE_1 attend le ministère")
    assert {each.to for each in told} == {"lea.martin@ville.example.fr", "mairie@ville.example.fr"}
    assert told.count() == 2, "once each"
    ministry.mode = "normal"
    sending.send(pk, HttpMinistry(), now=now + timedelta(hours=7))
    assert state(lea, pk)[0] == 3
    assert list(ministry.received().values()) == [1]


def test_what_was_refused_is_tried_again_after_the_delay_and_not_before(
    lea: Caller, ministry: Ministry, service: Any
) -> None:
    service.ACTES = {**service.ACTES, "retry_seconds": 300.0}
    pk, now = ready(lea), timezone.now()
    ministry.mode = "down"
    sending.send(pk, HttpMinistry(), now=now)
    ministry.mode = "normal"
    sending.send(pk, HttpMinistry(), now=now + timedelta(seconds=299))
    assert ministry.received() == {}
    sending.send(pk, HttpMinistry(), now=now + timedelta(seconds=300))
    assert state(lea, pk)[0] == 3


def test_an_archive_taken_without_a_word_is_not_sent_again_before_its_answer(
    lea: Caller, ministry: Ministry
) -> None:
    pk, now = ready(lea), timezone.now()
    ministry.mode = "lost"
    sending.send(pk, HttpMinistry(), now=now)
    assert Transaction.objects.get(pk=pk).uncertain
    ministry.mode = "normal"
    sending.send(pk, HttpMinistry(), now=now + timedelta(seconds=600))
    until(lambda: state(lea, pk)[0] == 4)
    assert list(ministry.received().values()) == [1]
    steps = Transaction.objects.get(pk=pk).steps.order_by("pk")
    assert [each.status for each in steps] == [1, 2, 3, 4]


def test_a_full_window_waits_for_the_next_one(lea: Caller, ministry: Ministry) -> None:
    pk, now = ready(lea), timezone.now()
    window = Window.objects.create(begins_at=now, ends_at=now + timedelta(hours=1), rate_limit=10)
    sending.send(pk, HttpMinistry(), now=now)
    assert ministry.received() == {}
    sending.send(pk, HttpMinistry(), now=now + timedelta(hours=2))  # no window covers it: sending is free
    assert state(lea, pk)[0] == 3
    window.refresh_from_db()
    assert window.consumed == 0


def test_a_window_counts_what_left(lea: Caller, ministry: Ministry) -> None:
    pk, now = ready(lea), timezone.now()
    window = Window.objects.create(begins_at=now, ends_at=now + timedelta(hours=1), rate_limit=10**9)
    sending.send(pk, HttpMinistry(), now=now)
    window.refresh_from_db()
    assert window.consumed == Transaction.objects.get(pk=pk).archive_size


def test_mails_received_twice_change_nothing(lea: Caller, ministry: Ministry) -> None:
    ministry.mode = "twice"
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    until(lambda: ReturnMail.objects.filter(done_at__isnull=False).count() == 2)
    assert Transaction.objects.get(pk=pk).steps.filter(status=4).count() == 1
    assert not ReturnMail.objects.exclude(error="").exists()


def test_an_anomaly_after_the_acknowledgement_is_put_aside(lea: Caller, ministry: Ministry) -> None:
    ministry.mode = "late"
    pk = posted(lea)
    until(lambda: ReturnMail.objects.exclude(error="").exists())
    assert state(lea, pk)[0] == 4
    assert "qui n'en attend plus" in ReturnMail.objects.exclude(error="").get().error


def test_an_answer_about_nothing_is_put_aside_and_keeps_nobody_waiting(
    lea: Caller, ministry: Ministry
) -> None:
    ministry.mode = "wrong"
    first = posted(lea, "FAUX_1")
    until(lambda: ReturnMail.objects.exclude(error="").exists())
    ministry.mode = "normal"
    second = posted(lea, "FAUX_2")
    until(lambda: state(lea, second)[0] == 4)
    assert state(lea, first)[0] == 3


def test_a_letter_that_comes_before_the_receipt_is_read_once_the_receipt_is_there(
    lea: Caller, ministry: Ministry
) -> None:
    ministry.write_letter("034-123456789-20260110-2026_MP_001-DE", "2-1", "Avant l'heure.")
    until(lambda: ReturnMail.objects.exclude(error="").exists())
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    assert letters(lea, pk) == []
    for _ in range(2):
        renew_codes()
    assert [each[:2] for each in letters(lea, pk)] == [["2", "21"]]
    assert not ReturnMail.objects.exclude(error="").exists()


def test_the_codes_are_asked_for_each_month_where_acts_left_from_here(
    lea: Caller, town: Authority, ministry: Ministry
) -> None:
    now = timezone.now()
    values = {"name": "Plateforme", "permission": "RW", "email": "p@example.fr", "created_at": now}
    robot = Agent.objects.create(authority=town, **values)
    assert not renewing.robots_due(now).exists()  # nothing left from here
    Transaction.objects.filter(pk=posted(lea)).update(agent=robot)
    for _ in range(2):
        renewing.ask(now)
    asked = Transaction.objects.filter(type="7")
    assert asked.count() == 1
    until(lambda: asked.get().status == 4)
    assert renewing.robots_due(now + timedelta(days=31)).exists()


def test_an_answer_in_utf_8_under_a_lying_prolog_is_read(lea: Caller, ministry: Ministry) -> None:
    ministry.mode = "utf8"
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    # What clients keep byte for byte is what its prolog says.
    assert "Réhabilitation".encode("latin-1") in state(lea, pk)[1]


def test_a_multichannel_mail_is_ignored_without_noise(service: Any, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    mail = b"From: a@b.fr\r\nSubject: Acte trait\xc3\xa9 en multi-canal\r\n\r\nrien\r\n"
    (tmp_path / "new" / "1").write_bytes(mail)
    assert returns.collect(Maildir(tmp_path), now=timezone.now()) == 1
    assert ReturnMail.objects.get().done_at is not None


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.xml", ".cache", "x" * 200 + ".xml"])
def test_a_hostile_mail_is_put_aside(service: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "new").mkdir()
    head = f'Content-Disposition: attachment; filename="{name}"\r\n'
    mail = f"Content-Type: application/octet-stream\r\n{head}\r\nx"
    (tmp_path / "new" / "1").write_bytes(mail.encode())
    returns.collect(Maildir(tmp_path), now=timezone.now())
    assert ReturnMail.objects.get().error


class Killed(BaseException):
    """As kill -9: nothing in the code may catch it."""


def _kill_after(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """The step is done, and the process dies before the next one; only the first time."""
    real: Callable[..., Any] = getattr(owner, name)
    left = [1]

    def done_then_killed(*args: Any, **kwargs: Any) -> Any:
        answer = real(*args, **kwargs)
        if left[0]:
            left[0] = 0
            raise Killed
        return answer

    monkeypatch.setattr(owner, name, done_then_killed)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (checking, "_claim"),
        (sending, "_claim"),
        (HttpMinistry, "send"),
        (sending, "_sent"),
        (moves, "move"),
        (returns, "_opened"),
        (returns, "keep"),
        (Maildir, "put_away"),
    ],
)
def test_a_process_killed_after_any_step_is_completed_by_the_next(
    lea: Caller, ministry: Ministry, service: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    pk = posted(lea)
    _kill_after(monkeypatch, owner, name)
    killed = False
    for _ in range(200):
        try:
            sweep_service()
        except Killed:
            killed = True
        if killed and state(lea, pk)[0] in (1, 2) and not ministry.received():
            # It died before anything left: after the delay, and only then, it is sent.
            Transaction.objects.filter(pk=pk).update(due_at=timezone.now())
        if state(lea, pk)[0] == 4:
            break
        time.sleep(0.02)
    assert (killed, state(lea, pk)[0]) == (True, 4)
    assert list(ministry.received().values()) == [1]
    steps = Transaction.objects.get(pk=pk).steps.order_by("pk")
    assert [each.status for each in steps] == [1, 2, 3, 4]


@pytest.mark.parametrize("what", ["put_stream", "begin"])
def test_a_post_killed_before_its_row_leaves_the_number_free(
    lea: Caller, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    owner: Any = moves if what == "begin" else type(object_store())
    real = getattr(owner, what)

    def killed(*args: Any, **kwargs: Any) -> Any:
        raise Killed

    monkeypatch.setattr(owner, what, killed)
    with pytest.raises(Killed):
        lea.form("actes_transac_create.php", act_fields())
    monkeypatch.setattr(owner, what, real)
    assert not Transaction.objects.exists()
    assert posted(lea)


def archive_of(size: int) -> bytes:
    """A ready-made archive of exactly this many bytes: its PDF does not compress, gzip fills it up."""
    from dematmp.acts import messages as m
    from dematmp.acts import names
    from dematmp.acts.writing import write, write_envelope
    from tests.acts.test_messages import SAMPLE

    identifier = "034-123456789-20260110-A1-DE"
    message = names.message(identifier, "1-1")
    envelope = m.Envelope(
        "123456789", "034", "1", "31", m.Referent(), ("a@ville.example.fr",), (m.File(message),)
    )
    noise = random.Random(1).randbytes(size - 200_000)
    files = {
        "TACT--123456789--20260110-7.xml": write_envelope(envelope),
        message: write(SAMPLE),
        SAMPLE.document.name: b"%PDF-1.4\n" + noise,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT, compresslevel=0) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    whole = out.getvalue()
    # The header's file name field pads a last empty member to the byte.
    left = size - len(whole)
    empty = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * (left - 21) + b"\0" + b"\x03\0" + bytes(8)
    return whole + empty


@pytest.mark.parametrize(
    ("size", "first"), [(250_000, b"OK"), (ARCHIVE_BYTES, b"OK"), (ARCHIVE_BYTES + 1, b"KO")]
)
def test_an_archive_passes_up_to_150_mib_and_one_byte_more_does_not(
    lea: Caller, size: int, first: bytes
) -> None:
    data = archive_of(size)
    assert len(data) == size
    body = multipart([("api", "1"), ("enveloppe", ("SLO-TACT--123456789--20260110-7.tar.gz", data))])
    answer = lea.post("actes_transac_submit.php", body, "multipart/form-data; boundary=limite")
    assert answer.content.split(b"\n")[0] == first, answer.content


@pytest.mark.services
def test_workers_killed_again_and_again_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    if reason := Nginx.missing():
        absent(reason)
    soon = {"DEMATMP_ACTES_UNCERTAIN_SECONDS": "15", "DEMATMP_ACTES_CLAIM_SECONDS": "15"}
    lay_sqlite(tmp_path / "state" / "dematmp.sqlite3")
    stack = Stack(tmp_path, delay=0.2, worker=False, **soon)
    lea = stack.pki.client("lea")
    try:
        stack.start()
        stack.account(lea)
        speaker = Running.__new__(Running)
        speaker.stack = stack
        with speaker.client(lea) as client:
            pks = [_post(client, f"TUE_{n}") for n in range(5)]
            for wait in (4.0, 6.0, 5.0):
                worker = stack.start_worker()
                time.sleep(wait)  # how long it lives is the fault itself
                _kill(worker)
            stack.start_worker()
            end = time.monotonic() + 120
            while (states := [_state(client, pk) for pk in pks]) != [4] * len(pks):
                assert time.monotonic() < end, states
                time.sleep(0.5)
        answer = httpx.get(f"https://localhost:{stack.ministry_port}/received", verify=speaker.context(lea))
        assert list(answer.json().values()) == [1] * len(pks)
    finally:
        stack.stop()


def _post(client: httpx.Client, number: str) -> int:
    answer = client.post(
        "/modules/actes/actes_transac_create.php",
        content=multipart(act_fields(number)),
        headers={"Content-Type": "multipart/form-data; boundary=limite"},
    )
    assert answer.content.startswith(b"OK\n"), answer.content
    return int(answer.content.split(b"\n")[1])


def _state(client: httpx.Client, pk: int) -> int:
    body = client.get("/modules/actes/actes_transac_get_status.php", params={"transaction": pk}).content
    return int(body.split(b"\n")[1])


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_answers_are_also_fetched_over_http(lea: Caller, service: Any, tmp_path: Path) -> None:
    with ministry_in(tmp_path, maildir=False) as (made, url):
        service.ACTES = {**service.ACTES, "ministry_url": url, "return_box": f"{url}/returns"}
        pk = posted(lea)
        until(lambda: state(lea, pk)[0] == 4)
        assert list(made.returns.iterdir()) == []


def test_a_mail_that_breaks_the_parser_keeps_nobody_waiting(
    lea: Caller, ministry: Ministry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Maildir" / "new" / "0").write_bytes(b"Content-Type: text/plain; charset=x\r\n\r\n\xff\xfe")
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    assert ReturnMail.objects.exclude(error="").count() == 1


def test_an_archive_cut_inside_a_file_is_answered_ko(lea: Caller) -> None:
    """Its gzip is whole and its tar is not: only reading the file tells."""
    whole = gzip.decompress(pack({"034-123456789-20260110-N1-DE-1-1_0.xml": b"<a/>" * 300}))
    data = gzip.compress(whole[:700])
    with pytest.raises(MessageRefused):
        unpack(data)
    fields: list[tuple[str, object]] = [
        ("api", "1"),
        ("enveloppe", ("SLO-TACT--123456789--20260110-7.tar.gz", data)),
    ]
    answer = lea.form("actes_transac_submit.php", fields)
    assert (answer.status_code, answer.content.split(b"\n")[0]) == (200, b"KO")
    assert b"lisible" in answer.content
