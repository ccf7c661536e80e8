"""Names, codes and limits of ACTES messages: pure functions (cahier des charges ACTES, S2LOW's own rules)."""

import calendar
import hashlib
import re
from collections.abc import Sequence
from datetime import date, timedelta

from dematmp.acts.errors import ActRefused

NATURES = {
    "1": ("DE", "Délibérations"),
    "2": ("AR", "Actes réglementaires"),
    "3": ("AI", "Actes individuels"),
    "4": ("CC", "Contrats, conventions et avenants"),
    "5": ("BF", "Documents budgétaires et financiers"),
    "6": ("AU", "Autres"),
}
DELIBERATION, AWARD_TYPOLOGY, PROCUREMENT = "1", "99_DE", "1.1.1"
CLASSIFICATION_DATE = date(2019, 3, 1)  # version of the classification that the codes above come from
ARCHIVE_BYTES = 157_286_400
# What the prefecture writes: message → its name; those that await an answer.
LETTERS = {
    "2-1": "Courrier simple",
    "3-1": "Demande de pièces complémentaires",
    "4-1": "Lettre d'observations",
    "5-1": "Déféré au tribunal administratif",
}
AWAITED = ("3-1", "4-1")
SUBJECT_CHARS = 499
NUMBER_CHARS = 15

# Transaction statuses of S2LOW: number → label.
ERROR, POSTED, WAITING, SENT, ACKNOWLEDGED = -1, 1, 2, 3, 4
CONTRACT = "4"
# What the law gives, with the day from which it binds: here, that of the code itself (loi 96-142).
CONTROL_MONTHS = ((date(1996, 2, 24), 2),)  # CGCT L2131-6: the prefect's time, from the receipt
CONTRACT_DAYS = ((date(1996, 2, 24), 15),)  # CGCT L2131-13: contracts are sent, from their signature
STATUSES = {
    ERROR: "En erreur",
    0: "Annulé",
    POSTED: "Posté",
    WAITING: "En attente de transmission",
    SENT: "Transmis",
    ACKNOWLEDGED: "Acquittement reçu",
}
_FOLLOWS = {
    None: {ERROR, POSTED, WAITING, SENT, ACKNOWLEDGED},
    POSTED: {ERROR, WAITING, SENT, ACKNOWLEDGED},
    WAITING: {ERROR, SENT, ACKNOWLEDGED},
    SENT: {ERROR, ACKNOWLEDGED},
    ACKNOWLEDGED: {0, ERROR},  # an envelope may be refused after its receipt
}

_NUMBER = re.compile(r"(?:[A-Z0-9][A-Z0-9_]{0,13})?[A-Z0-9]")
# Départements and collectivities of the code officiel géographique (INSEE), on three characters.
DEPARTMENTS = frozenset(
    [f"{number:03}" for number in range(1, 96) if number != 20]
    + ["02A", "02B", *(f"97{number}" for number in range(1, 9)), "984", "986", "987", "988"]
)


def months_from(day: date, months: int) -> date:
    """The same day that many months later (or before), or the last of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def in_force(rule: Sequence[tuple[date, int]], on: date) -> int:
    """What a dated rule gives that day; what it first gave, for a day before."""
    return next((given for since, given in reversed(rule) if since <= on), rule[0][1])


def control_end(received: date) -> date:
    """The end of the prefect's time, as a mark."""
    return months_from(received, in_force(CONTROL_MONTHS, received))


def sending_end(signed: date) -> date:
    """The last day to send a contract."""
    return signed + timedelta(days=in_force(CONTRACT_DAYS, signed))


def control_since(today: date) -> date:
    """The first day of receipt whose two months are not over on this day."""
    first = today
    while control_end(first - timedelta(days=1)) >= today:
        first -= timedelta(days=1)
    return first


def may_follow(before: int | None, after: int) -> bool:
    """Whether a transaction may go from one status to the next (S2LOW's transitions)."""
    return after in _FOLLOWS.get(before, set())


def check_number(number: str) -> str:
    """1 to 15 characters A–Z, 0–9 or _, no _ at either end. Raises ActRefused."""
    if _NUMBER.fullmatch(number) is None:
        raise ActRefused(
            f"Le numéro d'acte « {number} » n'est pas correct : 1 à 15 caractères, A à Z, 0 à 9 ou _."
        )
    return number


def act_number(reference: str, lot: str) -> str:
    """A number from a consultation's reference and a lot.

    When too long, its end is a digest so that it stays unique.
    """
    text = re.sub(r"[^A-Z0-9]+", "_", f"{reference}_L{lot}".upper()).strip("_")
    if len(text) > NUMBER_CHARS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:5].upper()
        text = f"{text[: NUMBER_CHARS - 6].rstrip('_')}_{digest}"
    return check_number(text)


# Natures of authorities (IDCL@Nature). Others exist: two digits are enough to be one.
AUTHORITY_NATURES = {
    "11": "Conseil régional",
    "12": "Établissement public local d'enseignement (région)",
    "13": "Autre établissement public (région)",
    "14": "Société d'économie mixte locale (région)",
    "21": "Conseil départemental",
    "22": "Établissement public de santé (département)",
    "23": "Établissement public local d'enseignement (département)",
    "24": "Autre établissement public (département)",
    "25": "Société d'économie mixte locale (département)",
    "31": "Commune",
    "32": "Établissement public de santé (commune)",
    "33": "Autre établissement public (commune)",
    "34": "Société d'économie mixte locale (commune)",
    "41": "Syndicat de communes, syndicat mixte fermé",
    "42": "Syndicat mixte ouvert",
    "43": "Syndicat d'agglomération nouvelle",
    "44": "Communauté de communes",
    "45": "Communauté urbaine",
    "46": "Communauté d'agglomération",
    "47": "Société d'économie mixte locale (intercommunalité)",
    "51": "Service départemental d'incendie et de secours",
    "52": "Entente interdépartementale",
    "53": "Entente interrégionale",
    "54": "Autre société d'économie mixte locale",
    "55": "Autre",
}


def check_identity(*, siren: str, department: str, district: str, nature: str) -> None:
    """The buyer's ACTES identity is complete. Raises ActRefused."""
    complete = re.fullmatch(r"[0-9]{9}", siren) and department in DEPARTMENTS
    if not (complete and re.fullmatch(r"[0-9]", district) and re.fullmatch(r"[0-9]{2}", nature)):
        raise ActRefused(
            "L'identité ACTES de l'acheteur est incomplète ou fausse : SIREN, département (trois caractères, "
            "par exemple 034 ou 02A), arrondissement et nature."
        )


def act_identifier(*, department: str, siren: str, decided: date, number: str, nature: str) -> str:
    """`034-491011698-20171207-CL20171227_06-DE`, the act's name for ever."""
    return f"{department}-{siren}-{decided:%Y%m%d}-{number}-{NATURES[nature][0]}"
