"""The evidence of an attempt: what a company shows when nothing was deposited."""

import base64
import hashlib
import html
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader

from dematmp.audit.checkpoints import publish
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import journal_signer, seal_anchors, seal_material, timestamp_anchors
from dematmp.audit.services import canonical, prove, utc_text
from dematmp.bids.evidence import MAX_REFUSALS, evidence, evidence_pdf, note_refusal
from dematmp.bids.models import Attempt, AttemptRefusal, Bid
from dematmp.bids.services import withdraw
from signing.cli import main
from signing.client import attempt_body, load_draft
from signing.errors import ReceiptRefused, SigningError
from signing.evidence import VerifiedEvidence, is_evidence, verify_evidence
from signing.tlog import verify_proof
from signing.validation import validate
from tests.bids.test_deposit import refused
from tests.world import World


def begun(world: World, folder: Path) -> tuple[Attempt, str]:
    """An attempt whose first part was refused once and received, and nothing else of it."""
    speaker, draft = world.seal(world.publish(), folder)
    state = speaker.post("/attempts", attempt_body(draft, load_draft(draft)))
    envelope = next(path.name for path in draft.iterdir() if path.is_dir())
    data = (draft / envelope / "1.cob").read_bytes()
    path = f"/attempts/{state['attempt']}/envelopes/{envelope}/objects/1.cob/parts/1"
    digest = {"X-Part-SHA256": hashlib.sha256(data).hexdigest()}
    with refused("deposit.part-corrupt"):
        speaker.send("PUT", path, content=bytes(len(data)), headers=digest)
    speaker.send("PUT", path, content=data, headers=digest)
    with refused("deposit.incomplete"):
        speaker.finalise(draft, str(state["attempt"]))
    return Attempt.objects.get(), str(state["attempt"])


def test_an_attempt_that_deposited_nothing_is_told_part_by_part(world: World, tmp_path: Path) -> None:
    attempt, _ = begun(world, tmp_path)
    (young,) = json.loads(json.dumps(evidence(attempt, now=timezone.now())))["journal"]["entries"]
    said = "the latest checkpoint, or the rank, would tell who asks how much was written"
    assert (young["proof"], young["index"]) == (None, None), said
    publish(now=timezone.now())
    said = json.loads(json.dumps(evidence(attempt, now=timezone.now())))
    assert said["receipt"] is None
    assert said["received"]["parts"] == 1
    assert said["announced"]["parts"] == 6
    assert said["received"]["first"] == said["received"]["last"]
    assert [row["code"] for row in said["refusals"]] == ["deposit.part-corrupt", "deposit.incomplete"]
    (entry,) = said["journal"]["entries"]
    assert entry["type"] == "attempt"
    # A stranger rebuilds the leaf from the record and the nonce, and finds it under the signed checkpoint.
    record, nonce = base64.b64decode(entry["record"]), bytes.fromhex(entry["nonce"])
    leaf = canonical(
        {
            "consultation": said["consultation"]["uuid"],
            "digest": hashlib.sha256(nonce + record).hexdigest(),
            "time": entry["time"],
            "type": "attempt",
        }
    )
    assert verify_proof(entry["proof"], leaf, said["journal"]["key"])[0] == entry["index"]
    assert json.loads(record)["bytes"] == attempt.announced_bytes


def test_a_deposit_tells_its_receipt_and_its_lateness(world: World, tmp_path: Path) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    speaker, draft = world.seal(consultation, tmp_path)
    attempt = str(speaker.upload(draft)["attempt"])
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        speaker.finalise(draft, attempt)
    said = evidence(Attempt.objects.get(), now=timezone.now())
    assert said["receipt"] == {**said["receipt"], "late": True}  # type: ignore[dict-item]
    assert said["received"]["longest_silence_seconds"] is not None  # type: ignore[index]
    assert {row["type"] for row in said["journal"]["entries"]} >= {"attempt", "deposit"}  # type: ignore[index]


