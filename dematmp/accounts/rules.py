"""SIRET and roles: pure functions."""

import unicodedata

from stdnum.exceptions import ValidationError
from stdnum.fr import siret as stdnum_siret

from dematmp.accounts.errors import SiretRefused

BUYER, COMPANY, PREFECTURE = "buyer", "company", "prefecture"
KINDS = {BUYER: "acheteur", COMPANY: "entreprise", PREFECTURE: "préfecture"}

# role → (kind of organisation that may grant it, French label)
ROLES = {
    "agent": (BUYER, "agent"),
    "validator": (BUYER, "valideur"),
    "member": (BUYER, "membre de la commission"),
    "administrator": (COMPANY, "administrateur"),
    "bidder": (COMPANY, "soumissionnaire"),
    "controller": (PREFECTURE, "contrôleur"),
}


def clean_siret(text: str) -> str:
    """The 14 digits of a SIRET (INSEE, Luhn check), spaces removed. Raises SiretRefused."""
    try:
        number = str(stdnum_siret.validate(text))
        if not int(number[:9]):
            raise ValidationError("unassigned")
        return number
    except ValidationError as refused:
        raise SiretRefused(
            "Ce numéro SIRET n'est pas valide : il compte 14 chiffres dont le dernier contrôle les autres."
        ) from refused


_TURNING = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def clean_text(text: str, *, lines: bool = False) -> str:
    """What a person typed, without the characters that documents and messages cannot bear (XML 1.0 §2.2).

    Nor those that turn a text around or hide in it: another name would be read. Line ends and tabulations are
    kept with `lines`, written as spaces without.
    """
    kept = "\n\t" if lines else ""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        char if char in kept or unicodedata.category(char) not in {"Cc", "Cs", "Cn", "Co"} else " "
        for char in text
        if char not in _TURNING
    ).strip()


# Who may invite colleagues and take roles away: kind of organisation → role.
MANAGERS = {COMPANY: "administrator", BUYER: "validator", PREFECTURE: "controller"}


def role_fits(role: str, kind: str) -> bool:
    """Whether an organisation of this kind may give this role."""
    return role in ROLES and ROLES[role][0] == kind
