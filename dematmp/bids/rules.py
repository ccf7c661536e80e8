"""Which bid counts: pure functions over plain values.

R2151-5 (late bids are eliminated), R2151-6 (of several bids by one bidder only the last one received in time
is opened),
annexe 7 (late bids are received, kept sealed and flagged, never refused at the door). A buyer may admit a
late one by a reasoned decision (CE, 23 September 2021, n° 449250): it then counts as if it were in time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

COUNTS, LATE, SUPERSEDED, WITHDRAWN = "counts", "late", "superseded", "withdrawn"
_REASONS = {
    LATE: "hors délai ({article}) : reçue après la date limite, conservée scellée",
    SUPERSEDED: "remplacée (R2151-6) : seule la dernière reçue dans les délais est ouverte",
    WITHDRAWN: "retirée par l'entreprise avant la date limite",
}


def is_late(received: datetime, deadline: datetime) -> bool:
    """Late only after the instant itself: a deadline of 10:00 means 10:00:00.000, which is on time."""
    return received > deadline


def late_article(kinds: Iterable[str]) -> str:
    """What eliminates what came late: R2143-2 where there are candidatures alone, R2151-5 for an offer."""
    return "R2143-2" if set(kinds) == {"candidature"} else "R2151-5"


def reason(state: str, kind: str) -> str:
    """Why an envelope of that kind stays sealed; the empty string for one that counts."""
    return _REASONS.get(state, "").format(article=late_article([kind]))


@dataclass(frozen=True)
class Branch:
    """What the law lets a buyer do of a bid: code, sentence, article."""

    code: str
    words: str
    source: str


def decision_path(
    *,
    started: datetime,
    received: datetime,
    deadline: datetime,
    copy_in_time: bool = False,
    incident: bool = False,
    unproven: bool = False,
    prevented: bool = False,
    bytes_lost: bool = False,
    fingerprint_in_time: bool = False,
    fingerprint_of_others: bool = False,
    article: str = "R2151-5",
) -> list[Branch]:
    """The branches that are open for a bid, the first one first.

    `copy_in_time`: a backup copy of this company arrived before the deadline. `incident`: the platform
    measured itself down between the beginning of the attempt and the deadline. `unproven`: meanwhile it
    measured nothing. `prevented`: one or the other lasted until the deadline, and nobody could begin then.
    `bytes_lost`: it had received the deposit in time, and lost bytes of it.
    `fingerprint_in_time`: the digests of these very bytes were received before it; `fingerprint_of_others`:
    those of other bytes. `article`: of its kind (`late_article`).
    """
    if not is_late(received, deadline):
        words = "Reçu dans les délais : le dernier reçu est ouvert avec les autres."
        return [Branch("in-time", words, f"{article} ; R2151-6")]
    paths = []
    if started <= deadline:
        if copy_in_time:
            words = (
                "Sa copie de sauvegarde, arrivée dans les délais, peut être ouverte : l'envoi avait commencé."
            )
            paths.append(Branch("backup-copy", words, "annexe 6, article 2, II, 2°"))
        if bytes_lost:
            words = (
                "La plateforme avait reçu ce dépôt dans les délais, puis son stockage en a perdu des octets, "
                "que l'entreprise a renvoyés : le journal le prouve. Décidez de l'admettre ou de l'écarter "
                "par une décision motivée et avec un conseil juridique."
            )
            source = f"{article} ; CE, 23 septembre 2021, n° 449250 (RATP)"
            paths.append(Branch("bytes-lost", words, source))
        if unproven and not incident:
            words = (
                "La plateforme n'a rien mesuré pendant une partie de l'envoi : elle était peut-être arrêtée. "
                "Qui ne prouve pas son bon fonctionnement ne peut opposer le retard à une entreprise "
                "diligente : demandez-lui son dossier de preuve, et décidez par une décision motivée et avec "
                "un conseil juridique."
            )
            source = f"{article} ; CE, 23 septembre 2021, n° 449250 (RATP)"
            paths.append(Branch("unproven", words, source))
        if incident:
            words = (
                "La plateforme a connu une interruption entre le début de l'envoi et la date limite : "
                "demandez à l'entreprise son dossier de preuve, et décidez de l'admettre ou de l'écarter par "
                "une décision motivée et avec un conseil juridique."
            )
            source = f"{article} ; CE, 23 septembre 2021, n° 449250 (RATP)"
            paths.append(Branch("incident", words, source))
    elif prevented:
        words = (
            "Son envoi a commencé après la date limite, quand la plateforme ne marchait pas : "
            "l'entreprise n'a peut-être pas pu commencer plus tôt. Demandez-lui ce qu'elle a tenté, et "
            "décidez de l'admettre ou de l'écarter par une décision motivée et avec un conseil juridique."
        )
        paths.append(Branch("prevented", words, f"{article} ; CE, 23 septembre 2021, n° 449250 (RATP)"))
    if not paths:
        words = "Il est éliminé sans être ouvert, et l'entreprise en reçoit le motif."
        paths.append(Branch("eliminated", words, article))
    if fingerprint_in_time:
        words = (
            "L'empreinte de ces fichiers a été reçue avant la date limite : elle prouve que rien n'y a "
            "changé depuis. Ce n'est pas un dépôt : aucun texte français n'admet d'empreinte à la place de "
            "l'offre."
        )
        paths.append(Branch("fingerprint", words, f"{article} ; preuve de diligence"))
    if fingerprint_of_others:
        words = (
            "Une empreinte a été reçue avant la date limite, et ce n'est pas celle de ces fichiers : ils ont "
            "été scellés autrement depuis. Elle ne prouve rien de ce qui a été déposé."
        )
        paths.append(Branch("fingerprint-other", words, article))
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