def test_the_pdf_is_sealed_and_drawn_whatever_happened(world: World, tmp_path: Path) -> None:
    attempt, _ = begun(world, tmp_path)
    for number in range(3):
        note_refusal(attempt, code="deposit.part-refused", message=f"№ {number} 𝄞", now=timezone.now())
    now = timezone.now()
    pdf = evidence_pdf(attempt, now=now)
    (attached,) = PdfReader(io.BytesIO(pdf)).attachments["dossier-de-preuve.json"]
    assert json.loads(attached) == json.loads(json.dumps(evidence(attempt, now=now)))
    told = [row["message"] for row in json.loads(attached)["refusals"]]
    assert told[-3:] == [f"№ {rank} 𝄞" for rank in range(3)]
    path = tmp_path / "preuve.pdf"
    path.write_bytes(pdf)
    report = validate(path, at=now, trust=[seal_material().authority])
    assert [(each.indication, each.coverage) for each in report.signatures] == [("TOTAL_PASSED", "whole")]
    path.write_bytes(
        pdf.replace(b"/Type/Catalog", b"/Type/cATALOG").replace(b"/Type /Catalog", b"/Type /cATALOG")
    )
    assert validate(path, at=now, trust=[seal_material().authority]).indication != "TOTAL_PASSED"


def judged(path: Path) -> VerifiedEvidence:
    """By somebody who has the keys that the platform publishes, and nothing else of it."""
    assert is_evidence(path)
    key = journal_signer().verifier_key
    return verify_evidence(path, journal_key=key, ca_pem=timestamp_anchors(), seal_pem=seal_anchors())


