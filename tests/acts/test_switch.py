"""An act stays with the operator that has it: its numbers there are nobody else's."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from dematmp.acts import correspondence, names, timeline
from dematmp.acts import messages as m
from dematmp.acts.errors import ActRefused, GatewayUnavailable, MessageRefused, OperatorUnset
from dematmp.acts.models import Act, PrefectureLetter, Transaction, Transmission
from dematmp.acts.operators import Local, operator_for
from dematmp.acts.package import pack
from dematmp.acts.remote import Letter, Remote
from dematmp.acts.rules import ERROR
from dematmp.acts.services import transmit
from dematmp.acts.tasks import follow_transaction
from dematmp.acts.writing import write, write_envelope_anomaly
from dematmp.audit.models import Entry
from deploy.ministry import Ministry
from tests.acts.returned import RECEIVED, kept, status_of
from tests.acts.service import PDF_SENT
from tests.acts.test_acts import awarded  # noqa: F401
from tests.acts.test_desk import act, page  # noqa: F401
from tests.acts.test_uncertain import Elsewhere, asked, pieces, prepared  # noqa: F401
from tests.world import World

FORMER = "https://ancien.example.fr"


@pytest.fixture
def moved(act: Act) -> Iterator[Act]:  # noqa: F811
    """An act that a former operator acknowledged, under a number that another act has here."""
    sent = Transmission.objects.get(act=act)
    other = Transaction.objects.get(pk=sent.remote_id)
    Transaction.objects.filter(pk=other.pk).update(unique_id=act.identifier.replace("-DE", "-AR"))
    yield act


def nothing_left() -> bool:
    return not Transaction.objects.filter(type="6").exists() and not PrefectureLetter.objects.exists()


def test_an_act_of_an_operator_that_is_no_longer_set_says_so_and_touches_nothing(
    world: World, moved: Act, ministry: Ministry
) -> None:
    Transmission.objects.update(operator_url=FORMER, operator_login="agent")
    moved.refresh_from_db()
    with pytest.raises(OperatorUnset, match="ancien"):
        operator_for(moved, now=timezone.now())
    shown = page(world.validator).get(reverse("buyer-act", args=[moved.uuid])).content.decode()
    assert "n&#x27;est plus réglé pour cet acheteur" in shown
    assert page(world.validator).post(reverse("buyer-act-cancel", args=[moved.uuid])).status_code == 409
    assert nothing_left()


def test_an_act_sent_before_its_operator_was_kept_is_proved_before_anything(
    world: World, moved: Act, ministry: Ministry
) -> None:
    Transmission.objects.update(operator_url=None)
    moved.refresh_from_db()
    with pytest.raises(OperatorUnset):
        operator_for(moved, now=timezone.now())
    correspondence.set_operator(world.buyer, url=FORMER, now=timezone.now())
    assert isinstance(operator_for(moved, now=timezone.now()), Remote)
    there = Elsewhere(9)
    sent = Transmission.objects.get(act=moved)
    said = m.CancellationReceipt(moved.identifier.replace("-DE", "-AR"), RECEIVED)
    there.receipts = {sent.remote_id: write(said)}
    for verb in (
        lambda: correspondence.cancel(moved, there, now=timezone.now()),
        lambda: correspondence.read_letters(moved.pk, there, now=timezone.now()),
    ):
        with pytest.raises(MessageRefused, match="n'est pas l'acte"):
            verb()
    assert (there.posts, nothing_left()) == (0, True)


def test_the_operator_that_posted_an_act_is_kept_and_used(
    world: World,
    awarded: Any,  # noqa: F811
    ministry: Ministry,
) -> None:
    made, there = prepared(world, awarded), Elsewhere(7)
    transmit(made.pk, there, now=timezone.now())
    sent = Transmission.objects.get(act=made)
    assert (sent.operator_url, sent.operator_login) == ("https://ailleurs.example.fr", "agent")
    with pytest.raises(CommandError, match="attend son acquittement"):
        call_command("acts_operator", world.buyer.siret, forget=True)
    with pytest.raises(OperatorUnset):
        operator_for(Act.objects.get(pk=made.pk), now=timezone.now())


def test_an_act_of_this_service_stays_here_when_its_buyer_leaves(world: World, act: Act) -> None:  # noqa: F811
    correspondence.set_operator(world.buyer, url=FORMER, now=timezone.now())
    assert Transmission.objects.get(act=act).operator_url == ""
    assert isinstance(operator_for(Act.objects.get(pk=act.pk), now=timezone.now()), Local)


def test_an_act_that_nobody_received_may_leave_by_another_operator(
    world: World,
    awarded: Any,  # noqa: F811
    ministry: Ministry,
) -> None:
    made = prepared(world, awarded)
    with pytest.raises(GatewayUnavailable):
        transmit(made.pk, Elsewhere(GatewayUnavailable("absent", reached=False)), now=timezone.now())
    assert Transmission.objects.get(act=made).operator_url is None


def _reply_of(act: Act, day: date) -> bytes:  # noqa: F811
    document = "99_DE-" + names.document(act.identifier, "3-4", 1)
    said = m.Letter("3-4", act.identifier, day, (m.File(document),))
    return pack({names.message(act.identifier, "3-4"): write(said), document: PDF_SENT})


def test_a_reply_whose_answer_was_lost_is_looked_for_before_it_is_sent_again(
    asked: PrefectureLetter,  # noqa: F811
) -> None:
    now, there = timezone.now(), Elsewhere(GatewayUnavailable("perdu"), has=asked.act)
    with pytest.raises(GatewayUnavailable):
        correspondence.reply(asked, pieces(), there, choice="4", now=now)
    there.lines, there.archives = [Letter("3", 2, 101)], {101: _reply_of(asked.act, asked.written_on)}
    with pytest.raises(ActRefused, match="déjà partie"):
        correspondence.reply(asked, pieces(), there, choice="4", now=now + timedelta(minutes=32))
    asked.refresh_from_db()
    assert (there.posts, asked.reply_id) == (1, 101)


def test_a_reply_is_of_the_letter_of_its_date(asked: PrefectureLetter) -> None:  # noqa: F811
    other = PrefectureLetter.objects.get(pk=asked.pk)
    other.pk, other.remote_id, other.written_on = None, 10**6, asked.written_on + timedelta(days=9)
    other.save()
    there = Elsewhere(has=asked.act)
    there.lines, there.archives = [Letter("3", 2, 101)], {101: _reply_of(asked.act, other.written_on)}
    correspondence.read_letters(asked.act_id, there, now=timezone.now())
    asked.refresh_from_db()
    other.refresh_from_db()
    assert (asked.reply_id, other.reply_id) == (None, 101)


def test_the_receipt_is_asked_for_as_an_api_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def call(*_: object, params: dict[str, str]) -> httpx.Response:
        seen.append(params)
        return httpx.Response(200, content=b"<ARActe/>")

    monkeypatch.setattr(Remote, "_call", call)
    Remote(url=FORMER).receipt(7)
    assert seen == [{"api": "1", "id": "7"}]


def test_an_envelope_refused_after_the_receipt_reaches_the_partners(world: World, act: Act) -> None:  # noqa: F811
    made = Transaction.objects.get(pk=act.transmission.remote_id)
    said = m.EnvelopeAnomaly(RECEIVED, "100", "rejet", _envelope_of(made))
    assert kept({f"ANO_{made.envelope_name}": write_envelope_anomaly(said)}) == ""
    assert status_of(made) == ERROR
    for _ in range(2):
        follow_transaction(made.pk)
    found = Act.objects.get(pk=act.pk)
    assert found.transmission.status == ERROR
    assert timeline.situation(found, now=timezone.now()).holder == timeline.BUYER
    assert not Act.objects.under_control(timezone.localdate()).exists()
    assert found.incidents.get().detail.startswith("Enveloppe rejetée")
    assert Entry.objects.filter(kind="act-refused").count() == 1


def _envelope_of(made: Transaction) -> m.Envelope:
    from dematmp.acts.envelopes import envelope_of
    from dematmp.acts.reading import read_envelope

    return read_envelope(envelope_of(made))
