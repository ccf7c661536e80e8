"""What may be refused about a consultation; each error has a code, a sentence and the next step."""

from typing import ClassVar


class ConsultationError(Exception):
    """Root of this room's errors. `str()` is the French sentence, `next` the step to take."""

    code: ClassVar[str] = "consultation.error"
    next: str = "Corrigez puis recommencez."

    def __init__(self, message: str, next: str | None = None) -> None:
        super().__init__(message)
        if next:
            self.next = next


class DeadlinePast(ConsultationError):
    """The deadline is not after now."""

    code = "consultation.deadline-past"
    next = "Choisissez une date limite à venir."


class MidnightDeadline(ConsultationError):
    """00:00 reads as the end of the day for some and its beginning for others."""

    code = "consultation.deadline-midnight"
    next = "Écrivez par exemple 23:59:00 la veille, ou 12:00:00."


class CpvUnknown(ConsultationError):
    """No such code in the vocabulary."""

    code = "consultation.cpv-unknown"
    next = "Cherchez le code par ses mots dans la nomenclature CPV."


class NotReady(ConsultationError):
    """Something is missing before this step; `missing` lists it in French."""

    code = "consultation.not-ready"
    next = "Complétez ce qui manque, puis recommencez."

    def __init__(self, missing: list[str]) -> None:
        super().__init__("Il manque : " + " ; ".join(missing) + ".")
        self.missing = missing


class SamePerson(ConsultationError):
    """The one who wrote may not validate."""

    code = "consultation.same-person"
    next = "Demandez à une autre personne qui a le rôle de valideur."


class WrongStep(ConsultationError):
    """The consultation is not at the step that this act needs."""

    code = "consultation.wrong-step"
    next = "Rechargez la page pour voir où en est la consultation."


class LinkRefused(ConsultationError):
    """A link of a mail that was cut or altered."""

    code = "consultation.link-refused"
    status: ClassVar[int] = 404
    next = "Copiez l'adresse entière du message, ou écrivez à l'acheteur."


class NameRefused(ConsultationError):
    """A file's name is hostile or too long."""

    code = "document.name-refused"
    next = "Renommez le fichier (255 caractères au plus, sans dossier) puis recommencez."


class EmptyDocument(ConsultationError):
    """A file of 0 byte."""

    code = "document.empty"
    next = "Vérifiez le fichier sur votre poste puis recommencez."


class DocumentUnreadable(ConsultationError):
    """A file that is not what its name announces."""

    code = "document.unreadable"
    next = "Ouvrez ce fichier sur votre poste : si c'est le bon, enregistrez-le de nouveau en PDF."


class DocumentTooLarge(ConsultationError):
    """More bytes than the announced limit."""

    code = "document.too-large"
    next = "Découpez ce fichier ou réduisez-le."


class DocumentNotServed(ConsultationError):
    """The antivirus has not cleared this file."""

    code = "document.not-served"
    next = "Réessayez dans une minute ; si cela dure, prévenez l'acheteur."
