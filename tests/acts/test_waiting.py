"""What waits says so, to the right people, in the right words, and holds nothing else."""

import socket
import threading
import time
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from dematmp.acts import ministry as gateway
from dematmp.acts import moves, rules, sending, statuses, timeline
from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.models import Act, Transaction, Transmission
from dematmp.acts.remote import Remote
from dematmp.acts.tasks import sweep, tell_alerts
from dematmp.mails.models import Mail
from tests.acts.returned import acknowledged_act, cancellation_receipt, kept, sent
from tests.acts.service import Caller, posted
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.world import World


def test_an_act_that_no_operator_takes_is_told(
    world: World,
    awarded: Any,  # noqa: F811
    service: Any,
) -> None:
    service.ACTES = {**service.ACTES, "ministry_url": ""}
    made = prepared(world, awarded)
    sweep()
    said = timeline.situation(Act.objects.get(pk=made.pk), now=timezone.now()).next
    assert said == "Aucun service de télétransmission n'est réglé pour cet acheteur."
    Transmission.objects.update(stuck_since=timezone.now() - timedelta(hours=5))
    tell_alerts()
    assert Mail.objects.filter(to=world.validator.email, body__contains="Aucun service").count() == 1


def test_a_deposit_confirmed_late_is_not_late(lea: Caller) -> None:
    pk, now = posted(lea, "CONFIRME", en_attente="1"), timezone.now()
    Transaction.objects.filter(pk=pk).update(created_at=now - timedelta(days=3))
    lea.get("actes_transac_post_confirm_api.php", id=pk, url_return="https://x.example.fr/")
    assert sending.alert(now=now + timedelta(hours=1)) == []
    assert [each.pk for each in sending.alert(now=now + timedelta(hours=5))] == [pk]


def _cancellation(lea: Caller, number: str) -> Transaction:
    act = acknowledged_act(lea, number)
    Mail.objects.all().delete()
    out = lea.form("actes_transac_cancel.php", [("api", "1"), ("id", str(act.pk))]).content.split(b"\n")
    return sent(int(out[1]))


def test_a_mail_about_a_cancellation_names_it(lea: Caller) -> None:
    asked = _cancellation(lea, "MOTS")
    sending.alert(now=timezone.now() + timedelta(hours=5))
    late = Mail.objects.first()
    assert late is not None
    assert late.subject.endswith("Annulation de l'acte MOTS attend le ministère")
    assert late.body.startswith("Annulation de l'acte MOTS : aucune réponse du ministère depuis le ")
    Mail.objects.all().delete()
    assert kept(cancellation_receipt(asked)) == ""
    bodies = set(Mail.objects.values_list("body", flat=True))
    assert all(each.startswith("Annulation de l'acte MOTS : Acquittement reçu.") for each in bodies)
    assert bodies


def test_a_late_request_for_the_codes_is_named_too(lea: Caller) -> None:
    pk = int(lea.get("actes_classification_request.php", api="1").content.split(b"\n")[1])
    moves.move(pk, statuses.WAITING, message="vérifié", now=timezone.now())
    sending.alert(now=timezone.now() + timedelta(hours=5))
    late = Mail.objects.first()
    assert late is not None
    assert late.subject.endswith("Demande de classification attend le ministère")
    assert "autre moyen" not in late.body


def test_a_ministry_that_trickles_is_cut_in_the_end(
    lea: Caller, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "TOTAL_SECONDS", 0.5)
    listening, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def trickle() -> None:
        there, _ = listening.accept()
        with there:
            there.recv(65536)
            for each in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200:
                try:
                    there.sendall(bytes([each]))
                except OSError:
                    return
                if over.wait(0.1):
                    return

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    where = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    service.ACTES = {**service.ACTES, "ministry_url": where}
    made = Transaction.objects.get(pk=posted(lea, "GOUTTES"))
    begun = time.monotonic()
    with pytest.raises(MinistryUnavailable) as lost:
        gateway.HttpMinistry().send("a.tar.gz", made.archive_key)
    assert lost.value.reached
    assert time.monotonic() - begun < 5
    over.set()
    thread.join()
    listening.close()


@pytest.mark.parametrize(
    ("received", "last"),
    [
        (date(2026, 11, 30), date(2027, 1, 30)),
        (date(2026, 12, 31), date(2027, 2, 28)),
        (date(2027, 2, 28), date(2027, 4, 28)),
        (date(2027, 3, 15), date(2027, 5, 15)),
    ],
)
def test_an_act_is_under_control_until_its_own_last_day(received: date, last: date) -> None:
    assert rules.months_from(received, 2) == last
    assert rules.control_since(last) <= received
    assert rules.control_since(last + timedelta(days=1)) > received


def test_a_list_whose_types_are_numbers_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"transactions": [{"id": 7, "number": "R1", "type": 1}]}
    monkeypatch.setattr(Remote, "_call", lambda *_, **__: httpx.Response(200, json=rows))
    assert Remote(url="https://ailleurs.example.fr").find("R1") == 7
