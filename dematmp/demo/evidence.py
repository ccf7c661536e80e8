"""What `--out DIR` holds: the evidence that others check with tools that know nothing of this project."""

import json
import shutil
from pathlib import Path

from dematmp.audit import services as journal
from dematmp.audit.keys import public_certificates
from dematmp.bids.models import Bid, Envelope
from dematmp.bids.receipts import receipt
from dematmp.consultations.models import Consultation
from dematmp.demo.files import BidFiles, Canaries
from dematmp.demo.play import Stage
from dematmp.opening.models import OpenedFile, OpeningSession
from storage.stores import object_store


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _copy_object(key: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for block in object_store().open(key):
            file.write(block)


def originals(out: Path, bids: dict[str, BidFiles]) -> None:
    """Files before sealing; an earlier, replaced version stands under depot-remplace/."""
    for slug, files in bids.items():
        home = out / "originals" / slug
        for path in files.candidature + files.offre:
            home.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, home / path.name)
        for path in files.replaced:
            (home / "depot-remplace").mkdir(exist_ok=True)
            shutil.copyfile(path, home / "depot-remplace" / path.name)


def _slug(stage: Stage, bid: Bid) -> str:
    return next(slug for slug, body in stage.bodies.items() if body == bid.bidder)


def deposits(out: Path, stage: Stage, consultation: Consultation) -> None:
    """Every envelope as stored; the proofs of each deposit, the replaced one's under deposits/replaced/."""
    store = object_store()
    latest: dict[str, Bid] = {}
    for bid in consultation.bids.order_by("received_at"):
        slug = _slug(stage, bid)
        if slug in latest:
            _proofs(out / "deposits" / "replaced", slug, latest[slug])
        latest[slug] = bid
        for envelope in Envelope.objects.filter(attempt__bid=bid).order_by("pk"):
            for key in store.list(envelope.prefix):
                _copy_object(key, out / "envelopes" / slug / str(envelope.uuid) / key.rsplit("/", 1)[1])
    for slug, bid in latest.items():
        _proofs(out / "deposits", slug, bid)


def _proofs(folder: Path, slug: str, bid: Bid) -> None:
    _write(folder / f"{slug}.record", bytes(bid.record))
    _write(folder / f"{slug}.tst", bytes(bid.token or b""))
    _write(folder / f"{slug}.receipt.json", json.dumps(receipt(bid), ensure_ascii=False, indent=1).encode())
    _write(folder / f"{slug}.receipt.pdf", bytes(bid.receipt_pdf or b""))
    _write(folder / f"{slug}.tlog-proof", bid.proof.encode())


def opened(out: Path, stage: Stage, session: OpeningSession) -> None:
    """What the committee may read, and an index of every opened file; what is not clean is never written."""
    index = {}
    for file in OpenedFile.objects.filter(opened__session=session).order_by("pk"):
        slug = _slug(stage, file.opened.envelope.attempt.bid)
        name = f"{slug}/{file.name}"
        index[name] = {
            "sha256": file.sha256,
            "size": file.size,
            "scan": file.verdict,
            "scan_detail": file.verdict_detail,
            "signature": file.signature["indication"] if file.signature else "",
            "served": file.is_served,
            "envelope": str(file.opened.envelope.uuid),
        }
        if file.is_served:
            _copy_object(file.key, out / "opened" / name)
    _write(out / "opened" / "index.json", json.dumps(index, ensure_ascii=False, indent=1).encode())
    _write(out / "minutes.json", bytes(session.minutes or b""))
    _write(out / "minutes.pdf", bytes(session.minutes_pdf or b""))


def write(
    out: Path,
    stage: Stage,
    consultation: Consultation,
    session: OpeningSession,
    bids: dict[str, BidFiles],
    canaries: Canaries,
) -> None:
    """Everything but the act; timings.json is written last by the caller."""
    originals(out, bids)
    deposits(out, stage, consultation)
    opened(out, stage, session)
    for name, pem in public_certificates().items():
        _write(out / "pki" / name, pem)
    journal.verify()
    journal.export(lambda name, content: _write(out / "journal" / name, content))
    _write(out / "canaries.txt", ("\n".join(canaries.found) + "\n").encode())
