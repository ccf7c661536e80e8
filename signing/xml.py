"""XML read without DTD, entity or network: limits first, then parse."""

from lxml import etree
from signxml.algorithms import DigestAlgorithm

# Each a superset of ASCII, one byte for one character: what marks up is the same for who mistakes one.
_ENCODINGS = {
    *("US-ASCII", "ASCII"),
    *(f"ISO-8859-{part}" for part in range(1, 17) if part != 12),
    *(f"WINDOWS-125{page}" for page in range(9)),
}
XML_LIMIT = 32 * 1024**2  # bytes
DS = "{http://www.w3.org/2000/09/xmldsig#}"
XADES = "{http://uri.etsi.org/01903/v1.3.2#}"
XADES_141 = "{http://uri.etsi.org/01903/v1.4.1#}"
ASIC = "{http://uri.etsi.org/02918/v1.2.1#}"
ASIC_BEFORE = "{http://uri.etsi.org/2918/v1.2.1#}"  # as some wrote it
ENTRIES = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"
_FORESEEN = {each[1:-1] for each in (DS, XADES, XADES_141, ASIC, ASIC_BEFORE, ENTRIES)} | {
    "http://www.w3.org/2001/XMLSchema-instance",
    "http://www.w3.org/2001/04/xmlenc#",
}
_PREFIX_LETTERS = 8


class XmlRefused(ValueError):
    """XML that is not read; the message says why, in French."""


def parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )


def parse(data: bytes) -> etree._Element:
    """The root. Raises XmlRefused."""
    if len(data) > XML_LIMIT:
        raise XmlRefused("Ce fichier XML est trop volumineux pour être analysé.")
    try:
        root = etree.fromstring(data, parser())
    except (etree.XMLSyntaxError, ValueError) as bad:
        raise XmlRefused("Ce fichier n'est pas du XML bien formé.") from bad
    document = root.getroottree().docinfo
    encoding = (document.encoding or "UTF-8").upper()
    if encoding not in _ENCODINGS and not encoding.startswith(("UTF-8", "UTF-16")):
        # In UTF-7 one reader sees an element where another one sees a comment.
        raise XmlRefused("Ce fichier XML est dans un encodage que tous ne lisent pas de même.")
    if document.internalDTD is not None or document.externalDTD is not None or document.doctype:
        raise XmlRefused("Ce fichier XML contient une DTD, ce qu'un document signé ne doit pas faire.")
    if next(root.iter(etree.Entity), None) is not None:
        raise XmlRefused("Ce fichier XML contient des entités, ce qu'un document signé ne doit pas faire.")
    return root


def declares_more(root: etree._Element) -> bool:
    """Whether a list that nobody signs declares a namespace that it has no use of: a text that one reads."""
    declared = {pair for each in root.iter(etree.Element) for pair in each.nsmap.items()}
    return any(uri not in _FORESEEN or len(prefix or "") > _PREFIX_LETTERS for prefix, uri in declared)


def text_of(element: etree._Element | None) -> str:
    return "" if element is None or element.text is None else element.text.strip()


def hash_name(uri: str) -> str:
    """hashlib's name of an XML digest algorithm. Raises ValueError for an unknown one."""
    if uri == "http://www.w3.org/2001/04/xmldsig-more#md5":
        return "md5"
    return DigestAlgorithm(uri).name.lower()
