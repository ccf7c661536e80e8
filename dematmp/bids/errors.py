"""What may be refused about a deposit; nothing that was received is lost by a refusal."""

from typing import ClassVar


class BidError(Exception):
    """Root of this room's errors.

    `str()` is the French sentence, `next` the step to take, `facts` go into the JSON.
    """

    code: ClassVar[str] = "deposit.error"
    status: ClassVar[int] = 400
    next: str = "Corrigez puis recommencez."

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class EnvelopeRefused(BidError):
    """The envelope's header is not one of this consultation, lot, bidder or ceremony."""

    code = "deposit.envelope-refused"
    next = "Scellez de nouveau vos fichiers pour cette consultation et ce lot."


class TooManyBegun(BidError):
    """A company begins deposits without end."""

    code = "deposit.too-many-begun"
    status = 409
    next = "Reprenez l'un d'eux : aucun des octets reçus n'est perdu."


class LimitExceeded(BidError):
    """Over the limits announced on the consultation's page."""

    code = "deposit.limit-exceeded"
    status = 413
    next = "Les limites sont affichées sur la page de la consultation : réduisez ou découpez vos fichiers."


class PartRefused(BidError):
    """The part is not one that the attempt announced."""

    code = "deposit.part-refused"
    next = "Demandez l'état de la tentative, puis renvoyez les parties manquantes."


class PartTruncated(BidError):
    """Fewer or more bytes than announced; nothing was kept of it."""

    code = "deposit.part-truncated"
    next = "Renvoyez cette partie : les autres sont conservées."


class PartCorrupt(BidError):
    """The bytes are not those of the announced SHA-256; nothing was kept of it."""

    code = "deposit.part-corrupt"
    next = "Renvoyez cette partie : les autres sont conservées."


class Incomplete(BidError):
    """Some parts are missing: the bid is not deposited yet."""

    code = "deposit.incomplete"
    status = 409
    next = "Envoyez les parties manquantes, puis finalisez de nouveau."


class DigestMismatch(BidError):
    """What the platform holds is not what the client says it sent."""

    code = "deposit.digest-mismatch"
    status = 409
    next = "Renvoyez les parties de cet objet, puis finalisez de nouveau."


class PreflightRefused(BidError):
    """The summary of the checks made before sealing cannot be one of this deposit."""

    code = "deposit.preflight-refused"
    next = "Rechargez la page et reprenez l'envoi ; la ligne de commande finalise sans ce résumé."


class CopyRefused(BidError):
    """What the register of backup copies does not allow."""

    code = "copy.refused"
    status = 409
    next = "Corrigez puis recommencez."

    def __init__(self, message: str, next_step: str = "", **facts: object) -> None:
        super().__init__(message, **facts)
        if next_step:
            self.next = next_step


class FingerprintRefused(BidError):
    """A fingerprint that is not asked for, not whole, or not that of the files."""

    code = "deposit.fingerprint-refused"
    status = 409
    next = "Recommencez le dépôt avec les mêmes fichiers, ou faites-en un nouveau."


class ChannelUnreachable(BidError):
    """The backup channel does not say what it received: opening now could leave a bid out."""

    code = "channel.unreachable"
    status = 409
    next = (
        "Réessayez dans quelques minutes. Si le canal de secours est perdu, l'exploitant peut passer outre, "
        "avec un motif inscrit au journal."
    )


class ChannelRefused(BidError):
    """The backup channel tells something that its own journal does not prove."""

    code = "channel.refused"
    status = 409
    next = "Prévenez l'exploitant : rien de ce dépôt n'est pris en compte avant son examen."


class ImportRefused(ChannelRefused):
    """Its journal proves it, and its own company made it impossible to take: it holds back no opening."""

    code = "channel.import-refused"


class BytesRefused(ChannelRefused):
    """What was fetched is not what the record says: it is not fetched again each minute."""

    code = "channel.bytes-refused"


class WaiverRefused(BidError):
    """Nobody does without the backup channel while it may still receive a bid."""

    code = "channel.waiver-refused"
    status = 409
    next = "Attendez la date limite : le canal peut encore répondre d'ici là."


class BeingRecorded(BidError):
    """The finalisation is received, at its instant; the store is still putting a very large deposit away."""

    code = "deposit.being-recorded"
    status = 202
    next = "Attendez : l'accusé de réception portera l'heure de réception de la finalisation."


class StoreAway(BidError):
    """The finalisation is received, at its instant; the store does not answer. The sweep goes on too."""

    code = "deposit.store-away"
    status = 503
    next = "Rien n'est à refaire : le dépôt est enregistré dès que le stockage répond."


class AlreadyDeposited(BidError):
    """The attempt is final; its receipt stands."""

    code = "deposit.already-deposited"
    status = 409
    next = "Téléchargez l'accusé de réception ; pour remplacer l'offre, faites un nouveau dépôt."


class Withdrawn(BidError):
    """The deposit was made, then withdrawn: finalised again, it is not deposited again."""

    code = "deposit.withdrawn"
    status = 409
    next = "Pour déposer de nouveau, faites un nouveau dépôt avant la date limite."


class TooLate(BidError):
    """What was possible until the deadline no longer is."""

    code = "deposit.too-late"
    status = 409
    next = "Écrivez à l'acheteur si vous souhaitez renoncer."


class NotOpenYet(BidError):
    """The consultation is not published."""

    code = "deposit.not-published"
    status = 409
    next = "Attendez la publication de la consultation."
