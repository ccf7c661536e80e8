"""Whatever the ministry's mails carry, each message is acted upon once, and none keeps another waiting."""

import io
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from dematmp.acts import follow_ups, moves, names, returns, statuses, versions
from dematmp.acts import messages as m
from dematmp.acts.classification import shipped
from dematmp.acts.mailbox import Mail
from dematmp.acts.models import Agent, Authority, ReturnMail, Transaction
from dematmp.acts.package import members
from dematmp.acts.reading import read_envelope
from dematmp.acts.tasks import sweep_service
from dematmp.acts.writing import write, write_envelope_anomaly
from deploy.ministry import Ministry
from deploy.services.pki import TestAuthority
from storage.errors import StoreUnavailable
from storage.stores import object_store
from tests.acts.returned import (
    RECEIVED,
    acknowledged_act,
    cancellation_receipt,
    carrier,
    kept,
    letter,
    mail,
    receipt,
    sent,
    status_of,
)
from tests.acts.service import Caller, agent, posted, until
from tests.acts.test_interop import answer_to, letters

DEEP = b"From: a@b\nMIME-Version: 1.0\n" + b"Content-Type: message/rfc822\n\n" * 3000 + b"Subject: y\n\nz\n"


def test_a_mail_that_breaks_its_reader_is_put_aside_and_the_others_are_read(
    lea: Caller, ministry: Ministry, tmp_path: Path
) -> None:
    box = tmp_path / "Maildir" / "new"
    (box / "0001").write_bytes(DEEP)
    made = sent(posted(lea, "PROFOND"))
    (box / "0002").write_bytes(mail(receipt(made)).raw)
    sweep_service()
    assert status_of(made) == statuses.ACKNOWLEDGED
    assert ReturnMail.objects.exclude(error="").count() == 1
    assert list(box.iterdir()) == []


def test_a_reason_that_no_database_keeps_is_kept_all_the_same(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: bytes) -> None:
        raise LookupError("unknown encoding: \udcff\0")

    monkeypatch.setattr(returns, "attachments", broken)
    monkeypatch.setattr(returns.log, "disabled", True)  # no report of tests keeps such a trace either
    assert kept({}) == "unknown encoding: ??"


