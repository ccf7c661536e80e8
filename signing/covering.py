"""What the references of an XML signature designate, and whether that is all that a reader would see."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lxml import etree

from signing.found import PARTIAL, UNCLEAR, WHOLE
from signing.xml import ASIC, ASIC_BEFORE, DS, XADES
from signing.xmldsig import transforms_of

_IDS = frozenset({"Id", "ID", "id"})  # in any namespace: what signxml itself looks for


@dataclass(frozen=True)
class Covered:
    """`extent` is whole, partial or unclear; `names` in French."""

    extent: str
    names: tuple[str, ...] = ()
    role: str = "signature"
    warnings: list[str] = field(default_factory=list)


def ids_of(element: etree._Element) -> set[str]:
    return {str(value) for name, value in element.attrib.items() if etree.QName(name).localname in _IDS}


def by_id(root: etree._Element, value: str) -> etree._Element | None:
    return next((each for each in root.iter(etree.Element) if value in ids_of(each)), None)


def manifests(root: etree._Element, references: Sequence[etree._Element]) -> Iterator[etree._Element]:
    """The manifests that references designate, whatever they call them: lists of other references."""
    for reference in references:
        uri = str(reference.get("URI"))
        target = by_id(root, uri[1:]) if uri.startswith("#") else None
        if target is not None:
            yield from target.iter(f"{DS}Manifest")


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
        uri = str(reference.get("URI"))
        transforms_of(reference)
        if uri in names:
            covers.append(names[uri])
            continue
        target = root if uri == "" else by_id(root, uri[1:])
        if target is None:
            return Covered(UNCLEAR)
        entire = entire or uri == ""
        parent = target.getparent()
        if target.tag == f"{DS}SignatureValue" and parent is not None and parent.tag == f"{DS}Signature":
            counter = True  # that other signature is judged too, in its own place
            continue
        covered.append(target)
    around = [*root.itersiblings(preceding=True), *root.itersiblings()]
    if not entire and any(not isinstance(each, etree._Comment) for each in around):
        # A style sheet asked for outside the root changes what is seen and is not signed.
        return Covered(PARTIAL, tuple(covers))
    own = [each for each in signature.iterfind(f"{DS}Object") if not _qualifies(each)]
    extent = WHOLE if all(_is_covered(each, covered) for each in own) else PARTIAL
    if counter:
        return Covered(extent, ("la signature précédente", *covers), "counter-signature")
    if root in covered and root is not signature:
        return Covered(extent, ("tout le document XML", *covers))
    if (root is signature or _holds_signatures_alone(root)) and (own or covers):
        return Covered(extent, (*(["contenu joint à la signature"] if own else []), *covers))
    if (inside := _sole_content(root)) is not None and inside in covered:
        said = "L'élément qui enveloppe le contenu signé et ses signatures n'est pas lui-même signé."
        return Covered(extent, ("le contenu du document XML", *covers), warnings=[said])
    return Covered(PARTIAL, tuple(covers))


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


def _sole_content(root: etree._Element) -> etree._Element | None:
    """The one element that stands beside the signatures, in a root that says nothing by itself."""
    others = [each for each in root if each.tag != f"{DS}Signature" and not isinstance(each, etree._Comment)]
    if root.attrib or _text(root) or len(others) != 1 or isinstance(others[0], etree._ProcessingInstruction):
        return None
    return others[0]


def splits(comment: etree._Element) -> bool:
    """Whether a comment stands between two pieces of one text: « 1<!-- -->2000 » is 12000, or 1."""
    before, parent = comment.getprevious(), comment.getparent()
    said = before.tail if before is not None else parent.text if parent is not None else ""
    return bool((said or "").strip() and (comment.tail or "").strip())


def _text(element: etree._Element) -> str:
    return ((element.text or "") + "".join(each.tail or "" for each in element)).strip()


def _only(element: etree._Element, tag: str) -> bool:
    """Whether it holds one element, of this tag, and nothing else."""
    return len(element) == 1 and element[0].tag == tag and not _text(element)


def _is_covered(element: etree._Element, covered: Sequence[etree._Element]) -> bool:
    """Whether it is signed, or says nothing but what elements that are signed say."""
    if element in covered:
        return True
    if _text(element) or (element.attrib and element.tag != f"{DS}Object" and set(element.attrib) - {"Id"}):
        return False
    children = [each for each in element if not isinstance(each, etree._Comment)]
    if not children:
        return element.tag == f"{DS}Object"  # empty
    return all(
        not isinstance(each, etree._ProcessingInstruction) and _is_covered(each, covered) for each in children
    )
