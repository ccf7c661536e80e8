"""Fingerprint first: what was ready, and when; never a submission."""

import base64
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.audit.checkpoints import publish
from dematmp.audit.keys import journal_signer, timestamp_anchors
from dematmp.audit.models import Entry
from dematmp.bids.evidence import evidence, evidence_pdf
from dematmp.bids.models import Attempt, AttemptRefusal, Bid, Fingerprint, Part
from dematmp.bids.tasks import sweep
from dematmp.consultations.models import Consultation
from dematmp.web.templatetags.show import size
from signing.client import attempt_body, load_draft
from signing.committee import Committee
from signing.evidence import verify_evidence
from signing.timestamps import verify_token
from tests.bids.test_deposit import refused
from tests.world import World


@pytest.fixture
def asked(world: World) -> Consultation:
    """A consultation that asks for the fingerprint first, and closes in an hour."""
    return world.publish(world.draft(fingerprint_first=True), closes_in=timedelta(hours=1))


def begun(
    world: World, consultation: Consultation, folder: Path
) -> tuple[Committee, Path, str, list[object]]:
    speaker, draft = world.seal(consultation, folder)
    state = load_draft(draft)
    attempt = str(speaker.post("/attempts", attempt_body(draft, state))["attempt"])
    objects: list[object] = [
        {"envelope": envelope["envelope"], "name": each["name"], "sha256": each["sha256"]}
        for envelope in state["envelopes"]  # type: ignore[attr-defined]
        for each in envelope["objects"]
    ]
    return speaker, draft, attempt, objects


def test_it_is_received_and_stamped_before_the_first_byte(
    world: World, asked: Consultation, tmp_path: Path
) -> None:
    speaker, draft = world.seal(asked, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    sweep()
    made = Fingerprint.objects.get()
    first = Part.objects.order_by("received_at").first()
    assert first is not None and first.received_at is not None
    assert made.received_at < first.received_at
    record = bytes(made.record)
    token = verify_token(
        bytes(made.token or b""), digest=hashlib.sha256(record).digest(), ca_pem=timestamp_anchors()
    )
    assert token.gen_time == made.token_at
    entry = Entry.objects.get(kind="fingerprint")
    assert bytes(entry.record) == record
    assert not Bid.objects.exists()
    publish(now=timezone.now())
    path = tmp_path / "dossier.json"
    path.write_text(json.dumps(evidence(made.attempt, now=timezone.now())))
    key, anchors = journal_signer().verifier_key, timestamp_anchors()
    lines = verify_evidence(path, journal_key=key, ca_pem=anchors).checked
    assert "empreinte reçue avant les fichiers : ce que dit le journal" in lines
    assert any("le jeton d'horodatage porte sur l'empreinte" in line for line in lines)
    assert speaker.finalise(draft, attempt)["state"] == "in-time"
    kept = json.loads((draft / "fingerprint.json").read_text())
    assert base64.b64decode(kept["record"]) == record


def test_what_is_finalised_is_what_was_committed_to(
    world: World, asked: Consultation, tmp_path: Path
) -> None:
    speaker, draft, attempt, objects = begun(world, asked, tmp_path)
    path = f"/attempts/{attempt}/fingerprint"
    other = [{**objects[0], "sha256": "0" * 64}, *objects[1:]]  # type: ignore[dict-item]
    for short in (objects[1:], [], [*objects, {**objects[0], "name": "99.cob"}]):  # type: ignore[dict-item]
        with refused("deposit.fingerprint-refused"):
            speaker.post(path, {"objects": short})
    first = speaker.post(path, {"objects": other})
    assert speaker.post(path, {"objects": other}) == first
    with refused("deposit.fingerprint-refused"):
        speaker.post(path, {"objects": objects})
    speaker.upload(draft)
    with refused("deposit.fingerprint-refused"):
        speaker.finalise(draft, attempt)
    assert not Bid.objects.exists()
    assert Attempt.objects.get().finalised_at is None


def test_without_the_option_none_is_taken(world: World, tmp_path: Path) -> None:
    speaker, draft, attempt, objects = begun(world, world.publish(), tmp_path)
    with refused("deposit.fingerprint-refused"):
        speaker.post(f"/attempts/{attempt}/fingerprint", {"objects": objects})
    assert speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))["state"] == "in-time"