def test_a_stranger_verifies_the_dossier_and_its_seal(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    consultation = world.publish(closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path / "a")
    attempt, now, path = Attempt.objects.get(), timezone.now(), tmp_path / "dossier.pdf"
    path.write_bytes(evidence_pdf(attempt, now=now))
    young = judged(path)
    assert (young.entries, young.waiting > 0) == (0, True)
    assert any("Redemandez" in line for line in young.checked)
    publish(now=now)
    path.write_bytes(evidence_pdf(attempt, now=now))
    found = judged(path)
    assert (found.waiting, bool(found.received), found.late, bool(found.seal)) == (0, True, False, True)
    assert any("empreinte de chacune des" in line for line in found.checked)
    (tmp_path / "key").write_text(journal_signer().verifier_key)
    (tmp_path / "seals.pem").write_bytes(seal_anchors())
    trusted = ["--journal-key", str(tmp_path / "key"), "--seal-ca", str(tmp_path / "seals.pem")]
    assert main(["verify", str(path), *trusted]) == 0
    assert "le cachet du PDF porte sur tout le fichier" in capsys.readouterr().out
    plain = tmp_path / "dossier.json"
    said = json.loads(json.dumps(evidence(attempt, now=now)))
    plain.write_text(json.dumps(said))
    assert any("CACHET NON JUGÉ : aucun PDF ici" in line for line in judged(plain).checked)
    assert any(line.startswith("NON VÉRIFIÉ : que ce dossier soit entier") for line in judged(plain).checked)
    # Each of these lies alone is refused: an hour, a part, a rank, a deposit that is not told.
    part = said["envelopes"][0]["objects"][0]["parts"][0]["sha256"]
    lies = [
        {**said, "started": "2026-01-01T00:00:00.000000+00:00"},
        {**said, "receipt": {**said["receipt"], "late": True}},
        {**said, "receipt": None},
        {**said, "receipt": {**said["receipt"], "deadline": utc_text(now)}},
        {**said, "envelopes": [{**each, "lot": "9"} for each in said["envelopes"]]},
        {**said, "envelopes": [{**each, "kind": "candidature"} for each in said["envelopes"]]},
        {**said, "journal": {"entries": [{**each, "index": 7**9} for each in said["journal"]["entries"]]}},
        json.loads(json.dumps(said).replace(part, "0" * 64)),
    ]
    for lie in lies:
        plain.write_text(json.dumps(lie))
        with pytest.raises(ReceiptRefused):
            judged(plain)
    plain.write_text(json.dumps({**said, "receipt": {**said["receipt"], "withdrawn": utc_text(now)}}))
    assert any(line.startswith("NON VÉRIFIÉ : le retrait") for line in judged(plain).checked)
    withdraw(Bid.objects.get(), by=world.bidder, now=timezone.now())
    publish(now=timezone.now())
    gone = json.loads(json.dumps(evidence(Attempt.objects.get(), now=timezone.now())))
    plain.write_text(json.dumps(gone))
    assert any("retrait" in line for line in judged(plain).checked)
    plain.write_text(json.dumps({**gone, "receipt": {**gone["receipt"], "withdrawn": None}}))
    with pytest.raises(ReceiptRefused, match="retrait"):
        judged(plain)
    path.write_bytes(path.read_bytes().replace(b"/Type/Catalog", b"/Type/cATALOG") + b"\n%more\n")
    with pytest.raises(SigningError):
        judged(path)


def test_refusals_kept_are_bounded(world: World, tmp_path: Path) -> None:
    attempt, _ = begun(world, tmp_path)
    AttemptRefusal.objects.bulk_create(
        AttemptRefusal(attempt=attempt, at=timezone.now(), code="x") for _ in range(MAX_REFUSALS)
    )
    first = AttemptRefusal.objects.order_by("pk")[0]
    for code in ("y", "z"):
        note_refusal(attempt, code=code, message="", now=timezone.now())
    kept = list(AttemptRefusal.objects.order_by("pk"))
    assert len(kept) == MAX_REFUSALS
    assert kept[0] == first
    assert [each.code for each in kept[-2:]] == ["y", "z"], "those near the deadline tell the most"


def test_only_the_company_reads_its_evidence(world: World, tmp_path: Path) -> None:
    attempt, _ = begun(world, tmp_path)
    mine, theirs, buyer = Client(), Client(), Client()
    mine.force_login(world.bidder)
    theirs.force_login(world.rival_bidder)
    buyer.force_login(world.agent)
    for form in ("json", "pdf"):
        url = reverse("evidence", args=[attempt.deposit, form])
        answer = mine.get(url)
        assert answer.status_code == 200
        assert "attachment" in answer["Content-Disposition"]
        assert theirs.get(url).status_code == 404
        assert buyer.get(url).status_code in (403, 404)
    page = mine.get(reverse("deposit", args=[attempt.deposit])).content.decode()
    assert "Dossier de preuve (PDF)" in page


def test_an_entry_that_does_not_exist_has_no_proof(world: World) -> None:
    with pytest.raises(JournalBroken):
        prove(10**6)


def test_who_is_refused_before_an_attempt_exists_keeps_the_proof_of_coming(
    world: World, tmp_path: Path
) -> None:
    consultation = world.publish(world.draft(limits={"files": 1}))
    speaker, draft = world.seal(consultation, tmp_path, files={"a": b"a", "b": b"b"})
    with refused("deposit.limit-exceeded"):
        speaker.upload(draft)
    assert not Attempt.objects.exists()
    publish(now=timezone.now())
    (said,) = speaker.rows("/refusals")
    assert said["code"] == "deposit.limit-exceeded"
    entry = said["entry"]
    assert isinstance(entry, dict)
    record, nonce = base64.b64decode(entry["record"]), bytes.fromhex(entry["nonce"])
    leaf = {
        "consultation": str(consultation.uuid),
        "digest": hashlib.sha256(nonce + record).hexdigest(),
        "time": entry["time"],
        "type": "attempt-refused",
    }
    assert (
        verify_proof(str(entry["proof"]), canonical(leaf), journal_signer().verifier_key)[0] == entry["index"]
    )
    browser, rival = Client(), Client()
    browser.force_login(world.bidder)
    rival.force_login(world.rival_bidder)
    page = reverse("deposits")
    assert "Refusés avant d'avoir commencé" in html.unescape(browser.get(page).content.decode())
    assert "Refusés avant" not in rival.get(page).content.decode()
    proof = reverse("refusals-evidence", args=[world.company.uuid, "pdf"])
    assert proof in browser.get(page).content.decode()
    assert rival.get(proof).status_code == 404
    pdf = PdfReader(io.BytesIO(browser.get(proof).content))
    assert "deposit.limit-exceeded" in pdf.pages[0].extract_text()
    (attached,) = pdf.attachments["envois-refuses.json"]
    assert json.loads(attached)[0]["entry"]["proof"]
    assert speaker.fetch("/refusals.pdf").startswith(b"%PDF")
