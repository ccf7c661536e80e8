"""The files that an XML signature is about: which one each reference means, and which it does not."""

import base64
import hashlib
from collections.abc import Sequence
from urllib.parse import unquote

from lxml import etree
from signxml.verifier import VerifyResult

from signing.contents import Content, named_like, only_one
from signing.covering import Covered
from signing.found import Problem, malformed, no_content
from signing.readings import CONTENT_LIMIT
from signing.xml import DS, XmlRefused, hash_name, parse, text_of
from signing.xmldsig import around, decoded, transforms_of, uri_of


def renamed(names: dict[str, Content]) -> list[str]:
    """Files found by their digest under another name than the one that was signed."""
    pairs = [(unquote(uri).rsplit("/", 1)[-1], each.name.rsplit("/", 1)[-1]) for uri, each in names.items()]
    return [
        f"« {now[:100]} » s'appelait « {signed[:100]} » quand il a été signé."
        for signed, now in pairs
        if signed != now
    ]


def external(
    references: Sequence[etree._Element], contents: Sequence[Content], *, container: bool
) -> dict[str, Content] | Problem:
    """The file that each outside reference is about: by its digest, else by its name."""
    found: dict[str, Content] = {}
    for reference in references:
        if reference.get("URI") is None:
            return malformed("Une référence ne dit pas ce qu'elle signe.")
        uri = uri_of(reference)
        if uri == "" or uri.startswith("#"):
            continue
        if "#" in uri:
            return malformed(
                "La signature désigne une partie d'un autre fichier : ce n'est pas pris en charge."
            )
        name = unquote(uri)
        if container:
            chosen = next((each for each in contents if each.name == name), None)
        else:
            # A transform changes what is digested: only the name says then which file is meant.
            changed = reference.find(f"{DS}Transforms/{DS}Transform") is not None
            first, then = _named(name, contents), _by_digest(reference, contents)
            chosen = (first or then if changed else then or first) or only_one(contents)
        if chosen is None:
            return no_content(f"Le document signé « {name[:200]} » n'est pas parmi les fichiers fournis.")
        found[uri] = chosen
    return found


def _by_digest(reference: etree._Element, contents: Sequence[Content]) -> Content | None:
    node = reference.find(f"{DS}DigestMethod")
    name = hash_name(str(node.get("Algorithm") if node is not None else ""))
    wanted = base64.b64decode(text_of(reference.find(f"{DS}DigestValue")))
    return next((each for each in contents if each.digest(name) == wanted), None)


def _named(name: str, contents: Sequence[Content]) -> Content | None:
    base = name.rsplit("/", 1)[-1]
    same = [each for each in contents if each.name.rsplit("/", 1)[-1] == base]
    return same[0] if len(same) == 1 else None


def canonicalised(references: Sequence[etree._Element], names: dict[str, Content]) -> list[Content]:
    """The files signed as XML, not byte for byte."""
    return [
        names[uri]
        for each in references
        if (uri := uri_of(each)) in names and any("c14n" in name for name in transforms_of(each))
    ]


def other_file(
    said: Covered,
    signature: etree._Element,
    results: Sequence[VerifyResult],
    covered: Sequence[Content],
    contents: Sequence[Content],
    name: str,
) -> Problem | None:
    """A file given as what is signed, and that is not: it must be said."""
    given = only_one(contents) or named_like(name, contents)
    if given is None or given in covered or said.role == "counter-signature":
        return None
    wanted = given.digest("sha256")
    held = [result.signed_data for result in results]
    for each in signature.iterfind(f"{DS}Object"):
        try:
            held.append(decoded((each.text or "").encode()))
        except XmlRefused:
            continue
    try:
        root = parse(given.read(CONTENT_LIMIT))
        before, after = around(root, comments=False)
        own = {
            _digest(before + etree.tostring(root, method="c14n", exclusive=each, with_comments=False) + after)
            for each in (False, True)
        }
    except (XmlRefused, ValueError):
        own = set()
    if {wanted, *own} & {_digest(each) for each in held}:
        return None
    return no_content("Le fichier fourni à côté n'est pas celui que cette signature signe.")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
