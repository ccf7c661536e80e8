"""Common procurement vocabulary codes (Regulation (EC) 213/2008).

Shape and divisions, without the nomenclature itself.
"""

import re

# The 45 divisions of the vocabulary of 2008; the labels and the deeper codes are imported (manage.py
# import_cpv).
DIVISIONS = frozenset(
    [
        "03",
        "09",
        "14",
        "15",
        "16",
        "18",
        "19",
        "22",
        "24",
        "30",
        "31",
        "32",
        "33",
        "34",
        "35",
        "37",
        "38",
        "39",
        "41",
        "42",
        "43",
        "44",
        "45",
        "48",
        "50",
        "51",
        "55",
        "60",
        "63",
        "64",
        "65",
        "66",
        "70",
        "71",
        "72",
        "73",
        "75",
        "76",
        "77",
        "79",
        "80",
        "85",
        "90",
        "92",
        "98",
    ]
)
_SHAPE = re.compile(r"(\d{8})(?:-(\d))?")


class CpvRefused(ValueError):
    """The text is not a code of the vocabulary."""

    code = "cpv.refused"


def clean_cpv(text: str) -> str:
    """The eight digits of a code, given with or without its check digit. Raises CpvRefused."""
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise CpvRefused("Un code CPV compte huit chiffres, par exemple 45233140.")
    if found[1][:2] not in DIVISIONS:
        raise CpvRefused(f"La division CPV {found[1][:2]} n'existe pas.")
    return found[1]
