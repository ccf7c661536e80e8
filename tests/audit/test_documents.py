"""Documents drawn by several threads of one web process at once."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dematmp.accounts.rules import clean_text
from dematmp.audit.documents import render

DATA = {
    "operator": "Syndicat",
    "buyer": {"name": "Ville", "siret": "21340172201787"},
    "consultation": {"reference": "2026-01", "title": "Travaux"},
    **dict.fromkeys(("deadline", "zone", "since", "until", "last", "slowest"), "x"),
    "probes": 120,
    "succeeded": 120,
    "unmeasured": 0,
    "outages": [["a", "b"]] * 400,
}


def test_two_threads_draw_the_same_document_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: render("availability", DATA, title="Attestation"), range(12)))
    assert all(pdf.startswith(b"%PDF-") for pdf in made)


def test_a_name_that_turns_around_is_told_by_its_code_points(tmp_path: Path) -> None:
    turned = {**DATA, "buyer": {"name": "Bâtir \u202eLRAS eduarF\u202c", "siret": "21340172201787"}}
    path = tmp_path / "a.pdf"
    path.write_bytes(render("availability", turned, title="Attestation"))
    said = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "Bâtir [U+202E]LRAS eduarF[U+202C]" in said.replace("\n", " ")
    assert clean_text("Bâtir \u202eLRAS\u202c\u200b") == "Bâtir LRAS"
