"""ACTES XML on the wire: written in ISO-8859-1, read as hostile (no DTD, no network, bounded)."""

import io
import re
from datetime import date

from lxml import etree

from dematmp.acts.errors import MessageRefused
from dematmp.acts.latin1 import to_latin1

NS = "http://www.interieur.gouv.fr/ACTES#v1.1-20040216"
INSEE = "http://xml.insee.fr/schema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
MAP = {"actes": NS, "insee": INSEE}
MESSAGE_BYTES = 1024 * 1024
DEPTH, ELEMENTS = 32, 50_000
_PROLOG = re.compile(rb"^\s*<\?xml[^>]*\?>\s*")


def q(name: str) -> str:
    """A name of the ACTES namespace, as lxml writes it."""
    return f"{{{NS}}}{name}"


def root(name: str) -> etree._Element:
    element = etree.Element(q(name), nsmap=MAP | {"xsi": XSI})
    element.set(f"{{{XSI}}}schemaLocation", f"{NS} actesv1_1.xsd")  # as the cahier des charges writes it
    return element


def add(parent: etree._Element, name: str, text: str | None = None, **attributes: str) -> etree._Element:
    """A child with its text and its qualified attributes, all within ISO-8859-1."""
    child = etree.SubElement(parent, q(name))
    put(child, **attributes)
    child.text = None if text is None else to_latin1(text)
    return child


def put(element: etree._Element, **attributes: str) -> None:
    for name, value in attributes.items():
        element.set(q(name), to_latin1(value))


def to_bytes(element: etree._Element) -> bytes:
    """The document, one element per line, LF, prolog `<?xml version="1.0" encoding="ISO-8859-1"?>`."""
    etree.indent(element, space="  ")
    written = _serialised(element, "ISO-8859-1")
    if _encoding(written) is not None:
        # « Â » before a no-break space would be taken for UTF-8 by who guesses: references say it otherwise.
        written = _serialised(element, "US-ASCII")
    return b'<?xml version="1.0" encoding="ISO-8859-1"?>\n' + written + b"\n"


def _serialised(element: etree._Element, encoding: str) -> bytes:
    out = io.BytesIO()
    etree.ElementTree(element).write(out, encoding=encoding, xml_declaration=False)
    return out.getvalue()


def parse(data: bytes, *, limit: int = MESSAGE_BYTES) -> etree._Element:
    """The root of a message.

    Bytes that are UTF-8 under a prolog that says ISO-8859-1, as the ministry sends, are read as UTF-8.
    Raises MessageRefused: too big, too deep, malformed, or with a DTD.
    """
    if len(data) > limit:
        raise MessageRefused("Le message dépasse 1 Mio.")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise MessageRefused("Un message ACTES ne porte pas de DTD.")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True,
        remove_pis=True, encoding=_encoding(data),
    )  # fmt: skip
    try:
        element = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as broken:
        raise MessageRefused("Le message n'est pas un document XML lisible.") from broken
    if element.getroottree().docinfo.internalDTD is not None:
        raise MessageRefused("Un message ACTES ne porte pas de DTD.")
    _bounded(element)
    return element


def truthful(data: bytes) -> bytes:
    """The same document in the encoding that its prolog says: clients believe it, the ministry does not."""
    prolog = _PROLOG.match(data)
    if prolog is None or b"iso-8859-1" not in prolog[0].lower() or _encoding(data) != "utf-8":
        return data
    return data.decode("utf-8").encode("latin-1", errors="xmlcharrefreplace")


def _encoding(data: bytes) -> str | None:
    """UTF-8 when the bytes are so and are not plain ASCII, whatever the prolog says; else the prolog's."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return None
    body = _PROLOG.sub(b"", data, count=1)
    try:
        body.decode("ascii")
    except UnicodeDecodeError:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return "utf-8"
    return None


def _bounded(element: etree._Element) -> None:
    depth = count = 0
    for event, _ in etree.iterwalk(element, events=("start", "end")):
        depth += 1 if event == "start" else -1
        count += event == "start"
        if depth > DEPTH or count > ELEMENTS:
            raise MessageRefused("Le message est trop profond ou compte trop d'éléments.")


def text(element: etree._Element, path: str) -> str:
    """The text at a path (`actes:Objet`), stripped; empty when absent."""
    return str(element.findtext(path, default="", namespaces=MAP)).strip(" \t\r\n")


def attribute(element: etree._Element, name: str) -> str:
    """An attribute, qualified as the schema says or bare as some write it."""
    return str(element.get(q(name), element.get(name, ""))).strip(" \t\r\n")


def siren(element: etree._Element) -> str:
    return str(element.get(f"{{{INSEE}}}SIREN", element.get("SIREN", ""))).strip(" \t\r\n")


def child(element: etree._Element, name: str) -> etree._Element:
    """The only child of this name. Raises MessageRefused."""
    found = element.find(f"actes:{name}", MAP)
    if found is None:
        raise MessageRefused(f"L'élément « {name} » manque au message.")
    return found


def day(written: str) -> date:
    """An XSD date; a time or a zone after it is tolerated. Raises MessageRefused."""
    try:
        return date.fromisoformat(written.strip()[:10])
    except ValueError as broken:
        raise MessageRefused("Une date du message est illisible.") from broken
