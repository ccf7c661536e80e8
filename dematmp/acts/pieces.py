"""What must be sent with a contract, and the typology proposed for each file: to be confirmed by a person.

CGCT L2131-2 and D2131-5-1 (threshold), R2131-5 and R2131-6 (pieces).
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

# Consultations launched from this date on → threshold in euros without tax (D2131-5-1 CGCT, which follows the
# European threshold of supplies and services of local authorities; before 2020, an amount of its own).
THRESHOLDS = (
    (date(2010, 1, 1), Decimal(193_000)),
    (date(2012, 1, 1), Decimal(200_000)),
    (date(2016, 1, 1), Decimal(209_000)),
    (date(2020, 1, 1), Decimal(214_000)),
    (date(2022, 1, 1), Decimal(215_000)),
    (date(2024, 1, 1), Decimal(221_000)),
    (date(2026, 1, 1), Decimal(216_000)),
)
THRESHOLD_KNOWN_UNTIL = date(2027, 12, 31)

# R2131-5: the piece → its typology under nature 4.
REQUIRED = {
    "11_AE": "acte d'engagement",
    "11_AP": "cahier des clauses administratives particulières",
    "11_TP": "cahier des clauses techniques particulières",
    "10_DE": "délibération autorisant à passer le contrat",
    "11_AC": "avis d'appel public à la concurrence",
    "11_RC": "règlement de la consultation",
    "11_PV": "procès-verbal de la commission",
    "11_RA": "rapport de la commission",
    "11_RP": "rapport de présentation",
    "11_AT": "attestations de l'attributaire",
}
# Words of a file's name, unaccented and in lower case, the most telling first.
_TELLS = (
    ("10_AV", r"\bavenant"),
    ("11_AV", r"\bavis\b.*\bjury"),
    ("11_RA", r"\brapport\b.*\b(cao|commission|analyse)"),
    ("11_PV", r"\b(pv|proces[ -]verbal)\b"),
    ("11_RP", r"\brapport\b.*\bpresentation"),
    ("11_JU", r"\b(rapport|note)\b.*\bjustifi"),
    ("11_AE", r"\b(acte[ -]d.?[ -]?engagement|ae|attri\s?1)\b"),
    ("11_AP", r"\b(ccap|clauses[ -]administratives)\b"),
    ("11_TP", r"\b(cctp|clauses[ -]techniques)\b"),
    ("11_RC", r"\b(rc|reglement[ -](de[ -](la[ -])?)?consultation)\b"),
    ("11_AC", r"\b(aapc|avis[ -](d.?[ -]?appel|de[ -]marche|de[ -]publicite)|boamp|joue)\b"),
    ("11_IN", r"\binvitation"),
    ("10_DE", r"\bdeliberation"),
    ("11_AT", r"\b(attestation|noti\s?[12]|dc[12]|urssaf|kbis|declaration)"),
)


@dataclass(frozen=True)
class Proposal:
    """The typology proposed for a file; `sure` is False when nothing in its name tells."""

    name: str
    typology: str
    sure: bool


def threshold(launched: date) -> Decimal | None:
    """The threshold (€ without tax) of consultations launched that day; None before 2010.

    Beyond THRESHOLD_KNOWN_UNTIL, the last known one.
    """
    known = [amount for since, amount in THRESHOLDS if since <= launched]
    return known[-1] if known else None


def is_known(launched: date) -> bool:
    """Whether the threshold of that day is published: afterwards `threshold` gives the last one that was."""
    return launched <= THRESHOLD_KNOWN_UNTIL


def periods() -> list[tuple[date, date, Decimal]]:
    """The thresholds, the latest first: since when, until when, how much."""
    ends = [since - timedelta(days=1) for since, _ in THRESHOLDS[1:]]
    known = zip(THRESHOLDS, [*ends, THRESHOLD_KNOWN_UNTIL], strict=True)
    return [(since, until, amount) for (since, amount), until in known][::-1]


def must_be_sent(
    amount: Decimal, *, launched: date, concession: bool = False, amends_sent: bool = False
) -> bool:
    """Whether a contract is sent to the control authority.

    Concessions and amendments of a contract that was sent always are, whatever their amount.
    """
    limit = threshold(launched)
    return concession or amends_sent or (limit is not None and amount >= limit)


def propose(name: str, *, default: str) -> Proposal:
    """The typology that a file's name tells, else the default of the nature."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[_.]+", " ", plain)
    for typology, tells in _TELLS:
        if re.search(tells, plain):
            return Proposal(name, typology, True)
    return Proposal(name, default, False)


def missing(typologies: list[str]) -> dict[str, str]:
    """Pieces of R2131-5 that no file of the package is said to be: typology → what it is."""
    return {code: label for code, label in REQUIRED.items() if code not in typologies}
