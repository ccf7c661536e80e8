"""The states of a transaction and which may follow which: S2LOW's numbers, labels and transitions."""

from dematmp.acts.errors import StatusRefused

ERROR, CANCELLED, POSTED, WAITING, SENT, ACKNOWLEDGED = -1, 0, 1, 2, 3, 4
VALID, REFUSED, RECEIVED, RECEIPT_SENT = 5, 6, 7, 8
IN_ARCHIVING, ARCHIVED, ARCHIVE_ERROR = 12, 13, 14
UNCONFIRMED, TO_ARCHIVE, ARCHIVE_SENDING_ERROR, LETTER, NO_DOCUMENTS = 17, 19, 20, 21, 22

LABELS = {
    ERROR: "Erreur",
    CANCELLED: "Annulé",
    POSTED: "Posté",
    WAITING: "En attente de transmission",
    SENT: "Transmis",
    ACKNOWLEDGED: "Acquittement reçu",
    VALID: "Validé",
    REFUSED: "Refusé",
    RECEIVED: "Document reçu",
    RECEIPT_SENT: "Acquittement envoyé",
    9: "Document envoyé",
    10: "Refus d'envoi",
    11: "Acquittement de document reçu",
    IN_ARCHIVING: "Envoyé au SAE",
    ARCHIVED: "Archivé par le SAE",
    ARCHIVE_ERROR: "Erreur lors de l'archivage",
    15: "Reçu par le SAE",
    16: "Détruite",
    UNCONFIRMED: "En attente d'être postée",
    18: "En attente d'être signé",
    TO_ARCHIVE: "En attente de transmission au SAE",
    ARCHIVE_SENDING_ERROR: "Erreur lors de l'envoi au SAE",
    LETTER: "Document reçu (pas d'AR)",
    NO_DOCUMENTS: "Impossible d'envoyer au SAE (documents indisponibles)",
}
# From → what may follow. None is a transaction that does not exist yet.
_FOLLOWS: dict[int | None, frozenset[int]] = {
    None: frozenset({POSTED, UNCONFIRMED, RECEIVED, LETTER}),
    UNCONFIRMED: frozenset({POSTED, REFUSED, ERROR}),  # given up by its owner, as 18 is in S2LOW
    POSTED: frozenset({WAITING, ERROR}),
    WAITING: frozenset({SENT, ERROR}),
    SENT: frozenset({ACKNOWLEDGED, ERROR}),
    ACKNOWLEDGED: frozenset({CANCELLED, VALID, REFUSED, TO_ARCHIVE, ERROR}),
    VALID: frozenset({TO_ARCHIVE, REFUSED, ERROR, CANCELLED}),
    REFUSED: frozenset({CANCELLED, ERROR}),
    RECEIVED: frozenset({RECEIPT_SENT, ERROR}),
    RECEIPT_SENT: frozenset({RECEIVED, ERROR}),  # again: the ministry refused our receipt
    LETTER: frozenset({ERROR}),
    TO_ARCHIVE: frozenset({IN_ARCHIVING, ARCHIVE_SENDING_ERROR, NO_DOCUMENTS, ERROR, CANCELLED}),
    IN_ARCHIVING: frozenset({ARCHIVED, ARCHIVE_ERROR, ERROR, CANCELLED}),
    ARCHIVE_ERROR: frozenset({VALID, REFUSED, TO_ARCHIVE, ERROR, CANCELLED}),
    ARCHIVE_SENDING_ERROR: frozenset({VALID, REFUSED, TO_ARCHIVE, ERROR, CANCELLED}),
    NO_DOCUMENTS: frozenset({TO_ARCHIVE, ERROR, CANCELLED}),
    ARCHIVED: frozenset({ERROR, CANCELLED}),  # an act may be withdrawn long after it was archived
    ERROR: frozenset(),
    CANCELLED: frozenset(),
}
# What an archiving system may say by the API: from → to.
ARCHIVING = {
    ACKNOWLEDGED: frozenset({TO_ARCHIVE, IN_ARCHIVING, ARCHIVED, ARCHIVE_ERROR, ARCHIVE_SENDING_ERROR}),
    VALID: frozenset({TO_ARCHIVE, IN_ARCHIVING, ARCHIVED, ARCHIVE_ERROR, ARCHIVE_SENDING_ERROR}),
    TO_ARCHIVE: frozenset({IN_ARCHIVING, ARCHIVED, ARCHIVE_ERROR, ARCHIVE_SENDING_ERROR}),
    IN_ARCHIVING: frozenset({TO_ARCHIVE, IN_ARCHIVING, ARCHIVED, ARCHIVE_ERROR, ARCHIVE_SENDING_ERROR}),
}
IN_FLIGHT = frozenset({POSTED, WAITING, SENT})
# The ministry had it, or may have: its files and its receipt may be read.
NOT_ANSWERED = frozenset({POSTED, WAITING, SENT})
NOTIFIED = frozenset({ERROR, ACKNOWLEDGED, RECEIVED, RECEIPT_SENT, 11, LETTER})


def may_follow(before: int | None, after: int) -> bool:
    """Whether a transaction may go from one state to the next."""
    known = _FOLLOWS.get(before, frozenset())
    return after in known or (before is not None and after in ARCHIVING.get(before, frozenset()))


def check_follows(before: int | None, after: int) -> None:
    """Raises StatusRefused for an illegal move."""
    if not may_follow(before, after):
        was = "rien" if before is None else LABELS.get(before, str(before))
        raise StatusRefused(
            f"Une transaction ne passe pas de « {was} » à « {LABELS.get(after, str(after))} »."
        )
