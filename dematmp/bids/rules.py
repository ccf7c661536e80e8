"""Which bid counts: pure functions over plain values.

R2151-5 (late bids are eliminated), R2151-6 (of several bids by one bidder only the last one received in time
is opened),
annexe 7 (late bids are received, kept sealed and flagged, never refused at the door).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

COUNTS, LATE, SUPERSEDED, WITHDRAWN = "counts", "late", "superseded", "withdrawn"
REASONS = {
    LATE: "hors délai (R2151-5) : reçue après la date limite, conservée scellée",
    SUPERSEDED: "remplacée (R2151-6) : seule la dernière reçue dans les délais est ouverte",
    WITHDRAWN: "retirée par l'entreprise avant la date limite",
}


def is_late(received: datetime, deadline: datetime) -> bool:
    """Late only after the instant itself: a deadline of 10:00 means 10:00:00.000, which is on time."""
    return received > deadline


@dataclass(frozen=True)
class LatePath:
    """What the law lets a buyer do of a bid that ended after the deadline: code, sentence, article."""

    code: str
    words: str
    source: str


def late_path(
    *, started: datetime, received: datetime, deadline: datetime, copy_in_time: bool, incident: bool
) -> list[LatePath]:
    """The branches open for a late bid, the first one first; empty for a bid in time.

    `copy_in_time`: a backup copy of this company arrived before the deadline. `incident`: the platform
    measured itself down between the beginning of the attempt and the deadline.
    """
    if not is_late(received, deadline):
        return []
    paths = []
    if copy_in_time and started <= deadline:
        words = "Sa copie de sauvegarde, arrivée dans les délais, peut être ouverte : l'envoi avait commencé."
        paths.append(LatePath("backup-copy", words, "annexe 6, article 2, II, 2°"))
    if incident and started <= deadline:
        words = (
            "La plateforme a connu une interruption entre le début de l'envoi et la date limite : demandez à "
            "l'entreprise son dossier de preuve, et décidez, avec un conseil juridique."
        )
        paths.append(LatePath("incident", words, "R2151-5 ; le dysfonctionnement de la plateforme se prouve"))
    if not paths:
        words = "Elle est éliminée sans être ouverte, et l'entreprise en reçoit le motif."
        paths.append(LatePath("eliminated", words, "R2151-5"))
    return paths


@dataclass(frozen=True)
class Candidate:
    """One envelope as the rule sees it."""

    envelope: str
    bidder: str
    lot: str
    kind: str
    received: datetime
    late: bool
    withdrawn: bool = False


def states(candidates: Iterable[Candidate]) -> dict[str, str]:
    """For each envelope whether it counts, or why not.

    One that counts for each (bidder, lot, kind) at most.
    """
    result: dict[str, str] = {}
    last: dict[tuple[str, str, str], Candidate] = {}
    for candidate in sorted(candidates, key=lambda each: (each.received, each.envelope)):
        if candidate.withdrawn:
            result[candidate.envelope] = WITHDRAWN
        elif candidate.late:
            result[candidate.envelope] = LATE
        else:
            slot = (candidate.bidder, candidate.lot, candidate.kind)
            if slot in last:
                result[last[slot].envelope] = SUPERSEDED
            last[slot] = candidate
            result[candidate.envelope] = COUNTS
    return result