def test_a_box_that_breaks_keeps_nothing_else_waiting(
    lea: Caller, ministry: Ministry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = posted(lea, "BOITE")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boîte")

    monkeypatch.setattr(returns, "collect", broken)
    for _ in range(2):
        sweep_service()
    assert Transaction.objects.get(pk=made).status == statuses.SENT


def test_an_analysis_that_is_cut_leaves_the_mail_to_be_analysed(
    lea: Caller, town: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sent(posted(lea, "COUPEE"))
    assert kept(cancellation_receipt(made)), "it comes before what it answers"
    row, store = ReturnMail.objects.get(), returns.object_store

    def away() -> None:
        raise StoreUnavailable("absent")

    monkeypatch.setattr(returns, "object_store", away)
    with pytest.raises(StoreUnavailable):
        returns.analyse_again(row, now=timezone.now())
    monkeypatch.setattr(returns, "object_store", store)
    assert returns.put_aside(timezone.now()).get() == row


def test_mails_put_aside_are_tried_in_turn(lea: Caller, town: Authority) -> None:
    made, now = Transaction.objects.get(pk=posted(lea, "TOUR")), timezone.now()
    for rank in range(201):
        returns.keep(Mail(f"{rank}", b"From: a@b\nSubject: %d\n\nrien" % rank), now=now)
    assert kept(receipt(made)), "not sent yet"
    sent(made.pk)
    for hour in range(1, 3):
        later = now + timedelta(hours=hour)
        for row in returns.put_aside(later):
            returns.analyse_again(row, now=later)
    assert status_of(made) == statuses.ACKNOWLEDGED


def test_a_refused_message_does_not_take_the_others_of_its_mail(lea: Caller, town: Authority) -> None:
    unknown, good = sent(posted(lea, "INCONNU")), sent(posted(lea, "BON"))
    nobody = {name.replace("INCONNU", "PERDU"): data for name, data in cancellation_receipt(unknown).items()}
    files = {**nobody, **receipt(good)}
    assert "ne répond à aucune" in kept({**carrier(*files), **files})
    assert status_of(good) == statuses.ACKNOWLEDGED


def test_a_receipt_that_says_the_same_under_another_name_is_a_duplicate(lea: Caller, town: Authority) -> None:
    made = acknowledged_act(lea, "DEUXFOIS")
    files = receipt(made)
    assert kept({**carrier(*files), **files}) == ""
    assert [each.status for each in made.steps.order_by("pk")] == [1, 2, 3, 4]


def test_each_message_is_of_its_own_envelope(lea: Caller, town: Authority) -> None:
    made = sent(posted(lea, "PAIRE"))
    files = receipt(made)
    assert kept({**carrier("autre.xml", siren="987654321"), **carrier(*files), **files}) == ""
    wrong = receipt(sent(posted(lea, "FAUX")))
    assert "la même collectivité" in kept({**carrier(*wrong, siren="987654321"), **wrong})


def test_a_receipt_in_a_mail_about_several_channels_is_read(lea: Caller, town: Authority) -> None:
    made = sent(posted(lea, "CANAUX"))
    assert kept(receipt(made), body="<p>Info : le portail multi-canal évolue.</p>") == ""
    assert status_of(made) == statuses.ACKNOWLEDGED


def test_the_receipt_of_a_reply_is_for_the_letter_of_that_date(lea: Caller, town: Authority) -> None:
    act = acknowledged_act(lea, "DATES")
    first, second = date(2026, 11, 1), date(2026, 11, 10)
    replies = {}
    for day in (first, second):
        assert kept(letter(act, "3-1", day)) == ""
        asked = Transaction.objects.get(type="3", reply="", decided_on=day)
        replies[day] = sent(int(answer_to(lea, str(asked.pk), "4").split(b"\n")[1]))

    def receipt_of(day: date, serial: int) -> dict[str, bytes]:
        name = names.message(act.unique_id, "3-5", serial=serial)
        return {name: write(m.LetterReceipt("3-5", act.unique_id, day, RECEIVED))}

    assert kept(receipt_of(first, 1)) == ""
    assert [status_of(replies[day]) for day in (first, second)] == [4, 3]
    assert "20/11/2026" in kept(receipt_of(date(2026, 11, 20), 2))
    assert status_of(replies[second]) == statuses.SENT


def test_a_letter_whose_receipt_the_ministry_refuses_stays_readable_and_another_receipt_leaves(
    lea: Caller, ministry: Ministry
) -> None:
    pk = posted(lea, "ACCUSE")
    until(lambda: Transaction.objects.get(pk=pk).status == statuses.ACKNOWLEDGED)
    assert kept(letter(Transaction.objects.get(pk=pk), "4-1", date(2026, 11, 20))) == ""
    asked = Transaction.objects.get(type="4")
    until(lambda: status_of(asked) == statuses.RECEIPT_SENT)
    asked.refresh_from_db()
    former = asked.envelope_name
    archive = io.BytesIO(b"".join(object_store().open(asked.archive_key)))
    said = read_envelope(next(content.read() for _, _, content in members(archive)))
    anomaly = m.EnvelopeAnomaly(RECEIVED, "100", "erreur interne", said)
    assert kept({f"ANO_{former}": write_envelope_anomaly(anomaly)}) == ""
    assert letters(lea, pk) == [["4", "7", str(asked.pk)]]
    Transaction.objects.filter(pk=asked.pk).update(due_at=None)  # an hour later
    until(lambda: status_of(asked) == statuses.RECEIPT_SENT)
    asked.refresh_from_db()
    assert asked.envelope_name not in ("", former)
    assert answer_to(lea, str(asked.pk), "4").startswith(b"OK\n")


@pytest.mark.parametrize("states", [(12, 13), (12, 14), (20,)])
def test_an_archived_act_may_be_cancelled(
    lea: Caller, town: Authority, pki: TestAuthority, states: tuple[int, ...]
) -> None:
    made = acknowledged_act(lea, "ARCHIVE")
    out = lea.form("actes_transac_cancel.php", [("api", "1"), ("id", str(made.pk))]).content.split(b"\n")
    asked = sent(int(out[1]))
    held = pki.client(f"archiviste{states[-1]}")
    agent(town, held, role="ARCH", permission="RO")
    for each in states:
        fields = [("transaction_id", str(made.pk)), ("status_id", str(each))]
        Caller(held).form("api/actes_sae_status.php", fields)
    assert status_of(made) == states[-1]
    assert kept(cancellation_receipt(made)) == ""
    assert (status_of(made), status_of(asked)) == (statuses.CANCELLED, statuses.ACKNOWLEDGED)
    assert statuses.may_follow(statuses.NO_DOCUMENTS, statuses.CANCELLED)


def _request(now: object) -> Transaction:
    asked = follow_ups.request_classification(Agent.objects.get(), now=now)  # type: ignore[arg-type]
    return sent(asked.pk)


def test_nothing_changed_is_the_same_message_each_month(lea: Caller, town: Authority) -> None:
    now = timezone.now()
    name = names.classification_message(department="034", siren=town.siren, kind="7-3", serial=1)
    said = {name: write(m.ClassificationUnchanged(date(2019, 3, 1)))}
    for month in range(3):
        asked = _request(now + timedelta(days=31 * month))
        assert kept(said) == ""
        assert status_of(asked) == statuses.ACKNOWLEDGED
        assert kept(said) == "", "twice for one request"


def test_an_older_classification_that_comes_late_replaces_nothing(lea: Caller, town: Authority) -> None:
    now = timezone.now()
    for day in (2, 1):
        _request(now - timedelta(days=day))
    for serial, day in enumerate(("2026-11-27", "2026-11-01")):
        name = names.classification_message(department="034", siren=town.siren, kind="7-2", serial=serial + 1)
        assert kept({name: shipped().replace(b"2019-03-01", day.encode())}) == ""
    assert versions.held_date(town) == date(2026, 11, 27)


def _unnamed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same messages, from a ministry that leaves the act's identifier out."""
    return {name: re.sub(rb' actes:IDActe="[^"]*"', b"", data) for name, data in files.items()}


def test_a_receipt_without_identifier_is_that_of_its_siren_and_number(lea: Caller, town: Authority) -> None:
    other, made = sent(posted(lea, "AUTRE")), sent(posted(lea, "SANS_ID"))
    ((_, data),) = _unnamed(receipt(made)).items()
    assert b"IDActe" not in data
    files = {names.classification_message(department="034", siren=made.authority.siren, kind="1-2"): data}
    assert kept({**carrier(*files), **files}) == ""
    assert (status_of(made), status_of(other)) == (statuses.ACKNOWLEDGED, statuses.SENT)
    assert kept(receipt(made)) == "", "the same, said with it, changes nothing"
    ((_, stranger),) = _unnamed(receipt(other)).items()
    files = {names.classification_message(department="034", siren="987654321", kind="1-2"): stranger}
    assert "aucune transaction" in kept({**carrier(*files, siren="987654321"), **files})
    assert status_of(other) == statuses.SENT


def test_letters_and_cancellations_without_identifier_are_those_of_their_name(
    lea: Caller, town: Authority
) -> None:
    act = acknowledged_act(lea, "SANS_NOM")
    assert kept(_unnamed(letter(act, "3-1", date(2026, 11, 20)))) == ""
    asked = Transaction.objects.get(type="3")
    assert (asked.related, asked.unique_id) == (act, act.unique_id)
    answered = sent(int(answer_to(lea, str(asked.pk), "4").split(b"\n")[1]))
    name = names.message(act.unique_id, "3-5")
    data = write(m.LetterReceipt("3-5", act.unique_id, date(2026, 11, 20), RECEIVED))
    assert kept(_unnamed({name: data})) == ""
    assert status_of(answered) == statuses.ACKNOWLEDGED
    out = lea.form("actes_transac_cancel.php", [("api", "1"), ("id", str(act.pk))]).content.split(b"\n")
    asked = sent(int(out[1]))
    assert kept(_unnamed(cancellation_receipt(asked))) == ""
    assert status_of(act) == statuses.CANCELLED


def test_a_letter_is_answered_once_unless_the_answer_failed(lea: Caller, town: Authority) -> None:
    """The ministry expects 3-3 or 3-4, and acknowledges one (3-5)."""
    act = acknowledged_act(lea, "UNE_FOIS")
    assert kept(letter(act, "3-1", date(2026, 11, 20))) == ""
    asked = str(Transaction.objects.get(type="3", reply="").pk)
    first = int(answer_to(lea, asked, "4").split(b"\n")[1])
    for choice in ("4", "3"):
        again = answer_to(lea, asked, choice)
        assert again.startswith(b"KO\n")
        assert f"transaction {first}".encode() in again
    moves.move(first, statuses.ERROR, message="archive invalide", now=timezone.now())
    assert answer_to(lea, asked, "3").startswith(b"OK\n")
    assert Transaction.objects.filter(type="3").exclude(reply="").count() == 2
