"""Words as they are looked for: without case or accents."""

import unicodedata
from collections.abc import Sequence

MOST = 10  # words of one search
# What a keyboard types for it.
_TYPED = {
    "\u2019": "'",
    "\u2018": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2010": "-",
    "\u2011": "-",
}


def fold(text: str) -> str:
    """Lower case without accents; each character gives one, so that places in both are the same."""
    return "".join(_bare(each) for each in text)


def words_of(said: str) -> Sequence[str]:
    """The words of a search: a ligature or a wide form is the letters that it stands for."""
    return unicodedata.normalize("NFKC", said).split()[:MOST]


def _bare(char: str) -> str:
    if char in _TYPED:
        return _TYPED[char]
    bare = unicodedata.normalize("NFD", char)[0].lower()
    return bare if len(bare) == 1 else char
