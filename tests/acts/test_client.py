"""Our client against our server, over TLS with a PKCS#12: all that a buyer asks of an operator elsewhere."""

import contextlib
import io
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from dematmp.acts import messages as m
from dematmp.acts import renewing
from dematmp.acts.errors import GatewayRefused, GatewayUnavailable
from dematmp.acts.fields import Piece, Posting, Upload
from dematmp.acts.models import OperatorAccount
from dematmp.acts.operators import operator_of
from dematmp.acts.package import members
from dematmp.acts.reading import read
from dematmp.acts.remote import Remote
from dematmp.audit.keys import create_keys
from deploy.services.pki import P12_PASSWORD
from tests.acts.stack import Running
from tests.world import organisation, pdf

pytestmark = pytest.mark.services
T = TypeVar("T")
_PDF = pdf()


@pytest.fixture
def remote(running: Running) -> Remote:
    return Remote(
        url=running.stack.nginx.url,
        timeout=30,
        p12=running.lea.p12.read_bytes(),
        p12_password=P12_PASSWORD,
        authority=running.stack.pki.held.pem.read_text(),
    )


def piece(name: str, typology: str) -> Piece:
    return Piece(Upload(name, len(_PDF), io.BytesIO(_PDF)), typology)


def contract(number: str) -> Posting:
    return Posting(
        nature="4",
        codes=(1, 1, 2),
        number=number,
        decided="2026-01-10",
        subject="Marché de l’œuvre – école n°2",
        main=piece("AE signé.pdf", "11_AE"),
        annexes=(piece("CCAP.pdf", "11_AP"), piece("CCTP.pdf", "11_TP")),
    )


def awaited(ask: Callable[[], T], good: Callable[[T], bool], *, seconds: float = 60) -> T:
    end = time.monotonic() + seconds
    while not good(found := ask()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def write_letter(running: Running, identifier: str, kind: str) -> None:
    """The prefecture writes, through the ministry's own door."""
    stack = running.stack
    answer = httpx.post(
        f"https://localhost:{stack.ministry_port}/letters",
        json={"identifier": identifier, "kind": kind, "text": "Il manque le rapport."},
        verify=running.context(running.lea),
    )
    assert answer.status_code == 200


def test_a_contract_is_posted_followed_answered_and_cancelled(running: Running, remote: Remote) -> None:
    pk = remote.post(contract("CLIENT_1"))
    receipt = awaited(lambda: remote.status(pk), lambda status: status.code == 4).detail
    message = read(receipt)
    assert isinstance(message, m.ActReceipt)
    assert message.act.subject == "Marché de l'oeuvre - école n°2"
    assert [each.name[:5] for each in message.act.annexes] == ["11_AP", "11_TP"]
    assert isinstance(read(remote.message(pk)), m.Act)
    write_letter(running, message.identifier, "3-1")
    letter = awaited(lambda: remote.letters(pk), bool)[0]
    archive = remote.archive(letter.transaction)
    listed = [name for name, _, _ in members(io.BytesIO(archive), strict=False)]
    assert any("-3-1_" in name for name in listed)
    reply = remote.reply(letter.transaction, [piece("rapport.pdf", "11_RP")], choice="4")
    awaited(lambda: remote.status(reply), lambda status: status.code == 4)
    remote.cancel(pk)
    awaited(lambda: remote.status(pk), lambda status: status.code == 0)


def test_the_number_of_a_lost_answer_is_found(remote: Remote) -> None:
    pk = remote.post(contract("CLIENT_2"))
    assert remote.find("CLIENT_2") == pk
    assert remote.find("JAMAIS_VU") is None
    with pytest.raises(GatewayRefused, match="même numéro interne CLIENT_2"):
        remote.post(contract("CLIENT_2"))


def test_the_classification_is_fetched_byte_for_byte_and_asked_for(remote: Remote) -> None:
    assert remote.classification() == remote.classification()

    def ask() -> int:
        with contextlib.suppress(GatewayRefused):  # the one that another test asked for is not answered yet
            return remote.request_classification()
        return 0

    pk = awaited(ask, bool)
    awaited(lambda: remote.status(pk), lambda status: status.code == 4)


def test_a_wrong_password_of_the_p12_is_told(running: Running, remote: Remote) -> None:
    remote.p12_password = "faux"
    with pytest.raises(GatewayRefused, match="PKCS#12"):
        remote.status(1)


def test_an_operator_that_is_not_there_is_not_a_refusal(remote: Remote) -> None:
    remote.url = "https://localhost:9"
    with pytest.raises(GatewayUnavailable):
        remote.status(1)


def test_what_keeps_the_connection_from_being_made_is_told(running: Running, remote: Remote) -> None:
    unknown = Remote(url=remote.url, p12=remote.p12, p12_password=P12_PASSWORD)
    with pytest.raises(GatewayUnavailable, match="certificat du serveur") as refused:
        unknown.status(1)
    assert not refused.value.reached
    with pytest.raises(GatewayUnavailable, match="400 : Certificat absent"):
        Remote(url=remote.url, authority=remote.authority).status(1)


@pytest.mark.django_db
def test_a_buyer_s_account_elsewhere_is_set_by_command_once_it_answers(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    create_keys(now=timezone.now())
    buyer = organisation("buyer", 21340172)
    given = {
        "url": running.stack.nginx.url,
        "p12": running.lea.p12,
        "authority": running.stack.pki.held.pem,
    }
    monkeypatch.setenv("DEMATMP_OPERATOR_P12_PASSWORD", "faux")
    with pytest.raises(CommandError):
        call_command("acts_operator", buyer.siret, **given)
    monkeypatch.setenv("DEMATMP_OPERATOR_P12_PASSWORD", P12_PASSWORD)
    with pytest.raises(CommandError, match="répond"):
        call_command("acts_operator", buyer.siret, **{**given, "url": "https://127.0.0.1:9"})
    assert not OperatorAccount.objects.exists()
    call_command("acts_operator", buyer.siret, **given)
    found = operator_of(buyer, now=timezone.now())
    assert isinstance(found, Remote)
    assert found.classification()
    # Its codes are asked for again each month, and not twice.
    renewing.ask(timezone.now())
    account = OperatorAccount.objects.get()
    assert account.codes_asked_at is not None
    assert not renewing.accounts_due(timezone.now()).exists()
    assert renewing.accounts_due(timezone.now() + timedelta(days=31)).exists()
    call_command("acts_operator", buyer.siret, forget=True)
    assert not OperatorAccount.objects.exists()
