"""ASiC-S and ASiC-E containers (ETSI EN 319 162-1): a ZIP of contents and of signatures over them.

The ZIP is hostile: `signing.zipped` reads it.
"""

import base64
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from lxml import etree

from signing.algorithms import hash_weakness
from signing.archived import DIFFERENT
from signing.asic_archive import Archives, read_archives
from signing.cades import read_cades
from signing.contents import Content
from signing.der import Beside, beside_armour, undress
from signing.found import PARTIAL, UNCLEAR, WHOLE, Found, Problem, altered, malformed, no_content
from signing.signers import BROKEN
from signing.xades import read_xades
from signing.xml import ASIC, DS, ENTRIES, XmlRefused, declares_more, hash_name, parse, text_of
from signing.zipped import entries_of

_MIMETYPES = {
    "application/vnd.etsi.asic-s+zip": "ASiC-S",
    "application/vnd.etsi.asic-e+zip": "ASiC-E",
}
_SIGNATURE_XML = re.compile(r"META-INF/[^/]*signatures[^/]*\.xml", re.IGNORECASE)
_SIGNATURE_CMS = re.compile(r"META-INF/[^/]*signature[^/]*\.p7s", re.IGNORECASE)
_MANIFEST = re.compile(r"META-INF/[^/]*ASiCManifest[^/]*\.xml", re.IGNORECASE)
_ARCHIVE = re.compile(r"META-INF/[^/]*(ASiCArchiveManifest|timestamp|evidencerecord)[^/]*", re.IGNORECASE)
_MEDIA_TYPE = re.compile(rb"\s*[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}\s{0,4}", re.ASCII)  # and nothing else
_META = "META-INF/manifest.xml"  # of the entries and their types (ODF 1.2 part 3), never signed
_LISTED = {"version", "size"}
_NUMBER = re.compile(r"[\d.]{1,20}", re.ASCII)
_CHARSET = re.compile(r";\s?charset=[\w-]{1,20}$", re.ASCII | re.IGNORECASE)
_NOT_COMPUTED = (
    "Conteneur à archivage : ses horodatages d'archive ne sont pas tous recalculés ici, et le reste ne "
    "suffit pas à conclure."
)


def read_asic(path: Path) -> list[Found] | None:
    """Every signature of a container; None for a ZIP that is not one. Raises ContainerRefused."""
    with path.open("rb") as file:
        if not _is_container(file):
            return None
        entries = entries_of(file, _MIMETYPES)
    kind = _MIMETYPES.get(entries.get("mimetype", b"").decode(errors="replace").strip())
    signatures = [
        each for each in entries if _SIGNATURE_XML.fullmatch(each) or _SIGNATURE_CMS.fullmatch(each)
    ]
    every = [Content(name, data=data) for name, data in entries.items()]
    contents = [each for each in every if not _is_meta(each.name, entries)]
    kind = kind or ("ASiC-S" if len(contents) == 1 else "ASiC-E")
    designated = _designated(entries, signatures)
    strays = [each for each in entries if _strays(each, designated) or _is_idle(each, entries)]
    contents_and_strays = [*contents, *map(Content, strays)]
    found: list[Found] = []
    archives = read_archives(entries)
    for name in signatures:
        if _SIGNATURE_XML.fullmatch(name):
            rows = read_xades(entries[name], every, container=True)
            if not rows:
                contents_and_strays.append(Content(name))
        else:
            rows = _read_cms(entries, name, contents, every)
        for each in rows:
            each.stamps += archives.of(name)
        found += rows
    return [_settled(each, kind, contents_and_strays, entries, archives) for each in found]


def _designated(entries: dict[str, bytes], signatures: Sequence[str]) -> set[str]:
    """The manifests that say of which signature they are: the others would be content that nobody signed."""
    found = set()
    for name in filter(_MANIFEST.fullmatch, entries):
        try:
            root = parse(entries[name])
        except (XmlRefused, etree.LxmlError):
            continue
        said = _signature_of(root)
        if said in signatures and _SIGNATURE_CMS.fullmatch(said):
            found.add(name)  # XML signatures have none: theirs would be signed by nobody
    return found


def _signature_of(root: etree._Element) -> str:
    """The signature that signs a manifest, as the manifest says; empty for what is not one."""
    reference = root.find(f"{ASIC}SigReference")
    if root.tag != f"{ASIC}ASiCManifest" or reference is None:
        return ""
    return unquote(str(reference.get("URI")))


def _is_idle(name: str, entries: Collection[str]) -> bool:
    """Whether a folder holds no file: its name alone is there to be read, and nobody signed it."""
    return name.endswith("/") and not any(
        each.startswith(name) and not each.endswith("/") for each in entries
    )


def _strays(name: str, designated: set[str]) -> bool:
    return bool(_MANIFEST.fullmatch(name)) and not _ARCHIVE.fullmatch(name) and name not in designated


