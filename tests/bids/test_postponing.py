"""An extension decided in time and written a little after the deadline; what a receipt cannot say of it."""

import base64
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.checkpoints import publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import journal_signer
from dematmp.audit.models import Entry
from dematmp.audit.services import append, utc_text, verify
from dematmp.bids.evidence import evidence
from dematmp.bids.models import Attempt, Bid
from dematmp.bids.receipts import judged_since
from dematmp.bids.services import bid_state, finalise, withdraw
from dematmp.bids.verification import check_bids
from dematmp.consultations import services
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from signing.client import Client, ServerRefused, digests, load_draft
from signing.errors import ReceiptRefused
from signing.evidence import VerifiedEvidence, verify_evidence
from tests.world import World, make_world, page

MOMENT = timedelta(milliseconds=10)


def finalised_just_late(
    world: World, folder: Path, *, after: timedelta = MOMENT
) -> tuple[Consultation, Client, Path, str]:
    """Its extension was asked before the deadline, and waits for the lock that this finalisation holds."""
    made = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(made, folder)
    attempt = str(speaker.upload(draft)["attempt"])
    assert made.deadline is not None
    with time_machine.travel(made.deadline + after, tick=False):
        assert speaker.finalise(draft, attempt)["state"] == "late"
    return made, speaker, draft, attempt


def extend(world: World, made: Consultation, by: timedelta) -> None:
    assert made.deadline is not None
    at, asked = made.deadline + by, made.deadline - MOMENT
    services.set_deadline(made, at=at, by=world.agent, reason="panne", now=asked)


def test_a_bid_recorded_while_the_extension_waited_is_in_time(world: World, tmp_path: Path) -> None:
    made, _, _, _ = finalised_just_late(world, tmp_path)
    extend(world, made, timedelta(hours=2))
    bid = Bid.objects.get()
    assert (bid.late, bid.deadline, bid_state(bid)) == (False, made.deadline, "deposited")
    said = json.loads(bytes(Entry.objects.get(kind="deposit-judged", subject=bid.attempt.uuid).record))
    assert (said["late"], said["received"] < said["deadline"]) == (False, True)
    verify()
    check_bids()
    mail = Mail.objects.get(to=world.bidder.email, subject__contains="il est dans les délais")
    assert bid.number in mail.body
    shown = page(world.bidder).get(reverse("deposit", args=[bid.uuid])).content.decode()
    assert "L&#x27;accusé le dit hors délai" in shown
    assert "Dépôt reçu hors délai" not in shown
    kinds = [each["type"] for each in evidence(bid.attempt, now=timezone.now())["journal"]["entries"]]  # type: ignore[index]
    assert "deposit-judged" in kinds
    for _ in range(2):  # before the public checkpoint has the entry, then after
        path = tmp_path / "preuve.json"
        path.write_text(json.dumps(evidence(bid.attempt, now=timezone.now())))
        proven = verify_evidence(path, journal_key=journal_signer().verifier_key, ca_pem=None)
        publish(now=timezone.now())
    assert (proven.late, proven.waiting) == (False, 0)
    said = evidence(bid.attempt, now=timezone.now())
    path.write_text(json.dumps({**said, "receipt": {**said["receipt"], "late": True}}))  # type: ignore[dict-item]
    with pytest.raises(ReceiptRefused):
        verify_evidence(path, journal_key=journal_signer().verifier_key, ca_pem=None)


def _proven(said: dict[str, Any], path: Path) -> VerifiedEvidence:
    path.write_text(json.dumps(said))
    return verify_evidence(path, journal_key=journal_signer().verifier_key, ca_pem=None)


def test_an_entry_without_proof_lends_its_hour_to_nothing(world: World, tmp_path: Path) -> None:
    finalised_just_late(world, tmp_path)
    publish(now=timezone.now())
    bid, path = Bid.objects.get(), tmp_path / "preuve.json"
    said = json.loads(json.dumps(evidence(bid.attempt, now=timezone.now())))
    said["receipt"] |= {"late": False, "received": "2020-01-01T00:00:00.000000+00:00"}
    entries = said["journal"]["entries"]
    entries.append({"type": "deposit-judged", "proof": None})
    with pytest.raises(ReceiptRefused):
        _proven(said, path)
    words = {"deposit": str(bid.uuid), **{name: said["receipt"][name] for name in ("received", "late")}}
    for other in ({"deposit": str(uuid.uuid4())}, {"late": True}):
        entries[-1]["record"] = base64.b64encode(json.dumps(words | other).encode()).decode()
        with pytest.raises(ReceiptRefused):
            _proven(said, path)
    entries[-1]["record"] = base64.b64encode(json.dumps(words).encode()).decode()
    found = _proven(said, path)
    assert (found.received, found.late) == (utc_text(bid.received_at), True)
    assert any(
        each.startswith("NON VÉRIFIÉ : la réception que dit le dossier (2020") for each in found.checked
    )
    assert not any("heure de réception" in each for each in found.checked)
    said["journal"]["entries"] = [each for each in entries if each["type"] == "attempt"]
    assert (_proven(said, path).received, _proven(said, path).late) == ("", False)


