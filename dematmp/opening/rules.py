"""Which envelopes of a later phase are opened: pure functions over plain values (R2144-7, R2161-4)."""

from collections.abc import Mapping

ADMITTED, REJECTED = "admitted", "rejected"


def sealed_because(decided: Mapping[tuple[str, str], str], *, bidder: str, lot: str) -> str:
    """Why an envelope stays sealed, or the empty string when it is opened.

    `decided` has the decision on each envelope of the phase before, by (bidder, lot). The one of the same lot
    decides; without one, a company that has an admitted one for another lot is taken to have brought it for
    all (one candidature for several lots), unless one of them was rejected.
    """
    same = decided.get((bidder, lot))
    if same == REJECTED:
        return "rejetée par la commission pour ce lot : ce pli reste scellé"
    if same == ADMITTED:
        return ""
    others = {decision for (who, _), decision in decided.items() if who == bidder}
    if others == {ADMITTED}:
        return ""
    return "aucune autre enveloppe admise par la commission pour ce lot : ce pli reste scellé"
