"""Documents drawn by several threads of one web process at once."""

from concurrent.futures import ThreadPoolExecutor

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
