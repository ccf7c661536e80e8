"""What an act may be made of: number, subject, date, types and sizes of its files. Pure functions."""

import re
from dataclasses import dataclass, field
from datetime import date
from typing import BinaryIO

import puremagic

from dematmp.acts.errors import ActRefused
from dematmp.acts.latin1 import to_latin1
from dematmp.acts.rules import ARCHIVE_BYTES, NATURES, NUMBER_CHARS, SUBJECT_CHARS

MAX_FILES = 100
BUDGET_NATURE, BUDGET_CODES = "5", (7, 1)
PDF, XML, PNG, JPEG = "application/pdf", "text/xml", "image/png", "image/jpeg"
EXTENSIONS = {PDF: "pdf", XML: "xml", PNG: "png", JPEG: "jpg"}
_TYPOLOGY = re.compile(r"[A-Z0-9_]{5}")
_NUMBER = re.compile(r"(?:[A-Z0-9][A-Z0-9_]{0,13})?[A-Z0-9]")
_HEAD = 4096


@dataclass(frozen=True)
class Upload:
    """A file as it was posted: name, size, bytes from the start. `fault` is a reception that failed."""

    name: str
    size: int
    stream: BinaryIO
    fault: str = ""


@dataclass(frozen=True)
class Piece:
    """A file and what it is said to be; `signature` is a detached PKCS#7 in base64 (legacy)."""

    upload: Upload
    typology: str
    signature: str = ""


@dataclass(frozen=True)
class Posting:
    """An act to be transmitted, as a client posts it."""

    nature: str
    codes: tuple[int, ...]
    number: str
    decided: str
    subject: str
    main: Piece | None
    annexes: tuple[Piece, ...] = ()
    waiting: bool = False
    paper: bool = False
    broadcast: tuple[str, ...] = ()
    send_sources: bool = False
    # Fields that a client should have sent as integers and did not.
    not_integers: tuple[str, ...] = field(default=())


def check_sizes(total: int, files: int, *, empty: bool) -> None:
    """Bytes of all the files of a form, their number, whether nothing was posted. Raises ActRefused."""
    if empty:
        raise ActRefused(f"Rien n'a été reçu : la taille totale est trop importante (max : {ARCHIVE_BYTES}).")
    if total > ARCHIVE_BYTES:
        raise ActRefused(
            f"La taille totale des fichiers est trop importante : {total} octets (max : {ARCHIVE_BYTES})."
        )
    if files > MAX_FILES:
        raise ActRefused(f"Il y a trop d'annexes (max : {MAX_FILES}).")


def check_number(number: str) -> None:
    if _NUMBER.fullmatch(number) is None:
        raise ActRefused(
            f"Le numéro n'est pas correct : 1 à {NUMBER_CHARS} caractères, A à Z, 0 à 9 ou _, "
            "sans _ au début ni à la fin.",
            field="number",
        )


def check_decided(written: str, *, today: date) -> date:
    """The date of a decision. Raises ActRefused: unreadable, in the future, or empty (1970)."""
    said = re.fullmatch(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})", written)
    if said is None:
        raise ActRefused(
            "La date de la décision est absente ou n'est pas de la forme AAAA-MM-JJ.", field="decided_on"
        )
    try:
        decided = date(*map(int, said.groups()))
    except ValueError as broken:
        raise ActRefused("La date de la décision n'existe pas au calendrier.", field="decided_on") from broken
    if decided > today:
        raise ActRefused("La date de la décision est dans le futur.", field="decided_on")
    if decided <= date(1970, 1, 1):
        raise ActRefused(
            "La date de la décision doit être présente : celle reçue est une date vide.", field="decided_on"
        )
    return decided


def check_subject(subject: str) -> str:
    """The subject as it will be written. Raises ActRefused."""
    written = " ".join(to_latin1(subject).split())
    if not written:
        raise ActRefused("L'objet doit être présent.", field="subject")
    if len(written) > SUBJECT_CHARS:
        raise ActRefused(
            f"L'objet est trop long ({len(written)} caractères, {SUBJECT_CHARS} au plus).", field="subject"
        )
    return written


def check_nature(nature: str) -> None:
    if nature not in NATURES:
        raise ActRefused("La nature de l'acte doit être présente : un chiffre de 1 à 6.")


def check_typology(typology: str, name: str) -> None:
    if not typology:
        raise ActRefused(f"La typologie du fichier {name} est absente (typologie absente).")
    if _TYPOLOGY.fullmatch(typology) is None:
        raise ActRefused(f"Le code de la PJ doit faire 5 caractères : {name}.")


def check_received(upload: Upload) -> None:
    """Raises ActRefused for a file that did not arrive whole, or is empty."""
    if upload.fault or upload.size == 0:
        raise ActRefused(
            f"Erreur lors de la réception du fichier : {upload.name} ({upload.fault or 'fichier vide'})."
        )


def sniff(stream: BinaryIO) -> str:
    """The media type that the first bytes tell, whatever the name says; the stream is left at its start."""
    stream.seek(0)
    head = stream.read(_HEAD)
    stream.seek(0)
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml"):
        return XML
    try:
        found = puremagic.from_string(head, mime=True)
    except (puremagic.PureError, ValueError):
        found = ""
    return str(found) or "application/octet-stream"


# What the detector says of whatever begins as a ZIP.
_ZIPPED = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# What a person calls a file that is not what is asked.
_KINDS = {
    PDF: "un PDF",
    XML: "un fichier XML",
    PNG: "une image PNG",
    JPEG: "une image JPEG",
    "application/msword": "un document Word",
    "application/vnd.microsoft.portable-executable": "un programme Windows",
    _ZIPPED: "un document de bureautique ou une archive ZIP",
    "application/zip": "une archive ZIP",
    "text/html": "une page web",
}


def _mistyped(name: str, found: str, *, wanted: str, plain: str) -> ActRefused:
    """The refusal of a file by its type, as the protocol says it and as a person reads it."""
    kind = f" : c'est {_KINDS[found]}" if found in _KINDS else ""
    return ActRefused(f"Le fichier {name} est de type {found} : {wanted}.", plain=f"{name} {plain}{kind}.")


def check_main(upload: Upload, *, nature: str, codes: tuple[int, ...]) -> str:
    """The media type of the main document: PDF, or the XML of a budget. Raises ActRefused."""
    found = sniff(upload.stream)
    if found not in (PDF, XML):
        raise _mistyped(upload.name, found, wanted="PDF ou XML requis", plain="n'est pas un PDF")
    if found == XML and nature != BUDGET_NATURE:
        raise ActRefused("Le format XML est réservé aux documents budgétaires et financiers (nature 5).")
    if found == XML and codes[:2] != BUDGET_CODES:
        raise ActRefused("Le format XML n'est permis qu'avec la classification 7.1.")
    return found


def check_annex(upload: Upload, *, main: str) -> str:
    """The media type of an annex; beside an XML act, PDF only. Raises ActRefused."""
    found = sniff(upload.stream)
    if main == XML and found != PDF:
        plain = "n'est pas un PDF, que demande un acte en XML"
        raise _mistyped(upload.name, found, wanted="PDF requis avec un acte XML", plain=plain)
    if found not in EXTENSIONS:
        plain = "n'est ni un PDF, ni une image PNG ou JPEG, ni un fichier XML"
        raise _mistyped(upload.name, found, wanted="PDF, XML, PNG ou JPEG requis", plain=plain)
    return found
