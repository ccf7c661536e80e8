"""Pure rules of a consultation.

Procedure types, deadlines, names of files. They take the clock as an argument.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from dematmp.consultations.errors import (
    DeadlinePast,
    DocumentUnreadable,
    EmptyDocument,
    MidnightDeadline,
    NameRefused,
)

# Code → French label (Code de la commande publique, second part, book I).
PROCEDURES = {
    "MAPA-O": "Procédure adaptée ouverte (R2123-1)",
    "MAPA-R": "Procédure adaptée restreinte (R2123-1)",
    "AOO": "Appel d'offres ouvert (R2161-2 à R2161-5)",
    "AOR": "Appel d'offres restreint (R2161-6 à R2161-11)",
    "PN": "Procédure avec négociation (R2161-12 à R2161-20)",
    "DC": "Dialogue compétitif (R2161-24 à R2161-31)",
    "CONCES": "Concession (R3122-1 et suivants)",
}
DOCUMENT_KINDS = {
    "rc": "Règlement de la consultation",
    "ccap": "Cahier des clauses administratives particulières",
    "cctp": "Cahier des clauses techniques particulières",
    "prices": "Bordereau des prix",
    "plans": "Plans",
    "notice": "Avis",
    "other": "Autre pièce",
}
# In what order envelopes are opened. Offers first is allowed in open procedures (R2161-4).
OPENING_ORDERS = {
    "together": "Candidatures et offres ensemble",
    "candidature": "Candidatures d'abord, puis les offres des candidatures admises",
    "offre": "Offres d'abord, puis les candidatures des offres retenues (R2161-4)",
}
NAME_CHARS = 255


def opening_phases(kinds: Sequence[str], order: str) -> list[list[str]]:
    """The kinds of envelope opened at each phase of the session, in order."""
    if order not in kinds or len(kinds) < 2:
        return [list(kinds)]
    return [[order], [kind for kind in kinds if kind != order]]


def check_deadline(at: datetime, *, zone: str, now: datetime) -> None:
    """Refuse a deadline that is not to come, or 00:00 local time. Seconds count: 10:00 means 10:00:00."""
    if at <= now:
        raise DeadlinePast("La date limite est déjà passée.")
    if is_midnight(at, zone=zone):
        raise MidnightDeadline("Une date limite à 00:00 se lit de deux façons : début ou fin de journée.")


def is_midnight(at: datetime, *, zone: str) -> bool:
    """00:00:00 by the clocks of `zone`: no deadline falls there."""
    local = at.astimezone(ZoneInfo(zone))
    return (local.hour, local.minute, local.second) == (0, 0, 0)


def is_open(deadline: datetime | None, *, now: datetime) -> bool:
    """Open until the deadline included.

    The instant itself is on time (R2151-5 speaks of bids received after it).
    """
    return deadline is not None and now <= deadline


def clean_name(text: str) -> str:
    """The name under which a file is shown: no folder, no control character, NFC, 1 to 255 characters."""
    name = unicodedata.normalize("NFC", text)
    if not name.strip() or name in {".", ".."}:
        raise NameRefused("Ce fichier n'a pas de nom.")
    if "/" in name or "\\" in name:
        raise NameRefused("Un nom de fichier ne peut contenir de chemin (« / » ou « \\ »).")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in name):
        raise NameRefused("Ce nom de fichier contient des caractères invisibles.")
    if len(name) > NAME_CHARS:
        raise NameRefused(f"Ce nom compte {len(name)} caractères ; la limite est de {NAME_CHARS}.")
    return name


def check_not_empty(size: int, name: str) -> None:
    """Refuse a file of 0 byte."""
    if size == 0:
        raise EmptyDocument(f"Le fichier « {name} » est vide (0 octet).")


def check_pdf(head: bytes, name: str) -> None:
    """Refuse a file named .pdf that does not begin as a PDF, blanks aside (ISO 32000-2, 7.5.2)."""
    blank = b"\xef\xbb\xbf \t\r\n\x00"
    if name.lower().endswith(".pdf") and not head.lstrip(blank).startswith(b"%PDF-"):
        raise DocumentUnreadable(
            f"« {name} » n'est pas un PDF lisible : les entreprises ne pourraient pas l'ouvrir."
        )


FROZEN = (
    "file_bytes",
    "envelope_bytes",
    "files",
)  # announced at the publication: they do not change after it


def binding_limits(
    asked: Mapping[str, int], platform: Mapping[str, int], *, published: bool
) -> dict[str, int]:
    """What is checked. Of one bid, what the publication wrote: a platform that lowers its own limits refuses
    nobody who read the others."""
    frozen = {name: asked[name] for name in FROZEN if published and name in asked}
    return stricter(asked, platform) | frozen


def stricter(asked: Mapping[str, int], platform: Mapping[str, int]) -> dict[str, int]:
    """The platform's limits, and the buyer's where they are lower."""
    return {name: min(value, asked.get(name, value)) for name, value in platform.items()}
