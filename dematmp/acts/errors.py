"""What may go wrong between an act and the control authority."""

from typing import ClassVar


class ActError(Exception):
    """Root of this room's errors. `str()` is the French sentence, `next` the step to take."""

    code: ClassVar[str] = "act.error"
    next: str = "Corrigez puis recommencez."


class ActRefused(ActError):
    """The act cannot be built so: number, subject, file, or the buyer's ACTES identity."""

    code = "act.refused"


class MessageRefused(ActError):
    """An ACTES message or archive that is malformed, hostile or about something else."""

    code = "act.message-refused"
    next = "Prévenez l'exploitant : le message reçu est conservé et n'est pas pris en compte."


class GatewayUnavailable(ActError):
    """No answer, or not one of the protocol: the transmission is tried again by itself."""

    code = "act.gateway-unavailable"
    next = "La plateforme réessaie d'elle-même ; rien n'est perdu."


class GatewayRefused(ActError):
    """The operator answered KO: trying the same bytes again would not help."""

    code = "act.gateway-refused"
    next = "Lisez le motif, corrigez l'acte, puis transmettez-le sous un nouveau numéro."
