"""What may be refused about keys and openings."""

from typing import ClassVar


class OpeningError(Exception):
    """Root of this room's errors.

    `str()` is the French sentence, `next` the step to take, `facts` go into the JSON.
    """

    code: ClassVar[str] = "opening.error"
    status: ClassVar[int] = 409
    next: str = "Rechargez la page pour voir où en est la séance."

    def __init__(self, message: str, next_step: str = "", **facts: object) -> None:
        super().__init__(message)
        self.facts = facts
        if next_step:
            self.next = next_step


class CeremonyRefused(OpeningError):
    """The ceremony is not at this step, or its record does not match the platform's own rows."""

    code = "ceremony.refused"
    next = "Recommencez la cérémonie avec les membres de la commission."


class BeforeDeadline(OpeningError):
    """Nobody opens before the deadline."""

    code = "opening.before-deadline"
    next = "Revenez après la date limite de remise des offres."


class DepositsPending(OpeningError):
    """A deposit finalised in time is still being recorded: opening now would leave it out."""

    code = "opening.deposits-pending"
    next = "Réessayez dans une minute : la plateforme termine cet enregistrement d'elle-même."


class LateBidsUndecided(OpeningError):
    """A late bid waits for the buyer's decision: opening would close it for good."""

    code = "opening.late-undecided"
    next = "Demandez à l'acheteur de décider ; ou confirmez qu'il restera scellé, et ouvrez."


class QuorumMissing(OpeningError):
    """Fewer shares than the quorum."""

    code = "opening.quorum-missing"
    next = "Attendez qu'un autre membre de la commission apporte sa part."


class ShareRefused(OpeningError):
    """A share that this session does not expect, or that is false: its holder is named."""

    code = "opening.share-refused"
    next = "Le membre désigné recommence avec le bon protecteur ; les autres parts sont conservées."


class DecisionRefused(OpeningError):
    """A decision, an observation or a signature that the session does not expect at this step."""

    code = "opening.decision-refused"
    next = "Rechargez la page pour voir où en est la séance."


class AlreadyReleased(OpeningError):
    """The session is past this step."""

    code = "opening.already-released"
    next = "Suivez l'avancement de l'ouverture sur la page de la séance."
