"""The words of an act and its annexes, kept for the search, and where a word is found in them."""

import tempfile
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db.models import F, Value
from django.db.models.functions import Greatest, StrIndex, Substr

from dematmp.accounts.words import fold, words_of
from dematmp.acts.files import pieces_of
from dematmp.acts.models import Act, ActText
from dematmp.acts.pdf_text import text_of
from storage.stores import object_store

CHARS = 200_000  # of an act and its annexes together
PIECE_BYTES = 64 * 1024**2
_SECONDS = 180.0  # for all of an act: what comes after is not searched
_BEFORE, _AFTER = 80, 120  # characters shown around a word


@dataclass(frozen=True)
class Excerpt:
    """A word found in an act's text, and what is around it."""

    before: str
    word: str
    after: str


def keep_text(act: Act, *, now: datetime) -> None:
    """Read the text of an act's PDFs, once; what it says of itself comes after, found without accents.

    Raises StoreUnavailable.
    """
    found, left, until = [], CHARS, time.monotonic() + _SECONDS
    for piece in pieces_of(act):
        if left > 0 and piece.size <= PIECE_BYTES and time.monotonic() < until:
            found.append(_text_in(piece.key, left))
            left -= len(found[-1]) + 1
    itself = f"\n{act.number} {act.subject} {act.sender}"
    text = "\n".join(found)[: CHARS - len(itself)] + itself
    text = unicodedata.normalize("NFKC", text)[:CHARS]  # ligatures are two letters
    ActText.objects.get_or_create(act=act, defaults={"text": text, "folded": fold(text), "read_at": now})


def _text_in(key: str, chars: int) -> str:
    with tempfile.NamedTemporaryFile(prefix="dematmp-text-") as file:
        for block in object_store().open(key):
            file.write(block)
        file.flush()
        return text_of(Path(file.name), chars=chars)


def excerpts(acts: Iterable[Act], words: str) -> dict[int, Excerpt]:
    """For each act (by its key), the first of the words that its text has."""
    wanted, found = [act.pk for act in acts], dict[int, Excerpt]()
    for word in map(fold, words_of(words)):
        rows = ActText.objects.filter(act__in=wanted, folded__contains=word).annotate(
            at=StrIndex("folded", Value(word)),
            begins=Greatest(F("at") - _BEFORE, Value(1)),
            around=Substr("text", Greatest(F("at") - _BEFORE, Value(1)), _BEFORE + len(word) + _AFTER),
        )
        for act, at, begins, around in rows.values_list("act", "at", "begins", "around"):
            place = at - begins
            before, after = around[:place], around[place + len(word) :]
            if begins > 1:  # a word that was cut is not shown
                before = before.partition(" ")[2]
            if len(after) == _AFTER:
                after = after.rpartition(" ")[0]
            found.setdefault(act, Excerpt(before, around[place : place + len(word)], after))
    return found