def _is_container(file: BinaryIO) -> bool:
    """Whether a ZIP says that it is one, or holds signatures where one does; others are plain archives."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any(_SIGNATURE_XML.fullmatch(each) or _SIGNATURE_CMS.fullmatch(each) for each in names):
                return True
            with archive.open("mimetype") as entry:
                return entry.read(100).decode(errors="replace").strip() in _MIMETYPES
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, KeyError, ValueError):
        return False


def _is_meta(name: str, entries: Mapping[str, bytes]) -> bool:
    """What a container holds beside its contents; anything else must be signed, wherever it hides."""
    if name == _META:
        return _lists_entries(entries)
    known = (_SIGNATURE_XML, _SIGNATURE_CMS, _MANIFEST, _ARCHIVE)
    if name == "mimetype":
        return _MEDIA_TYPE.fullmatch(entries[name]) is not None
    return name.endswith("/") or any(each.fullmatch(name) for each in known)


def _lists_entries(entries: Mapping[str, bytes]) -> bool:
    """Whether a manifest.xml lists entries that are there, and says nothing else."""
    try:
        root = parse(entries[_META])
    except (XmlRefused, etree.LxmlError):
        return False
    rows = list(root.iter())
    return (
        root.getprevious() is None
        and root.getnext() is None
        and all(isinstance(each.tag, str) for each in rows)  # no comment, no instruction
        and {each.tag for each in rows} <= {f"{ENTRIES}manifest", f"{ENTRIES}file-entry"}
        and not "".join(map(str, root.itertext())).strip()
        and not declares_more(root)
        and all(_names_an_entry(each, entries) for each in rows)
    )


def _names_an_entry(row: etree._Element, entries: Collection[str]) -> bool:
    said = {str(name).removeprefix(ENTRIES): str(value) for name, value in row.attrib.items()}
    path, kind = said.pop("full-path", "/"), said.pop("media-type", "")
    known = {path, unquote(path)} & {"/", *entries}
    is_folder = path.endswith("/") and any(each.startswith(path) for each in entries)
    return (
        len({etree.QName(name).localname for name in row.attrib}) == len(row.attrib)
        and (bool(known) or is_folder)
        and (not kind or _MEDIA_TYPE.fullmatch(_CHARSET.sub("", kind).encode()) is not None)
        and set(said) <= _LISTED
        and all(_NUMBER.fullmatch(each) for each in said.values())
    )


def _settled(
    found: Found, kind: str, contents: Sequence[Content], entries: Collection[str], archives: Archives
) -> Found:
    """A signature of a container is whole when it covers every content of it."""
    found.format = f"{kind} {found.format}"
    if found.problem is None and found.role == "signature" and found.coverage == WHOLE:
        missed = sorted({each.name for each in contents} - set(found.covers))
        if missed:
            found.coverage = PARTIAL
            found.warnings.append("Non couvert par cette signature : " + ", ".join(missed[:20]))
    if any(_ARCHIVE.fullmatch(each) and each not in archives.known for each in entries):
        found.archived = DIFFERENT if archives.different else _NOT_COMPUTED
    return found


def _read_cms(
    entries: dict[str, bytes], name: str, contents: Sequence[Content], every: Sequence[Content]
) -> list[Found]:
    try:
        data = undress(entries[name]) if beside_armour(entries[name]) == Beside() else None
    except ValueError:
        data = None
    if data is None:
        return [Found("CAdES", problem=malformed("Signature illisible dans le conteneur."), coverage=UNCLEAR)]
    manifests = [each for each in entries if _MANIFEST.fullmatch(each)]
    if not manifests:
        # ASiC-S: the only content is what is signed.
        if len(contents) != 1:
            problem = malformed("Ce conteneur a plusieurs contenus et aucun manifeste qui les relie.")
            return [Found("CAdES", problem=problem, coverage=UNCLEAR)]
        return read_cades(data, name, contents)
    try:
        return _by_manifest(entries, name, data, manifests, every)
    except XmlRefused as refused:
        return [Found("CAdES", problem=malformed(str(refused)), coverage=UNCLEAR)]
    except (etree.LxmlError, *BROKEN) as broken:
        unread = malformed(f"Manifeste illisible ({type(broken).__name__}).")
        return [Found("CAdES", problem=unread, coverage=UNCLEAR)]


def _by_manifest(
    entries: dict[str, bytes],
    name: str,
    data: bytes,
    manifests: Sequence[str],
    contents: Sequence[Content],
) -> list[Found]:
    """ASiC-E with CAdES: the signature is over a manifest, which holds the digests of the contents."""
    mine = []
    for manifest in manifests:
        root = parse(entries[manifest])
        if _signature_of(root) == name:
            mine.append((manifest, root))
    if len(mine) != 1:
        problem = malformed("Aucun manifeste, ou plusieurs, ne désignent cette signature.")
        return [Found("CAdES", problem=problem, coverage=UNCLEAR)]
    manifest, root = mine[0]
    found = read_cades(data, name, [Content(manifest, data=entries[manifest])])
    covers, differs = _compare(root, contents)
    weak = [hash_weakness(hash_name(str(each.get("Algorithm")))) for each in root.iter(f"{DS}DigestMethod")]
    for each in found:
        if each.role == "signature" and each.problem is None:
            each.covers, each.problem = tuple(covers), differs
            each.weak = ", ".join(filter(None, [each.weak, *weak]))
    return found


def _compare(root: etree._Element, contents: Sequence[Content]) -> tuple[list[str], Problem | None]:
    by_name = {each.name: each for each in contents}
    covers: list[str] = []
    for reference in root.iterfind(f"{ASIC}DataObjectReference"):
        name = unquote(str(reference.get("URI"))).removeprefix("./")
        method = reference.find(f"{DS}DigestMethod")
        content = by_name.get(name)
        if content is None:
            return covers, no_content(f"« {name[:200]} » est au manifeste mais pas dans le conteneur.")
        digest = hash_name(str(method.get("Algorithm") if method is not None else ""))
        if content.digest(digest) != base64.b64decode(text_of(reference.find(f"{DS}DigestValue"))):
            return covers, altered(f"« {name[:200]} » a été modifié après la signature.")
        covers.append(name)
    return covers, None
