"""What the company's own machine said of its files before sealing them: counts and codes, nothing else.

Nothing of it is believed: it is evidence of what the company was told, kept with its receipt.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dematmp.bids.errors import PreflightRefused

# The words of each code of frontend/deposit; a code of another version is shown as it is.
LABELS = {
    "ok": "sans remarque",
    "check.unavailable": "non vérifié par la page",
    "file.empty": "fichier vide",
    "file.mismatch": "contenu autre que ce que le nom annonce",
    "file.over-antivirus": "plus de 2 Go, ce que l'antivirus n'analyse qu'archive dépliée",
    "file.over-limit": "plus que la taille permise",
    "file.timeout": "non vérifié dans le temps prévu",
    "file.unreadable": "fichier qui n'a pas pu être lu",
    "name.changed": "nom corrigé",
    "name.double-extension": "nom à double extension",
    "name.looks-like-offer": "nom d'une pièce d'offre dans la candidature",
    "name.program": "programme",
    "name.too-long": "nom trop long",
    "office.macros": "document à macros",
    "office.password": "document protégé par un mot de passe",
    "pdf.damaged": "PDF abîmé",
    "pdf.no-page": "PDF sans page",
    "pdf.password": "PDF protégé par un mot de passe",
    "pdf.too-large": "PDF trop gros pour être ouvert à la vérification",
    "pdf.truncated": "PDF incomplet",
    "pdf.unreadable": "PDF illisible",
    "zip.bomb": "archive qui se décompresse sans mesure",
    "zip.broken": "archive incomplète ou abîmée",
    "zip.damaged": "archive dont un fichier est abîmé",
    "zip.empty": "archive vide",
    "zip.nested": "archive dans une archive",
    "zip.password": "archive protégée par un mot de passe",
    "zip.program": "programme dans une archive",
    "zip.too-many": "archive de plus de 10 000 fichiers",
    "zip.zip64": "archive au format ZIP64",
}


@dataclass(frozen=True)
class Said:
    """What was said of one envelope: files that were checked, and the number of files for each code."""

    envelope: uuid.UUID
    checked: int
    codes: Mapping[str, int]


def summary(said: Iterable[Said], *, files: Mapping[uuid.UUID, int]) -> dict[str, dict[str, object]]:
    """What is kept with the attempt, by envelope. `files` has the number of files of each of its envelopes.

    Raises PreflightRefused: an envelope that is unknown or told twice, more files than the envelope holds.
    """
    kept: dict[str, dict[str, object]] = {}
    for each in said:
        if each.envelope not in files or str(each.envelope) in kept:
            raise PreflightRefused("La vérification porte sur une enveloppe qui n'est pas de ce dépôt.")
        if not 0 <= each.checked <= files[each.envelope]:
            raise PreflightRefused("La vérification annonce plus de fichiers que l'enveloppe n'en contient.")
        if not all(0 < count <= each.checked for count in each.codes.values()):
            raise PreflightRefused("La vérification annonce plus de remarques que de fichiers.")
        kept[str(each.envelope)] = {"checked": each.checked, "codes": dict(sorted(each.codes.items()))}
    return kept


def sentence(kept: object, *, files: int) -> str:
    """« 30 fichiers sur 30 : sans remarque (29), PDF illisible (1) », of what was kept of an envelope."""
    if not isinstance(kept, dict) or not kept.get("checked"):
        return "non vérifié avant scellement"
    checked, codes = int(kept["checked"]), dict(kept["codes"])
    words = [f"{LABELS.get(code, code)} ({count})" for code, count in sorted(codes.items(), key=_good_first)]
    return " : ".join(
        filter(None, [f"{checked} fichier{'s' if checked > 1 else ''} sur {files}", ", ".join(words)])
    )


def _good_first(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != "ok", item[0]
