"""Names of envelopes, archives, messages and documents: pure functions (cahier des charges ACTES)."""

import re
from dataclasses import dataclass
from datetime import date

from dematmp.acts.errors import ActRefused, MessageRefused

ACT_ID = re.compile(r"([09][0-9][0-9AB])-([0-9]{9})-([0-9]{8})-([a-zA-Z0-9_]{1,15})-([A-Z]{2})")
ENVELOPE = re.compile(r"[A-Z]{4}--([0-9]{9})--[0-9]{8}-[0-9]{1,4}\.xml")
RETURN_ENVELOPE = re.compile(r"[A-Z]{4}--[A-Z]{3,5}[0-9AB]{0,4}-[0-9]{9}-[0-9]{8}-[0-9]{1,12}\.xml")
ANOMALY = re.compile(r"ANO_([A-Z]{4}--[0-9]{9}--[0-9]{8}-[0-9]{1,4}\.xml)")
MESSAGE = re.compile(
    r"([09][0-9][0-9AB])-([0-9]{9})-([0-9]{8})?-([a-zA-Z0-9_]{1,15})?-([A-Z]{2})?-([1-7])-([1-9])_([0-9]{1,12})\.xml"
)
DOCUMENT = re.compile(
    r"(?:([0-9A-Z_]{5})-)?([09][0-9][0-9AB]-[0-9]{9}-[0-9]{8}-[a-zA-Z0-9_]{1,15}-[A-Z]{2})-([1-7])-([1-9])_([0-9]{1,12})"
    r"\.(pdf|xml|png|jpg|jpeg)",
    re.IGNORECASE,
)
_TRIGRAM, _QUADRIGRAM = re.compile(r"[A-Za-z]{3}"), re.compile(r"[A-Z]{4}")
ARCHIVE_SUFFIX = ".tar.gz"


@dataclass(frozen=True)
class MessageName:
    """What the name of a message says; `identifier` is empty for a message about no act (7-1)."""

    department: str
    siren: str
    identifier: str
    number: str
    kind: str
    serial: int


def siren_of_envelope(name: str) -> str:
    """Whose envelope a name says it is; empty for another name."""
    found = ENVELOPE.fullmatch(name)
    return found[1] if found else ""


def is_of_return(name: str) -> bool:
    """Whether a file is a message, an envelope or an anomaly that the ministry sends."""
    return any(each.fullmatch(name) for each in (MESSAGE, RETURN_ENVELOPE, ANOMALY))


def envelope(*, application: str, siren: str, day: date, serial: int) -> str:
    """`EACT--214502494--20170717-6.xml`; the serial runs from 1 to 9999 for each authority and day."""
    if not 1 <= serial <= 9999:
        raise ActRefused("Plus de 9999 enveloppes dans la journée.")
    if _QUADRIGRAM.fullmatch(application) is None:
        raise ActRefused(f"Le quadrigramme « {application} » n'a pas quatre majuscules.")
    return f"{application}--{siren}--{day:%Y%m%d}-{serial}.xml"


def return_envelope(*, application: str, authority: str, siren: str, day: date, serial: int) -> str:
    """`EACT--SPREF0441-214400152-20181012-9.xml`, as a prefecture names it."""
    return f"{application}--{authority}-{siren}-{day:%Y%m%d}-{serial}.xml"


def archive(envelope_name: str, *, trigram: str) -> str:
    """`SLO-EACT--214502494--20170717-6.tar.gz`."""
    if _TRIGRAM.fullmatch(trigram) is None:
        raise ActRefused(f"Le trigramme « {trigram} » n'a pas trois lettres.")
    return f"{trigram}-{envelope_name.removesuffix('.xml')}{ARCHIVE_SUFFIX}"


def envelope_of_archive(name: str) -> str:
    """The envelope that an archive's name announces. Raises MessageRefused."""
    stem = name.removesuffix(ARCHIVE_SUFFIX)
    found = f"{stem[4:]}.xml"
    if not name.endswith(ARCHIVE_SUFFIX) or stem[3:4] != "-" or ENVELOPE.fullmatch(found) is None:
        raise MessageRefused("Le nom de l'archive n'est pas de la grammaire ACTES.")
    return found


def message(identifier: str, kind: str, *, serial: int = 0) -> str:
    """`034-491011698-20171207-CL20171227_06-DE-1-1_0.xml`; `kind` is `1-1`, `2-2`…"""
    return f"{identifier}-{kind}_{serial}.xml"


def classification_message(*, department: str, siren: str, kind: str = "7-1", serial: int = 0) -> str:
    """`034-491011698----7-1_0.xml`: no date, number nor nature."""
    return f"{department}-{siren}----{kind}_{serial}.xml"


def document(identifier: str, kind: str, rank: int, *, typology: str = "", extension: str = "pdf") -> str:
    """The name of the main file (rank 1) or of an annex (2 and more)."""
    prefix = f"{typology}-" if typology else ""
    return f"{prefix}{identifier}-{kind}_{rank}.{extension}"


def read_message(name: str) -> MessageName:
    """What a message's name says. Raises MessageRefused."""
    found = MESSAGE.fullmatch(name)
    if found is None:
        raise MessageRefused(f"Le nom du message « {name[:120]} » n'est pas de la grammaire ACTES.")
    department, siren, day, number, nature, kind, message_, serial = found.groups()
    whole = day and number and nature
    return MessageName(
        department=department,
        siren=siren,
        identifier=f"{department}-{siren}-{day}-{number}-{nature}" if whole else "",
        number=number or "",
        kind=f"{kind}-{message_}",
        serial=int(serial),
    )


def split_identifier(identifier: str) -> tuple[str, str, str]:
    """(department, SIREN, number) of an act's identifier. Raises MessageRefused."""
    found = ACT_ID.fullmatch(identifier)
    if found is None:
        raise MessageRefused(f"« {identifier[:60]} » n'est pas un identifiant d'acte.")
    return found[1], found[2], found[4]