def test_it_is_evidence_of_a_late_bid_and_never_makes_it_on_time(
    world: World, asked: Consultation, tmp_path: Path
) -> None:
    assert asked.deadline is not None
    speaker, draft, attempt, objects = begun(world, asked, tmp_path)
    speaker.post(f"/attempts/{attempt}/fingerprint", {"objects": objects})
    assert not Bid.objects.exists()
    with time_machine.travel(asked.deadline + timedelta(minutes=3), tick=True):
        speaker.upload(draft)
        assert speaker.finalise(draft, attempt)["state"] == "late"
        found = Attempt.objects.get()
        now = asked.deadline + timedelta(minutes=4)
        said = evidence(found, now=now)["fingerprint"]
        assert isinstance(said, dict)
        assert datetime.fromisoformat(said["received"]) < asked.deadline
        assert evidence_pdf(found, now=now)[:5] == b"%PDF-"
        browser = Client()
        browser.force_login(world.agent)
        page = browser.get(reverse("buyer-registers", args=[asked.uuid])).content.decode()
        assert "ne vaut pas dépôt" in page


def test_the_buyer_s_limits_are_announced_and_checked(world: World, tmp_path: Path) -> None:
    limits = {"file_bytes": 1024**2, "files": 2}
    consultation = world.publish(world.draft(limits=limits))
    page = Client().get(reverse("consultation", args=[consultation.uuid])).content.decode()
    assert f"{size(1024**2)} au plus par fichier" in page
    assert "2 fichiers par enveloppe" in page
    speaker, draft = world.seal(consultation, tmp_path / "a", files={"f": bytes(2 * 1024**2)})
    with refused("deposit.limit-exceeded"):
        speaker.upload(draft)
    speaker, draft = world.seal(consultation, tmp_path / "b", files={str(name): b"x" for name in range(3)})
    with refused("deposit.limit-exceeded"):
        speaker.upload(draft)
    assert world.deposit(consultation, tmp_path / "c", files={"f": bytes(1024**2)})["state"] == "in-time"


def test_the_limits_hold_to_the_finalisation(world: World, tmp_path: Path) -> None:
    consultation = world.publish()
    speaker, draft = world.seal(consultation, tmp_path, files={"f": bytes(8000), "g": b"x"})
    attempt = str(speaker.upload(draft)["attempt"])
    Consultation.objects.filter(pk=consultation.pk).update(limits={"files": 1})
    assert speaker.upload(draft)["attempt"] == attempt  # begun under other limits, and resumed
    with refused("deposit.limit-exceeded"):
        speaker.finalise(draft, attempt)
    assert AttemptRefusal.objects.get(attempt__uuid=attempt).code == "deposit.limit-exceeded"
    Consultation.objects.filter(pk=consultation.pk).update(limits={})
    assert speaker.finalise(draft, attempt)["state"] == "in-time"  # nothing of it was lost


def test_what_one_company_may_send_in_all_is_bounded(world: World, tmp_path: Path, settings: object) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    assert consultation.deadline is not None
    settings.DEPOSIT_LIMITS = {**settings.DEPOSIT_LIMITS, "company_bytes": 20_000, "late_attempts": 1}  # type: ignore[attr-defined]
    world.deposit(consultation, tmp_path / "a", files={"f": bytes(8000)})
    speaker, draft = world.seal(consultation, tmp_path / "b", files={"f": bytes(8000)})
    with refused("deposit.limit-exceeded"):
        speaker.upload(draft)
    with time_machine.travel(consultation.deadline + timedelta(minutes=3), tick=True):
        assert world.deposit(consultation, tmp_path / "c", rival=True)["state"] == "late"
        speaker, draft = world.seal(consultation, tmp_path / "d", rival=True)
        with refused("deposit.too-many-begun"):
            speaker.upload(draft)
