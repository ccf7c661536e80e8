"""A finalisation that the store takes long to follow, and a receipt compared with what was sealed."""

import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from django.utils import timezone
from pyhanko.pdf_utils.reader import PdfFileReader
from pypdf import PdfReader

from dematmp.api import bidder as door
from dematmp.audit.keys import authority_certificate, journal_signer, seal_anchors, timestamp_anchors
from dematmp.audit.services import canonical
from dematmp.bids.models import Attempt, Bid, Part, SealedObject
from dematmp.bids.tasks import sweep
from signing.client import Client, load_draft
from signing.errors import ReceiptRefused
from signing.pki import make_authority
from signing.receipt import verify_receipt
from signing.validation import validate
from tests.conftest import absent
from tests.world import World

MANY = {f"plan {number:02}.txt": b"plan" for number in range(20)}
# As the receipt prints them.
_COMPOSITE = (
    "split -b 8388608 --filter='sha256sum | cut -c1-64 | tr -d \"\\n\"' 1.cob \\\n"
    "  | tr a-f A-F | basenc --base16 -d | sha256sum"
)
_HEADER = "(printf 'pli/1 header\\0'; cat header.json) | sha256sum"


def test_a_very_large_deposit_is_put_away_in_several_answers_at_its_first_instant(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_FINALISE_SECONDS", -1.0)  # a handful of objects an answer
    waited: list[int] = []
    monkeypatch.setattr(Client, "wait", waited.append)
    speaker, draft = world.seal(world.publish(), tmp_path, files=MANY)
    attempt = str(speaker.upload(draft)["attempt"])
    digests = [
        {"envelope": envelope["envelope"], "name": each["name"], "sha256": each["sha256"]}
        for envelope in load_draft(draft)["envelopes"]  # type: ignore[attr-defined]
        for each in envelope["objects"]
    ]
    first = speaker.post(f"/attempts/{attempt}/finalise", {"objects": digests})
    assert (first["state"], first["code"]) == ("recording", "deposit.being-recorded")
    assert not Bid.objects.exists()
    receipt = speaker.finalise(draft, attempt)
    assert receipt["state"] == "in-time"
    assert receipt["received"] == first["received"]
    assert len(waited) == 2  # 25 objects, eight an answer
    assert not SealedObject.objects.filter(completed_at=None).exists()
    finalised = Attempt.objects.get().finalised_at
    assert finalised is not None
    assert datetime.fromisoformat(str(receipt["received"])) == finalised


def _bends_header(folder: Path) -> None:
    header = next(folder.glob("*/header.json"))
    header.write_bytes(header.read_bytes() + b" ")


def _bends(**more: object) -> Callable[[Path], None]:
    def bend(folder: Path) -> None:
        path = folder / "receipt.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return bend


@pytest.mark.parametrize(
    "bend",
    [
        _bends_header,
        _bends(received="2026-01-01T00:00:00.000000Z"),
        _bends(envelopes=[]),
        _bends(state="late"),
    ],
)
def test_a_receipt_of_something_else_than_what_was_sealed_here_is_refused(
    world: World, tmp_path: Path, bend: Callable[[Path], None]
) -> None:
    speaker, draft = world.seal(world.publish(), tmp_path)
    receipt = speaker.finalise(draft, str(speaker.upload(draft)["attempt"]))
    speaker.collect(str(receipt["deposit"]), draft, wait=0)
    key = journal_signer().verifier_key
    assert verify_receipt(draft, journal_key=key, ca_pem=None).sealed_here
    bend(draft)
    with pytest.raises(ReceiptRefused):
        verify_receipt(draft, journal_key=key, ca_pem=None)


def test_the_sealed_receipt_carries_all_that_verifies_it(world: World, tmp_path: Path) -> None:
    """A stranger takes the files out of the PDF with poppler, and verifies them; the seal bears its time."""
    world.deposit(world.publish(), tmp_path / "draft")
    sweep()
    pdf, out = tmp_path / "accuse.pdf", tmp_path / "pieces"
    pdf.write_bytes(bytes(Bid.objects.get().receipt_pdf or b""))
    # Each digest printed is made again by the recipe printed, from what this company sealed.
    told = " ".join("".join(page.extract_text() for page in PdfReader(pdf).pages).split())
    assert "sha256sum" in told
    assert "à l’horloge du serveur" in told
    for envelope in json.loads(bytes(Bid.objects.get().record))["envelopes"]:
        made = {each["name"]: (each["sha256"], each["size"]) for each in envelope["objects"]}
        for name, (digest, size) in {**made, "header.json": (envelope["header"], 0)}.items():
            recipe = _HEADER if name == "header.json" else _COMPOSITE.replace("1.cob", name)
            where = tmp_path / "draft" / "draft" / envelope["envelope"]
            said = subprocess.run(["sh", "-c", recipe], cwd=where, check=True, capture_output=True, text=True)
            assert said.stdout.split()[0] == digest
            assert digest in told.replace(" ", "")
            assert f"{size:_}".replace("_", "\u202f") in told
    out.mkdir()
    tool = shutil.which("pdfdetach")
    if tool is None:
        absent("poppler : il manque pdfdetach (paquet Debian : poppler-utils)")
    subprocess.run([str(tool), "-saveall", "-o", str(out), str(pdf)], check=True, capture_output=True)
    assert {each.name for each in out.iterdir()} == {
        "receipt.json",
        "record",
        "proof.tlog-proof",
        "token.tst",
    }
    verified = verify_receipt(out, journal_key=journal_signer().verifier_key, ca_pem=timestamp_anchors())
    assert verified.deposit == str(Bid.objects.get().uuid)
    assert verified.stamped
    # It says what it checked, and on whose word; the JSON is the one text of its values.
    assert [each.split(":")[0] for each in verified.trusted] == [
        "clé du journal ",
        "autorités d'horodatage données, SHA-256 " + hashlib.sha256(timestamp_anchors()).hexdigest(),
    ]
    assert any("NON COMPARÉ" in each for each in verified.checked)
    said = json.loads((out / "receipt.json").read_bytes())
    assert canonical(said) == (out / "receipt.json").read_bytes()
    assert any("nombre de parties" in each for each in verified.checked)
    assert said["timestamp"]["qualified"] is False  # the platform's own authority never is
    made = said["consultation"] | {"uuid": str(uuid.uuid4())}
    (out / "receipt.json").write_bytes(canonical(said | {"consultation": made}))
    with pytest.raises(ReceiptRefused, match="consultation"):
        verify_receipt(out, journal_key=journal_signer().verifier_key, ca_pem=None)
    twice = b'{"state":"late",' + canonical(said)[1:]
    (tmp_path / "deux.json").write_bytes(twice)
    with pytest.raises(ReceiptRefused, match="duplicate"):
        verify_receipt(tmp_path / "deux.json", journal_key=journal_signer().verifier_key, ca_pem=None)
    bare = tmp_path / "sans-jeton.json"
    bare.write_bytes(canonical(said | {"timestamp": said["timestamp"] | {"token": None}}))
    with pytest.raises(ReceiptRefused, match="jeton"):
        verify_receipt(bare, journal_key=journal_signer().verifier_key, ca_pem=None)
    for name in ("uuid", "started", "first_part", "last_part"):
        lie = said | {"attempt": said["attempt"] | {name: "2026-01-01T00:00:00.000000+00:00"}}
        (out / "receipt.json").write_bytes(canonical(lie))
        with pytest.raises(ReceiptRefused, match="tentative"):
            verify_receipt(out, journal_key=journal_signer().verifier_key, ca_pem=None)
    (out / "receipt.json").write_bytes(canonical(said))
    assert (said["attempt"]["parts"], said["attempt"]["refusals"]) == (Part.objects.count(), 0)
    key, seals = journal_signer().verifier_key, seal_anchors()
    judged = verify_receipt(pdf, journal_key=key, ca_pem=timestamp_anchors(), seal_pem=seals)
    assert (judged.deposit, bool(judged.stamped), bool(judged.seal)) == (verified.deposit, True, True)
    assert any(f"numéro {said['number']}, {said['bidder']['name']}" in each for each in judged.checked)
    (tmp_path / "accuse.json").write_bytes(canonical(said))
    alone = verify_receipt(tmp_path / "accuse.json", journal_key=key, ca_pem=timestamp_anchors())
    assert (alone.stamped, alone.seal) == (verified.stamped, "")
    shutil.copy(pdf, out / "receipt.pdf")
    assert verify_receipt(out, journal_key=key, ca_pem=None, seal_pem=seals).seal == judged.seal
    for lie, why in (
        (said | {"number": said["number"] + "-7"}, "autre dépôt"),
        (said | {"number": "AR-FAUX : authentique"}, "numéro"),
        (said | {"buyer": said["buyer"] | {"name": "Autre commune"}}, "noms"),
        (said | {"consultation": said["consultation"] | {"title": "Autre marché"}}, "noms"),
        (said | {"v": "receipt/9"}, "version"),
        (said | {"received_local": "hier"}, "champs"),
        (said | {"journal": said["journal"] | {"index": 0}}, "entrée"),
        (said | {"timestamp": said["timestamp"] | {"time": "2026-01-01T00:00:00Z"}}, "jeton"),
        (said | {"state": "admitted"}, "enregistrement"),
    ):
        (out / "receipt.json").write_bytes(canonical(lie))
        with pytest.raises(ReceiptRefused, match=why):
            verify_receipt(out, journal_key=key, ca_pem=timestamp_anchors(), seal_pem=seals)
    (out / "receipt.json").write_bytes(canonical(said))
    make_authority(tmp_path / "other", name="Une autre autorité", now=timezone.now())
    stranger = (tmp_path / "other" / "ca.pem").read_bytes()
    for spoilt, trusted in ((pdf.read_bytes(), stranger), (pdf.read_bytes() + b"\n%", seals)):
        (out / "receipt.pdf").write_bytes(spoilt)
        with pytest.raises(ReceiptRefused, match="cachet"):
            verify_receipt(out, journal_key=key, ca_pem=None, seal_pem=trusted)
    report = validate(pdf, at=timezone.now(), trust=[authority_certificate()])
    assert report.indication == "TOTAL_PASSED"
    assert b"adbe.pkcs7" not in pdf.read_bytes()
    with pdf.open("rb") as file:
        (signature,) = PdfFileReader(file).embedded_signatures
        kinds = [each["type"].native for each in signature.signer_info["unsigned_attrs"]]
    assert kinds == ["signature_time_stamp_token"]
    # Tagged, in French, on one page: what a screen reader needs outlives the seal.
    drawn = PdfReader(pdf)
    root = drawn.root_object
    assert (str(root["/Lang"])[:2], bool(root["/MarkInfo"]["/Marked"]), len(drawn.pages)) == ("fr", True, 1)
    assert root["/StructTreeRoot"]["/K"]
    shown = drawn.pages[0].extract_text().replace("\n", "")
    assert said["envelopes"][0]["header"] in shown.replace(" ", "").replace("\u200b", "")
    assert "Tentative" in shown
    assert drawn.metadata is not None
    assert drawn.metadata.title
