"""Archive manifests of ASiC (EN 319 162-1 annex A.7): digests of what a timestamp proves to have been there.

The timestamp is over the manifest, which nobody signed: it must hold names and digests, and nothing to read.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from asn1crypto import cms
from lxml import etree

from signing.algorithms import hash_weakness
from signing.found import Stamped
from signing.signers import BROKEN, digest_of
from signing.xml import ASIC, DS, XmlRefused, declares_more, hash_name, parse, text_of
from signing.xmldsig import decoded

_MANIFEST = re.compile(r"META-INF/[^/]*ASiCArchiveManifest[^/]*\.xml", re.IGNORECASE)
_TOKEN = re.compile(r"META-INF/[^/]*timestamp[^/]*\.tst", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,60}/[\w!#$&^.+-]{1,60}", re.ASCII)
_BOOLEAN = (None, "true", "false", "1", "0")
# What an element may be in; a manifest is in nothing.
_INSIDE = {
    f"{ASIC}ASiCManifest": "",
    f"{ASIC}SigReference": f"{ASIC}ASiCManifest",
    f"{ASIC}DataObjectReference": f"{ASIC}ASiCManifest",
    f"{DS}DigestMethod": f"{ASIC}DataObjectReference",
    f"{DS}DigestValue": f"{ASIC}DataObjectReference",
}
_SHAPE = {
    f"{ASIC}ASiCManifest": set[str](),
    f"{ASIC}SigReference": {"URI", "MimeType"},
    f"{ASIC}DataObjectReference": {"URI", "MimeType", "Rootfile"},
    f"{DS}DigestMethod": {"Algorithm"},
    f"{DS}DigestValue": set[str](),
}


@dataclass
class Archives:
    """The stamps that count, with what each lists; `known`: the entries that they explain.

    `different`: a manifest lists what is not there, or is not there any more.
    """

    stamps: list[tuple[frozenset[str], Stamped]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    different: bool = False

    def of(self, name: str) -> list[Stamped]:
        """The stamps that prove this entry."""
        return [stamp for names, stamp in self.stamps if name in names]


def read_archives(entries: Mapping[str, bytes]) -> Archives:
    """Every archive manifest that can be computed again; the others are not known. Never raises."""
    found = Archives()
    for name in filter(_MANIFEST.fullmatch, entries):
        try:
            root = parse(entries[name])
            token, listed = _read(root, entries)
            if not _are_there(root, entries):
                found.different = True
                continue
            stamp = cms.ContentInfo.load(entries[token], strict=True)
        except (XmlRefused, etree.LxmlError, *BROKEN):
            continue
        found.stamps.append((listed, Stamped(stamp, entries[name], of="archive")))
        found.known |= {name, token}
    return found


def _read(root: etree._Element, entries: Collection[str]) -> tuple[str, frozenset[str]]:
    """The name of the timestamp, and those of what is listed. Raises ValueError for anything more."""
    if root.getprevious() is not None or root.getnext() is not None or root.tag != f"{ASIC}ASiCManifest":
        raise ValueError("not a manifest alone")
    if declares_more(root):
        raise ValueError("a namespace that is not expected")
    for node in root.iter():
        said = "".join([node.text or "", *(each.tail or "" for each in node)]).strip()
        if not isinstance(node.tag, str) or not set(node.attrib) <= _SHAPE.get(node.tag, set()):
            raise ValueError("an element or an attribute that is not expected")
        if node.tag not in _SHAPE or (said and node.tag != f"{DS}DigestValue"):
            raise ValueError("a text")
        parent = node.getparent()
        if _INSIDE[node.tag] != ("" if parent is None else parent.tag):
            raise ValueError("an element where it is not expected")
        if not _MEDIA_TYPE.fullmatch(node.get("MimeType", "a/a")) or node.get("Rootfile") not in _BOOLEAN:
            raise ValueError("a value that is not expected")
    (reference,) = root.iterfind(f"{ASIC}SigReference")
    token, listed = (
        _name_of(reference),
        [_name_of(each) for each in root.iterfind(f"{ASIC}DataObjectReference")],
    )
    if not _TOKEN.fullmatch(token) or token not in entries or len(set(listed)) != len(listed):
        raise ValueError("no timestamp, or a name twice")
    return token, frozenset(listed)


def _name_of(reference: etree._Element) -> str:
    return unquote(str(reference.get("URI"))).removeprefix("./")


def _are_there(root: etree._Element, entries: Mapping[str, bytes]) -> bool:
    """Whether all that is listed is there as it was. Raises ValueError for a digest that proves nothing."""
    for reference in root.iterfind(f"{ASIC}DataObjectReference"):
        (method,), (value,) = reference.iterfind(f"{DS}DigestMethod"), reference.iterfind(f"{DS}DigestValue")
        name = hash_name(str(method.get("Algorithm")))
        if hash_weakness(name):
            raise ValueError("weak digest")
        data, digest = entries.get(_name_of(reference)), decoded(text_of(value).encode())
        if len(digest) != hashlib.new(name, usedforsecurity=False).digest_size:
            raise ValueError("something else than a digest")
        if data is None or digest_of(data)(name) != digest:
            return False
    return True
