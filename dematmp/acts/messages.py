"""The ACTES messages, types 1 to 7, as values; `writing` gives their XML and `reading` takes it back.

>>> from dematmp.acts.messages import Cancellation
>>> from dematmp.acts.writing import write
>>> write(Cancellation(identifier="034-123456789-20260110-A1-DE")).splitlines()[0]
b'<?xml version="1.0" encoding="ISO-8859-1"?>'
"""

from dataclasses import dataclass
from datetime import date

# XML root → transaction type and message number.
KINDS = {
    "Acte": "1-1",
    "ARActe": "1-2",
    "AnomalieActe": "1-3",
    "CourrierSimple": "2-1",
    "ReponseCourrierSimple": "2-2",
    "DemandePieceComplementaire": "3-1",
    "ARDemandePieceComplementaire": "3-2",
    "RefusPieceComplementaire": "3-3",
    "PieceComplementaire": "3-4",
    "ARPieceComplementaire": "3-5",
    "LettreObservations": "4-1",
    "ARLettreObservations": "4-2",
    "RejetLettreObservations": "4-3",
    "ReponseLettreObservations": "4-4",
    "ARReponseRejetLettreObservations": "4-5",
    "DefereTA": "5-1",
    "Annulation": "6-1",
    "ARAnnulation": "6-2",
    "DemandeClassification": "7-1",
    "RetourClassification": "7-2",
    "ReponseClassificationSansChangement": "7-3",
}
ROOTS = {kind: name for name, kind in KINDS.items()}
# What a letter carries besides its documents: kind → the element of its text.
LETTER_TEXT = {"3-1": "DescriptionPieces", "4-1": "Motif"}
LETTERS = frozenset({"2-1", "2-2", "3-1", "3-2", "3-3", "3-4", "4-1", "4-2", "4-3", "4-4"})
WITHOUT_DOCUMENT = frozenset({"3-2", "4-2"})
LETTER_RECEIPTS = frozenset({"3-5", "4-5"})


@dataclass(frozen=True)
class File:
    """A file named by a message; `signature` is a detached PKCS#7 in base64 (legacy), or empty."""

    name: str
    signature: str = ""


@dataclass(frozen=True)
class Act:
    """1-1: what is said of an act. `codes` are its classification, two levels at least."""

    number: str
    nature: str
    decided: date
    codes: tuple[int, ...]
    subject: str
    classification_date: date
    document: File
    annexes: tuple[File, ...] = ()
    paper: bool = False
    previous: str = ""

    @property
    def classification(self) -> str:
        return ".".join(map(str, self.codes))


@dataclass(frozen=True)
class ActReceipt:
    """1-2: the proof that the control authority has the act, and since when."""

    identifier: str
    received: date
    act: Act
    classification_date: date


@dataclass(frozen=True)
class ActAnomaly:
    """1-3: the act is refused; `nature` has three digits."""

    on: date
    nature: str
    detail: str
    act: Act
    classification_date: date


@dataclass(frozen=True)
class Letter:
    """2-x, 3-x and 4-x that quote an act and the date of the prefecture's letter.

    `text` is the description of the pieces asked for (3-1) or the grounds (4-1); only 3-4 has many documents,
    3-2 and 4-2 have none.
    """

    kind: str
    identifier: str
    written: date
    documents: tuple[File, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class LetterReceipt:
    """3-5 and 4-5: the prefecture has the reply."""

    kind: str
    identifier: str
    written: date
    received: date


@dataclass(frozen=True)
class Referral:
    """5-1: the act is referred to the administrative court."""

    identifier: str
    filed: date
    illegality: str
    documents: tuple[File, ...] = ()


@dataclass(frozen=True)
class Cancellation:
    """6-1."""

    identifier: str


@dataclass(frozen=True)
class CancellationReceipt:
    """6-2."""

    identifier: str
    received: date


@dataclass(frozen=True)
class ClassificationRequest:
    """7-1; `held` is the date of the version held, None asks for everything."""

    held: date | None = None


@dataclass(frozen=True)
class ClassificationUnchanged:
    """7-3."""

    on: date


@dataclass(frozen=True)
class Typology:
    code: str
    label: str


@dataclass(frozen=True)
class Nature:
    code: str
    short: str
    label: str
    typologies: tuple[Typology, ...]


@dataclass(frozen=True)
class Matter:
    """A node of the classification; levels 1 to 5."""

    code: int
    label: str
    below: tuple["Matter", ...] = ()


@dataclass(frozen=True)
class Classification:
    """7-2: the typologies by nature, the matters and their sub-matters, and the date of this version."""

    on: date
    natures: tuple[Nature, ...]
    matters: tuple[Matter, ...]


Message = (
    Act
    | ActReceipt
    | ActAnomaly
    | Letter
    | LetterReceipt
    | Referral
    | Cancellation
    | CancellationReceipt
    | ClassificationRequest
    | ClassificationUnchanged
    | Classification
)


def kind_of(message: Message) -> str:
    """`1-1`, `2-1`… of a message."""
    if isinstance(message, Letter | LetterReceipt):
        return message.kind
    return _KIND_OF[type(message)]


_KIND_OF: dict[type, str] = {
    Act: "1-1",
    ActReceipt: "1-2",
    ActAnomaly: "1-3",
    Referral: "5-1",
    Cancellation: "6-1",
    CancellationReceipt: "6-2",
    ClassificationRequest: "7-1",
    Classification: "7-2",
    ClassificationUnchanged: "7-3",
}


@dataclass(frozen=True)
class Referent:
    """A person to call; each part may be empty."""

    name: str = ""
    telephone: str = ""
    email: str = ""


@dataclass(frozen=True)
class Envelope:
    """From an authority to the ministry: who sends, where to answer, the names of the messages carried."""

    siren: str
    department: str
    district: str
    nature: str
    referent: Referent
    return_addresses: tuple[str, ...]
    messages: tuple[File, ...]


@dataclass(frozen=True)
class ReturnEnvelope:
    """From the ministry to an authority. `office` is IDPref, IDSousPref (with a district) or IDSGAR."""

    office: str
    department: str
    district: str
    referent: Referent
    messages: tuple[File, ...]
    siren: str


@dataclass(frozen=True)
class EnvelopeAnomaly:
    """The whole envelope is refused."""

    on: date
    nature: str
    detail: str
    envelope: Envelope
