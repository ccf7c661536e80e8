"""What may go wrong between an act and the control authority."""

from typing import ClassVar


class ActError(Exception):
    """Root of this room's errors. `str()` is the French sentence, `next` the step to take."""

    code: ClassVar[str] = "act.error"
    next: str = "Corrigez puis recommencez."


class ActRefused(ActError):
    """The act cannot be built so: number, subject, file, or the buyer's ACTES identity.

    `field` is the field of a form that tells the reason, when one does; `plain`, the sentence for a person
    where `str()` is that of the protocol.
    """

    code = "act.refused"

    def __init__(self, message: str, *, field: str = "", plain: str = "") -> None:
        super().__init__(message)
        self.field, self.plain = field, plain


class MessageRefused(ActError):
    """An ACTES message or archive that is malformed, hostile or about something else."""

    code = "act.message-refused"
    next = "Prévenez l'exploitant : le message reçu est conservé et n'est pas pris en compte."


class GatewayUnavailable(ActError):
    """No answer, or not one of the protocol: the transmission is tried again by itself.

    `reached` is False when what was sent surely did not arrive; `redirected` is True when the answer was
    the address of a page.
    """

    code = "act.gateway-unavailable"
    next = "La plateforme réessaie d'elle-même ; rien n'est perdu."

    def __init__(self, message: str, *, reached: bool = True, redirected: bool = False) -> None:
        super().__init__(message)
        self.reached, self.redirected = reached, redirected


class AnswerLost(GatewayUnavailable):
    """Nobody knows whether what was sent was taken: the next reading of the operator tells."""

    code = "act.answer-lost"
    next = (
        "La plateforme le demande à l'opérateur, et la page de l'acte le dira. Sans nouvelles dans une "
        "demi-heure, recommencez."
    )


class GatewayRefused(ActError):
    """The operator answered KO: trying the same bytes again would not help."""

    code = "act.gateway-refused"
    next = "Lisez le motif, corrigez, puis recommencez."


class OperatorUnset(ActError):
    """The operator that has an act is no longer set: another one's numbers name other acts."""

    code = "act.operator-unset"
    next = "Demandez à l'exploitant de régler de nouveau cet opérateur ; d'ici là, suivez l'acte chez lui."


class StatusRefused(ActError):
    """A transaction does not go from this state to that one."""

    code = "act.status-refused"
    next = "Rien n'a changé ; relisez l'état de la transaction."


class AccessRefused(ActError):
    """Who asks is not known, or may not do this."""

    code = "act.access-refused"
    next = "Vérifiez le certificat, l'identifiant et les droits du compte."


class MinistryUnavailable(ActError):
    """The ministry did not take the archive: it is sent again by itself.

    `reached` is True when the archive may have arrived although no answer did.
    """

    code = "act.ministry-unavailable"
    next = "La plateforme réessaie d'elle-même ; rien n'est perdu."

    def __init__(self, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.reached = reached


class JudgementUnfinished(ActError):
    """Files that could not be judged within the limits of time and memory: neither sound nor broken."""

    code = "act.judgement-unfinished"
    next = "Allégez les fichiers PDF, ou recommencez plus tard."
