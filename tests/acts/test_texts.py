"""The text of acts: read within limits, found without case or accents, shown where it is."""

from pathlib import Path
from urllib.parse import quote

import pytest
import typst
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from dematmp.accounts.words import fold
from dematmp.acts import pdf_text, texts
from dematmp.acts.models import Act, ActText
from dematmp.acts.tasks import sweep
from tests.acts.service import Caller, posted, state, until
from tests.world import World, page, pdf

WORDS = "Le rapport de présentation décrit l'électroménager de la cantine."
WIDE = "".join(chr(ord(each) + 0xFEE0) for each in "cantine")  # the same letters, as wide forms


def _with_text(said: str) -> bytes:
    made = typst.compile(said.encode())
    assert isinstance(made, bytes)
    return made


@pytest.fixture
def act(world: World, lea: Caller, ministry: object) -> Act:
    annex = {"acte_attachments[]": ("rapport.pdf", _with_text(WORDS)), "type_pj[]": "99_DE"}
    pk = posted(lea, **annex)
    until(lambda: state(lea, pk)[0] == 4)
    sweep()
    return Act.objects.get()


def found(world: World, words: str) -> str:
    answer = page(world.controller).get(f"{reverse('prefecture')}?mots={quote(words)}")
    return str(answer.content.decode())


def test_an_act_is_found_by_what_its_annex_says(world: World, act: Act) -> None:
    own = ("rehabilitation ecole", "RÉHABILITATION", act.number.lower())  # what the act says of itself
    for words in ("électroménager", "ELECTROMENAGER cantine", "presentation", "l'electro", WIDE, *own):
        shown = found(world, words)
        assert act.identifier in shown, words
    assert "<mark>électroménager</mark> de la cantine." in found(world, "Electromenager")
    assert act.identifier not in found(world, "électroménager piscine")


def test_an_act_whose_text_is_not_read_yet_is_found_by_its_subject(world: World, act: Act) -> None:
    ActText.objects.all().delete()
    Act.objects.update(subject="ÉLAGAGE des platanes")
    assert act.identifier in found(world, "elagage Platanes")
    assert act.identifier not in found(world, "elagage piscine")


def test_the_text_is_read_once(act: Act) -> None:
    ActText.objects.update(text="gardé", folded="garde")
    sweep()
    texts.keep_text(act, now=timezone.now())
    assert ActText.objects.get().text == "gardé"


def test_what_no_reader_can_read_gives_no_text_and_is_not_read_again(world: World, act: Act) -> None:
    ActText.objects.all().delete()
    Act.objects.update(document_size=texts.PIECE_BYTES + 1)
    act.pieces.update(size=texts.PIECE_BYTES + 1)
    sweep()
    assert ActText.objects.get().text.strip() == f"{act.number} {act.subject} {act.sender}"
    assert act.identifier in found(world, "école")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"texte",
        b"%PDF-1.7\nrien",
        pdf()[:500],
        pdf().replace(b"/Kids", b"/Kid_"),
        b"%PDF-" + b"[" * 100_000,
    ],
)
def test_a_broken_pdf_has_no_text_and_breaks_nothing(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "acte.pdf"
    path.write_bytes(data)
    assert pdf_text.text_of(path, chars=1000) == ""


def test_what_was_read_before_a_limit_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "acte.pdf"
    path.write_bytes(_with_text("Première page #pagebreak() Seconde page"))
    assert pdf_text.text_of(path, chars=1000) == "Première page Seconde page"
    assert pdf_text.text_of(path, chars=8) == "Première"


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=50))
def test_folding_keeps_every_place(text: str) -> None:
    assert len(fold(text)) == len(text)
    assert fold("Œuvre ÉTÉ ß") == "œuvre ete ß"
