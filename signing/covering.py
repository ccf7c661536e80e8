"""What the references of an XML signature designate, and whether that is all that a reader would see."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from signing.found import PARTIAL, UNCLEAR, WHOLE
from signing.xml import ASIC, ASIC_BEFORE, DS, XADES
from signing.xmldsig import BASE64, UnknownTransform, leaves_out, transforms_of, uri_of

_IDS = ("Id", "ID", "id")  # in any namespace, in this order: as signxml itself looks for them


@dataclass(frozen=True)
class Covered:
    """`extent` is whole, partial or unclear; `names` in French."""

    extent: str
    names: tuple[str, ...] = ()
    role: str = "signature"


def ids_of(element: etree._Element) -> set[str]:
    return {str(value) for name, value in element.attrib.items() if etree.QName(name).localname in _IDS}


def by_id(root: etree._Element, value: str) -> etree._Element | None:
    """The one element that bears this identifier, as the verifier finds it; None when several do."""
    if value.startswith("#"):
        return None
    for wanted in _IDS:
        found = [
            element
            for element in root.iter(etree.Element)
            for name, said in element.attrib.items()
            if said == value and etree.QName(name).localname == wanted
        ]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def manifests(root: etree._Element, references: Sequence[etree._Element]) -> list[etree._Element]:
    """The manifests that references designate, whatever they call them: they are lists of other references.

    Itself, or alone in an object, and whole: no transform that leaves something out may be between. Raises
    UnknownTransform for a manifest that is signed in another way.
    """
    found: list[etree._Element] = []
    for reference in references:
        uri = uri_of(reference)
        target = root if uri == "" else by_id(root, uri[1:]) if uri.startswith("#") else None
        if target is None:
            continue
        held = [each for each in target.iter(f"{DS}Manifest") if _is_in(each, target)]
        alone = target.tag == f"{DS}Manifest" or (target.tag == f"{DS}Object" and len(target) == 1)
        if held and (not alone or len(held) > 1 or leaves_out(reference)):
            raise UnknownTransform("manifest")
        found += held
    return found


def _is_in(element: etree._Element, target: etree._Element) -> bool:
    """Whether no signature stands between them: it is not signed with what is around it."""
    if element is target:
        return True
    between = itertools.takewhile(lambda each: each is not target, element.iterancestors())
    return target.tag != f"{DS}Signature" and all(each.tag != f"{DS}Signature" for each in between)


def own_properties(signature: etree._Element) -> list[etree._Element]:
    """The properties of this signature, first in their place, then all that stand elsewhere inside it.

    Those of signatures that stand inside it are theirs.
    """

    def own(tag: str) -> list[etree._Element]:
        every = signature.iter(f"{XADES}{tag}")
        return [each for each in every if next(each.iterancestors(f"{DS}Signature"), None) is signature]

    qualifying = own("QualifyingProperties")
    placed = [each.find(f"{XADES}SignedProperties") for each in qualifying]
    return [*qualifying, *(each for each in own("SignedProperties") if each not in placed)]


def coverage(
    root: etree._Element,
    signature: etree._Element,
    references: Sequence[etree._Element],
    names: Mapping[str, str],
) -> Covered:
    """From what the verified references designate in the document itself; `names`: URI → file."""
    covers: list[str] = []
    covered: list[etree._Element] = []
    counter = entire = False
    for reference in references:
        uri = uri_of(reference)
        transforms = transforms_of(reference)
        if uri in names:
            covers.append(names[uri])
            continue
        target = root if uri == "" else by_id(root, uri[1:])
        if target is None or not _is_shown(target, signature):
            return Covered(UNCLEAR)
        parent = target.getparent()
        if BASE64 in transforms:
            if target.tag != f"{DS}Object" or parent is not signature:
                return Covered(UNCLEAR)  # its text alone is signed: neither its name nor its attributes
        elif uri == "":
            entire = True
        if target.tag == f"{DS}SignatureValue" and parent is not None and parent.tag == f"{DS}Signature":
            if parent is signature:
                return Covered(UNCLEAR)  # of itself it says nothing
            counter = True  # that other signature is judged too, in its own place
            continue
        covered.append(target)
    around = [*root.itersiblings(preceding=True), *root.itersiblings()]
    if not entire and any(not isinstance(each, etree._Comment) for each in around):
        # A style sheet asked for outside the root changes what is seen and is not signed.
        return Covered(PARTIAL, tuple(covers))
    objects = list(signature.iterfind(f"{DS}Object"))
    own = [each for each in objects if not _qualifies(each) and not _is_empty(each)]
    extent = WHOLE if all(_is_covered(each, covered) for each in own) else PARTIAL
    if counter:
        return Covered(extent, ("la signature précédente", *covers), "counter-signature")
    if root in covered and root is not signature:
        return Covered(extent, ("tout le document XML", *covers))
    if (root is signature or _holds_signatures_alone(root)) and (own or covers):
        return Covered(extent, (*(["contenu joint à la signature"] if own else []), *covers))
    return Covered(PARTIAL, tuple(covers))


def _is_shown(target: etree._Element, signature: etree._Element) -> bool:
    """Whether what is signed stands where it is looked for: outside this signature, in an object, or a part
    of the signature itself. Content hidden in another place is signed, and nobody sees it."""
    above = [target, *target.iterancestors()]
    if signature not in above or target is signature:
        return True
    child = above[above.index(signature) - 1]
    return child.tag == f"{DS}Object" or child is target


def _qualifies(held: etree._Element) -> bool:
    """Whether an object holds the properties of a signature and nothing that those do not foresee."""
    if not _only(held, f"{XADES}QualifyingProperties"):
        return False
    unsigned = f"{XADES}UnsignedProperties"
    known = {f"{XADES}SignedProperties", unsigned}
    foreseen = {f"{XADES}UnsignedSignatureProperties", f"{XADES}UnsignedDataObjectProperties"}
    rows = list(held[0].iterfind(unsigned))
    return (
        {each.tag for each in held[0].iterchildren(etree.Element)} <= known
        and not any(_text(each) for each in (held[0], *rows))
        and all({each.tag for each in row.iterchildren(etree.Element)} <= foreseen for row in rows)
    )


def _holds_signatures_alone(root: etree._Element) -> bool:
    """ASiC's wrapper of signatures, with nothing else that a reader may see."""
    signatures = all(each.tag == f"{DS}Signature" or isinstance(each, etree._Comment) for each in root)
    wrapper = root.tag in (f"{ASIC}XAdESSignatures", f"{ASIC_BEFORE}XAdESSignatures")
    return wrapper and signatures and set(root.attrib) <= {"Id"} and not _text(root)


