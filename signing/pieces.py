"""Which expected pieces no file seems to bring: by the words of their names, or their initials.

It is advice, as `frontend/deposit/pieces.js` gives it on the deposit page: it never blocks a deposit.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_SMALL = frozenset(
    [
        "a",
        "au",
        "aux",
        "ce",
        "d",
        "de",
        "des",
        "du",
        "en",
        "et",
        "l",
        "la",
        "le",
        "les",
        "ou",
        "par",
        "pour",
        "sur",
        "un",
        "une",
    ]
)


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFD", text.lower())
    letters = "".join(char for char in plain if unicodedata.category(char) != "Mn")
    return [word for word in re.findall("[a-z]+[0-9]*|[0-9]+", letters) if word not in _SMALL]


def brings(name: str, title: str) -> bool:
    """Whether a file of this name looks like the piece of this title.

    Two words in three of the title are in the name, or the initials of the title are a word of the name
    (« ae.pdf » for « Acte d'engagement », « BPU-v2.xlsx » for « Bordereau des prix unitaires »).
    """
    wanted, held = _words(title), _words(name)
    if not wanted:
        return True
    joined = "".join(held)
    found = sum(1 for word in wanted if word in held or (len(word) > 3 and word in joined))
    initials = "".join(word[0] for word in wanted)
    return found * 3 >= len(wanted) * 2 or (len(initials) > 1 and initials in held)


def missing(titles: Iterable[str], names: Sequence[str]) -> list[str]:
    """The titles that no name brings, in their order."""
    return [title for title in titles if not any(brings(name, title) for name in names)]
