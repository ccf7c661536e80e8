"""XML signed whole that two programs read otherwise: as HTML, or by prefixes that nothing signs."""

import re
from collections.abc import Iterator, Mapping, Sequence

from lxml import etree

from signing.contents import Content
from signing.covering import by_id, cuts
from signing.xml import DS, XmlRefused, parse
from signing.xmldsig import transforms_of, uri_of

CONTENT_LIMIT = 128 * 1024**2  # bytes of a detached content
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_XHTML, _SCHEMA = "{http://www.w3.org/1999/xhtml}", "http://www.w3.org/2001/XMLSchema"
_DRAWN = ("{http://www.w3.org/2000/svg}", "{http://www.w3.org/1998/Math/MathML}")  # closed alike by both
_VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source"),
    *("track", "wbr"),
}
# A tag that closes itself; an element whose text is read as it is written. No backtracking in either.
_CLOSED = re.compile(r"""<([^\s/>!?<]++)(?:[^<>"'/]++|"[^"]*+"|'[^']*+'|/(?!>))*+/>""")
_VERBATIM = re.compile(
    r"<(?:style|script|xmp|iframe|noembed|noframes|noscript)\b[^<>]*+>[^<&]*+&", re.IGNORECASE
)
_PREFIXED = re.compile(r"(?<![\w.:-])([^\W\d][\w.-]*+):(?=[^\W\d])")
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


def hides(content: Content) -> bool:
    """Whether a file signed as XML, not byte for byte, may show something else than what is signed."""
    try:
        data = content.read(CONTENT_LIMIT)
        root = parse(data)
    except (XmlRefused, ValueError, OSError):
        return False
    return cuts(root) or is_other_hypertext(data, root, content.name)


def is_other_hypertext(data: bytes, root: etree._Element, name: str) -> bool:
    """Whether a browser would open this as HTML and see otherwise what canonicalisation makes equal.

    There a CDATA section is a comment, a comment may be a style sheet, and a tag does not close itself.
    """
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    is_xhtml = str(root.tag).startswith(_XHTML) and suffix not in ("xml", "xhtml", "xht")
    if suffix not in ("htm", "html") and not is_xhtml:
        return False
    try:
        text = data.decode(root.getroottree().docinfo.encoding or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return True
    if "<!" in text or _VERBATIM.search(text):
        return True
    written = {_written(each) for each in _outside(root)} - _VOID
    return any(found[1] in written for found in _CLOSED.finditer(text))


def _outside(root: etree._Element) -> Iterator[etree._Element]:
    """The elements around the signatures, whose own show nothing."""
    within = {each for signature in root.iter(f"{DS}Signature") for each in signature.iter()}
    for each in root.iter(etree.Element):
        if each not in within and not str(each.tag).startswith(_DRAWN):
            yield each


def _written(element: etree._Element) -> str:
    local = str(etree.QName(element).localname)
    return f"{element.prefix}:{local}" if element.prefix else local


def depends_on_prefixes(
    root: etree._Element, references: Sequence[etree._Element], names: Mapping[str, Content]
) -> bool:
    """Whether a signed value names something by a prefix that exclusive canonicalisation leaves unsigned.

    « p:prix » is another price when somebody binds « p » to another namespace (Exclusive C14N §1.3).
    """
    for reference in references:
        if not any(_EXCLUSIVE in each for each in transforms_of(reference)):
            continue
        uri = uri_of(reference)
        try:
            if uri in names:
                target: etree._Element | None = parse(names[uri].read(CONTENT_LIMIT))
            else:
                target = root if uri == "" else by_id(root, uri[1:])
        except (XmlRefused, ValueError, OSError):
            continue
        if target is not None and _names_by_prefix(target, _inclusive(reference)):
            return True
    return False


def _inclusive(reference: etree._Element) -> set[str]:
    """The prefixes that are signed although no name uses them."""
    lists = reference.iter(f"{{{_EXCLUSIVE}}}InclusiveNamespaces")
    return {prefix for each in lists for prefix in str(each.get("PrefixList") or "").split()}


def _names_by_prefix(target: etree._Element, inclusive: set[str]) -> bool:
    waiting = [target]
    while waiting:
        element = waiting.pop()
        said = {found[1] for value in _values(element) for found in _PREFIXED.finditer(value)}
        bound = element.nsmap if said else {}
        if any(
            _is_loose(prefix, bound[prefix], element, target, inclusive) for prefix in said & bound.keys()
        ):
            return True
        waiting += [each for each in element.iterchildren(etree.Element) if each.tag != f"{DS}Signature"]
    return False


def _is_loose(
    prefix: str, uri: str, element: etree._Element, target: etree._Element, inclusive: set[str]
) -> bool:
    """Whether what is signed does not say which namespace this prefix is bound to here."""
    if uri == _SCHEMA or prefix in inclusive:
        return False  # types of XML Schema: nothing else bears these names
    for each in (element, *element.iterancestors()):
        if each.prefix == prefix or _bears(each, prefix):
            return each.nsmap.get(prefix) != uri
        if each is target:
            break
    return True


def _bears(element: etree._Element, prefix: str) -> bool:
    """Whether an attribute is written with this prefix: with several for a namespace, none is sure to be."""
    uri = element.nsmap.get(prefix)
    alone = sum(1 for each in element.nsmap.values() if each == uri) == 1
    return alone and any(etree.QName(str(name)).namespace == uri for name in element.attrib)


def _values(element: etree._Element) -> Iterator[str]:
    """Its texts and attributes, but the one that names its type: what is read stays the same."""
    yield element.text or ""
    yield from (each.tail or "" for each in element)
    yield from (str(value) for name, value in element.attrib.items() if name != _TYPE)