def cuts(root: etree._Element) -> bool:
    """Whether a comment, or a signature that is left out, stands beside or inside a text.

    « 1<!-- -->2000 » is 12000 for a reader, 1 for another one.
    """
    # Each once, whatever the number of its comments: the time stays that of one reading.
    parents = {each.getparent() for each in root.iter(etree.Comment)} - {None}
    return any(_text(each) for each in parents if each is not None) or any(
        _before(each).strip() and (each.tail or "").strip() for each in root.iter(f"{DS}Signature")
    )


def _before(element: etree._Element) -> str:
    """The text before an element, whatever signatures and comments stand between."""
    said, before, parent = "", element.getprevious(), element.getparent()
    while before is not None and (isinstance(before, etree._Comment) or before.tag == f"{DS}Signature"):
        said += before.tail or ""
        before = before.getprevious()
    return said + ((before.tail if before is not None else parent.text if parent is not None else "") or "")


def _text(element: etree._Element) -> str:
    return ((element.text or "") + "".join(each.tail or "" for each in element)).strip()


def _only(element: etree._Element, tag: str) -> bool:
    """Whether it holds one element, of this tag, and nothing else."""
    return len(element) == 1 and element[0].tag == tag and not _text(element)


def _is_empty(held: etree._Element) -> bool:
    return not len(held) and not _text(held) and set(held.attrib) <= {"Id"}


def _is_covered(held: etree._Element, covered: Sequence[etree._Element]) -> bool:
    """Whether an object is signed, or holds one element that is, or signed properties of the signature."""
    if held in covered:
        return True
    children = [each for each in held if not isinstance(each, etree._Comment)]
    if _text(held) or set(held.attrib) - {"Id"} or len(children) != 1:
        return False
    (child,) = children
    if child in covered:
        return True
    listed = [each for each in child if not isinstance(each, etree._Comment)]
    properties = child.tag == f"{DS}SignatureProperties" and set(child.attrib) <= {"Id"} and not _text(child)
    return properties and bool(listed) and all(each in covered for each in listed)
