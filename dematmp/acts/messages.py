"""ACTES messages: written strictly in ISO-8859-1, read as hostile (no DTD, no network, bounded)."""

import io
from dataclasses import dataclass
from datetime import date

from lxml import etree

from dematmp.acts.errors import MessageRefused

NS = "http://www.interieur.gouv.fr/ACTES#v1.1-20040216"
INSEE = "http://xml.insee.fr/schema"
_MAP = {"actes": NS, "insee": INSEE}
MESSAGE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Sender:
    """Who sends: the authority's ACTES identity and a person to call."""

    siren: str
    department: str
    district: str
    nature: str
    name: str
    email: str


@dataclass(frozen=True)
class ActMessage:
    """What the message 1-1 says of an act."""

    number: str
    nature: str
    decided: date
    classification: str
    classification_date: date
    subject: str
    document: str


def _q(name: str) -> str:
    return f"{{{NS}}}{name}"


def _add(parent: etree._Element, name: str, text: str | None = None, **attributes: str) -> etree._Element:
    child = etree.SubElement(parent, _q(name), {_q(key): value for key, value in attributes.items()})
    child.text = text
    return child


def _bytes(root: etree._Element) -> bytes:
    out = io.BytesIO()
    etree.ElementTree(root).write(out, encoding="ISO-8859-1", xml_declaration=True, pretty_print=True)
    return out.getvalue()


def envelope(sender: Sender, *, message: str) -> bytes:
    """The envelope `EnveloppeCLMISILL` that carries one message."""
    root = etree.Element(_q("EnveloppeCLMISILL"), nsmap=_MAP)
    issuer = _add(root, "Emetteur")
    identity = _add(
        issuer, "IDCL", Departement=sender.department, Arrondissement=sender.district, Nature=sender.nature
    )
    identity.set(f"{{{INSEE}}}SIREN", sender.siren)
    referent = _add(issuer, "Referent")
    _add(referent, "Nom", sender.name[:60])
    _add(referent, "Email", sender.email)
    _add(_add(root, "AdressesRetour"), "Email", sender.email)
    _add(_add(_add(root, "FormulairesEnvoyes"), "Formulaire"), "NomFichier", message)
    return _bytes(root)


def _fill(root: etree._Element, act: ActMessage) -> None:
    for key, value in (
        ("Date", act.decided.isoformat()),
        ("NumeroInterne", act.number),
        ("CodeNatureActe", act.nature),
    ):
        root.set(_q(key), value)
    for level, code in enumerate(act.classification.split("."), start=1):
        _add(root, f"CodeMatiere{level}", CodeMatiere=code)
    _add(root, "Objet", act.subject)
    _add(root, "ClassificationDateVersion", act.classification_date.isoformat())
    _add(_add(root, "Document"), "NomFichier", act.document)
    _add(root, "Annexes", Nombre="0")
    _add(root, "DocumentPapier", "N")


def act(message: ActMessage) -> bytes:
    """The message 1-1 `Acte`."""
    root = etree.Element(_q("Acte"), nsmap=_MAP)
    _fill(root, message)
    return _bytes(root)


def acknowledgement(message: ActMessage, *, identifier: str, received: date) -> bytes:
    """The message 1-2 `ARActe`, as the control authority writes it."""
    attributes = {_q("IDActe"): identifier, _q("DateReception"): received.isoformat()}
    root = etree.Element(_q("ARActe"), attributes, nsmap=_MAP)
    _fill(_add(root, "ActeRecu"), message)
    _add(root, "ClassificationDateVersionEnCours", message.classification_date.isoformat())
    return _bytes(root)


def parse(data: bytes) -> etree._Element:
    """The root of a message. Raises MessageRefused: too big, malformed, or with a DTD."""
    if len(data) > MESSAGE_BYTES:
        raise MessageRefused("Le message dépasse 1 Mio.")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as broken:
        raise MessageRefused("Le message n'est pas un document XML lisible.") from broken
    if root.getroottree().docinfo.internalDTD is not None:
        raise MessageRefused("Un message ACTES ne porte pas de DTD.")
    return root


def _text(root: etree._Element, path: str) -> str:
    return str(root.findtext(path, default="", namespaces=_MAP)).strip()


def read_act(data: bytes) -> ActMessage:
    """What a message 1-1 says. Raises MessageRefused."""
    root = parse(data)
    if root.tag != _q("Acte"):
        raise MessageRefused("Un message « Acte » est attendu.")
    codes = [
        str(each.get(_q("CodeMatiere")))
        for level in range(1, 6)
        for each in root.findall(f"actes:CodeMatiere{level}", _MAP)
    ]
    try:
        return ActMessage(
            number=root.get(_q("NumeroInterne"), ""),
            nature=root.get(_q("CodeNatureActe"), ""),
            decided=date.fromisoformat(root.get(_q("Date"), "")),
            classification=".".join(codes),
            classification_date=date.fromisoformat(_text(root, "actes:ClassificationDateVersion")),
            subject=_text(root, "actes:Objet"),
            document=_text(root, "actes:Document/actes:NomFichier"),
        )
    except ValueError as broken:
        raise MessageRefused("Une date du message est illisible.") from broken


def read_envelope(data: bytes) -> tuple[str, str, list[str]]:
    """(SIREN, department, names of the messages) of an envelope. Raises MessageRefused."""
    root = parse(data)
    issuer = root.find("actes:Emetteur/actes:IDCL", _MAP)
    if root.tag != _q("EnveloppeCLMISILL") or issuer is None:
        raise MessageRefused("Une enveloppe « EnveloppeCLMISILL » est attendue.")
    names = [
        str(each.text)
        for each in root.findall("actes:FormulairesEnvoyes/actes:Formulaire/actes:NomFichier", _MAP)
    ]
    return issuer.get(f"{{{INSEE}}}SIREN", ""), issuer.get(_q("Departement"), ""), names


def read_acknowledgement(data: bytes, *, identifier: str) -> date:
    """The date of reception that an `ARActe` gives to this act.

    Raises MessageRefused when it is about another.
    """
    root = parse(data)
    if root.tag != _q("ARActe") or root.get(_q("IDActe")) != identifier:
        raise MessageRefused(f"L'acquittement reçu n'est pas celui de l'acte {identifier}.")
    try:
        return date.fromisoformat(root.get(_q("DateReception"), ""))
    except ValueError as broken:
        raise MessageRefused("La date de réception de l'acquittement est illisible.") from broken