def test_what_was_judged_of_another_deposit_says_nothing_of_this_one(world: World, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    made, _, _, _ = finalised_just_late(world, tmp_path / "a")
    extend(world, made, timedelta(hours=2))
    made.refresh_from_db()
    speaker, draft = world.seal(made, tmp_path / "b")
    attempt = str(speaker.upload(draft)["attempt"])
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(hours=1), tick=False):
        assert speaker.finalise(draft, attempt)["state"] == "late"
        publish(now=timezone.now())
    one, two = (
        json.loads(json.dumps(evidence(bid.attempt, now=timezone.now())))
        for bid in Bid.objects.order_by("pk")
    )
    two["journal"]["entries"] += [
        each for each in one["journal"]["entries"] if each["type"] == "deposit-judged"
    ]
    assert _proven(two, tmp_path / "preuve.json").late
    two["receipt"] |= {name: one["receipt"][name] for name in ("late", "received")}
    with pytest.raises(ReceiptRefused):
        _proven(two, tmp_path / "preuve.json")


def test_the_last_that_the_journal_says_of_a_deposit_counts_whatever_the_order_of_the_file(
    world: World, tmp_path: Path
) -> None:
    finalised_just_late(world, tmp_path)
    bid = Bid.objects.get()
    instants = {"received": utc_text(bid.received_at), "deadline": utc_text(bid.deadline)}
    first = {"deposit": str(bid.uuid), **instants, "late": True}
    for late in (True, False):
        with transaction.atomic():
            append(
                "deposit-judged",
                {**first, "late": late},
                consultation=bid.consultation.uuid,
                subject=bid.attempt.uuid,
                now=timezone.now(),
            )
    publish(now=timezone.now())
    said = json.loads(json.dumps(evidence(bid.attempt, now=timezone.now())))
    said["journal"]["entries"].reverse()
    with pytest.raises(ReceiptRefused):  # what was said first
        _proven(said, tmp_path / "preuve.json")
    said["receipt"]["late"] = False
    assert not _proven(said, tmp_path / "preuve.json").late


def test_a_row_made_in_time_without_the_journal_is_seen(world: World, tmp_path: Path) -> None:
    made, _, _, _ = finalised_just_late(world, tmp_path)
    Bid.objects.update(late=False)
    with pytest.raises(JournalBroken, match="enregistrement"):
        check_bids()
    assert made.bids.count() == 1


def test_a_bid_that_the_new_deadline_does_not_cover_stays_late(world: World, tmp_path: Path) -> None:
    made, _, _, _ = finalised_just_late(world, tmp_path, after=timedelta(hours=3))
    extend(world, made, timedelta(hours=2))
    assert Bid.objects.get().late
    assert not Entry.objects.filter(kind="deposit-judged").exists()


def test_the_very_instant_of_the_new_deadline_is_in_time(world: World, tmp_path: Path) -> None:
    made, _, _, _ = finalised_just_late(world, tmp_path, after=timedelta(hours=2))
    extend(world, made, timedelta(hours=2))
    assert not Bid.objects.get().late


def test_a_withdrawn_deposit_finalised_again_says_that_it_is_withdrawn(world: World, tmp_path: Path) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    first = speaker.finalise(draft, attempt)
    assert speaker.finalise(draft, attempt)["number"] == first["number"]
    withdraw(Bid.objects.get(), by=world.bidder, now=timezone.now())
    assert speaker.get(f"/attempts/{attempt}")["state"] == "withdrawn"
    with pytest.raises(ServerRefused, match="a été retiré le") as error:
        speaker.finalise(draft, attempt)
    assert (error.value.reason, error.value.status) == ("deposit.withdrawn", 409)
    bid = Bid.objects.get()
    assert "retiré le" in judged_since(bid)
    said = evidence(bid.attempt, now=timezone.now())
    assert bid.withdrawn_at is not None
    assert said["receipt"]["withdrawn"] == bid.withdrawn_at.isoformat(timespec="microseconds")  # type: ignore[index]
    assert [each["code"] for each in said["refusals"]] == ["deposit.withdrawn"]  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite n'a qu'un écrivain à la fois")
def test_an_extension_that_waits_for_the_row_of_a_finalisation(
    tmp_path: Path, transactional_db: None
) -> None:
    """Two real transactions: the deposit holds the row, the extension waits for it, then judges it."""
    world = make_world()
    made = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(made, tmp_path)
    attempt = Attempt.objects.get(uuid=str(speaker.upload(draft)["attempt"]))
    assert made.deadline is not None
    late, held = made.deadline + MOMENT, threading.Event()
    said = {
        (uuid.UUID(str(each["envelope"])), str(each["name"])): str(each["sha256"])
        for each in digests(load_draft(draft))
    }

    def deposit() -> None:
        with transaction.atomic():
            Consultation.every.select_for_update(no_key=True).get(pk=made.pk)
            held.set()
            until = time.monotonic() + 30
            while not _is_somebody_waiting() and time.monotonic() < until:
                time.sleep(0.05)
            assert finalise(attempt, digests=said, by=world.bidder, now=late).late
        connection.close()

    def put_off() -> None:
        assert held.wait(30)
        extend(world, made, timedelta(hours=2))
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(deposit), pool.submit(put_off)]:
            done.result(60)
    bid = Bid.objects.get(consultation=made)
    assert (bid.received_at, bid.late, bid_state(bid)) == (late, False, "deposited")
    assert Entry.objects.filter(kind="deposit-judged", subject=attempt.uuid).exists()


def _is_somebody_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])
