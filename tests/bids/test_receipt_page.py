"""The printed receipt: an ordinary deposit holds on one page, whole, tagged and legible."""

import io
import json
from pathlib import Path

import pytest
from django.utils import timezone
from pypdf import PdfReader

from dematmp.bids import receipts
from dematmp.bids.models import Bid
from dematmp.bids.preflight import sentence
from dematmp.bids.receipts import receipt_pdf
from dematmp.consultations.models import Consultation
from tests.world import World

_OBJECT = (
    "Travaux de réhabilitation énergétique du groupe scolaire Jules-Ferry : isolation par l'extérieur, "
    "remplacement des menuiseries, ventilation double flux et chaufferie bois, désamiantage compris."
)
_LEAST = 7.0  # points: the smallest letters that are read on paper without effort


def ordinary(world: World) -> Consultation:
    world.buyer.name = "Communauté d'agglomération du Val de Loire et de ses environs"
    world.buyer.save()
    title = "Réhabilitation énergétique du groupe scolaire Jules-Ferry"
    return world.publish(world.draft(title=title, object=_OBJECT))


def test_an_ordinary_deposit_holds_on_one_page(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve files, one lot, two envelopes: nothing that was said is left out, nothing is too small."""
    said = sentence({"checked": 11, "codes": {"ok": 9, "pdf.password": 1, "zip.nested": 1}}, files=11)
    files = {f"piece-{number:02}.pdf": bytes(40_000 * number + 1) for number in range(11)}
    world.deposit(ordinary(world), tmp_path, files=files)
    bid = Bid.objects.get()
    assert receipts.stamp(bid, now=timezone.now())
    bid.refresh_from_db()
    monkeypatch.setattr(receipts, "checks", lambda _: [("1", "candidature", said), ("1", "offre", said)])
    reader = PdfReader(io.BytesIO(receipt_pdf(bid, now=timezone.now())))
    (page,) = reader.pages
    told = " ".join(page.extract_text().replace("’", "'").split())
    record = json.loads(bytes(bid.record))
    assert sum(len(each["objects"]) - 2 for each in record["envelopes"]) == 12
    for envelope in record["envelopes"]:
        for digest in (envelope["header"], *(each["sha256"] for each in envelope["objects"])):
            assert digest in told.replace(" ", "")
    siret = (str(world.buyer.siret), str(world.company.siret))
    for words in (bid.number, _OBJECT, world.buyer.name, *siret, said, "sha256sum", "refus", "RFC 3161"):
        assert words in told
    for words in ("Opérateur", "à l'horloge du serveur", "Date limite", "Clé du journal"):
        assert words in told
    sizes: list[float] = []

    def drawn(text: str, _: object, matrix: list[float], __: object, size: float) -> None:
        if text.strip():
            sizes.append(size * abs(matrix[3]))

    page.extract_text(visitor_text=drawn)
    assert min(sizes) >= _LEAST
    root = reader.trailer["/Root"].get_object()
    assert root["/MarkInfo"]["/Marked"]  # type: ignore[index]
    assert "/StructTreeRoot" in root  # type: ignore[operator]


def test_a_long_one_takes_the_pages_that_it_needs(world: World, tmp_path: Path) -> None:
    world.deposit(ordinary(world), tmp_path, files={f"{number}.pdf": b"x" for number in range(60)})
    reader = PdfReader(io.BytesIO(receipt_pdf(Bid.objects.get(), now=timezone.now())))
    assert len(reader.pages) > 1
    assert "page 2 / " in reader.pages[1].extract_text()
