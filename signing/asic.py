"""ASiC-S and ASiC-E containers (ETSI EN 319 162-1): a ZIP of contents and of signatures over them.

The ZIP is hostile: limits, names and both directories are checked before a byte is believed.
"""

import base64
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from lxml import etree

from signing.algorithms import hash_weakness
from signing.cades import read_cades
from signing.contents import Content
from signing.der import undress
from signing.found import PARTIAL, UNCLEAR, WHOLE, Found, Problem, altered, malformed, no_content
from signing.signers import BROKEN
from signing.xades import read_xades
from signing.xml import ASIC, DS, XmlRefused, hash_name, parse, text_of

MAX_ENTRIES = 1000
CONTENT_LIMIT = 256 * 1024**2  # bytes, all contents together
_RATIO = 200  # times the compressed size, beyond a megabyte
_MIMETYPES = {
    "application/vnd.etsi.asic-s+zip": "ASiC-S",
    "application/vnd.etsi.asic-e+zip": "ASiC-E",
}
_SIGNATURE_XML = re.compile(r"META-INF/[^/]*signatures[^/]*\.xml", re.IGNORECASE)
_SIGNATURE_CMS = re.compile(r"META-INF/[^/]*signature[^/]*\.p7s", re.IGNORECASE)
_MANIFEST = re.compile(r"META-INF/[^/]*ASiCManifest[^/]*\.xml", re.IGNORECASE)
_ARCHIVE = re.compile(r"META-INF/[^/]*(ASiCArchiveManifest|timestamp|evidencerecord)[^/]*", re.IGNORECASE)
_MEDIA_TYPE = re.compile(rb"\s*[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}\s{0,4}", re.ASCII)  # and nothing else
# Extra fields of a ZIP (APPNOTE 4.5.2): times (NTFS, Unix), owners, what Java begins a JAR with.
_EXTRAS, _EXTRA_BYTES = {0x000A, 0x5455, 0x5855, 0x7855, 0x7875, 0xCAFE}, 36
_END_BYTES, _ROW_BYTES = 22, 46
_META = "META-INF/manifest.xml"  # of the entries and their types (ODF 1.2 part 3), never signed
_ENTRIES = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"


class ContainerRefused(ValueError):
    """A container that is not read; the message says why, in French."""


def read_asic(path: Path) -> list[Found] | None:
    """Every signature of a container; None for a ZIP that is not one. Raises ContainerRefused."""
    with path.open("rb") as file:
        if not _is_container(file):
            return None
        entries = _entries(file)
    kind = _MIMETYPES.get(entries.get("mimetype", b"").decode(errors="replace").strip())
    signatures = [
        each for each in entries if _SIGNATURE_XML.fullmatch(each) or _SIGNATURE_CMS.fullmatch(each)
    ]
    contents = [Content(name, data=data) for name, data in entries.items() if not _is_meta(name, data)]
    kind = kind or ("ASiC-S" if len(contents) == 1 else "ASiC-E")
    designated = _designated(entries, signatures)
    contents_and_strays = [*contents, *(Content(each) for each in entries if _strays(each, designated))]
    found: list[Found] = []
    for name in signatures:
        if _SIGNATURE_XML.fullmatch(name):
            rows = read_xades(entries[name], contents, container=True)
            if not rows:
                contents_and_strays.append(Content(name))
        else:
            rows = _read_cms(entries, name, contents)
        found += rows
    return [_settled(each, kind, contents_and_strays, entries) for each in found]


def _designated(entries: dict[str, bytes], signatures: Sequence[str]) -> set[str]:
    """The manifests that say of which signature they are: the others would be content that nobody signed."""
    found = set()
    for name in filter(_MANIFEST.fullmatch, entries):
        try:
            reference = parse(entries[name]).find(f"{ASIC}SigReference")
        except (XmlRefused, etree.LxmlError):
            continue
        if reference is not None and unquote(str(reference.get("URI"))) in signatures:
            found.add(name)
    return found


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


def _is_meta(name: str, data: bytes) -> bool:
    """What a container holds beside its contents; anything else must be signed, wherever it hides."""
    if name == _META:
        return _lists_entries(data)
    known = (_SIGNATURE_XML, _SIGNATURE_CMS, _MANIFEST, _ARCHIVE)
    if name == "mimetype":
        return _MEDIA_TYPE.fullmatch(data) is not None
    return name.endswith("/") or any(each.fullmatch(name) for each in known)


def _lists_entries(data: bytes) -> bool:
    """Whether a manifest.xml lists entries and says nothing else."""
    try:
        root = parse(data)
    except (XmlRefused, etree.LxmlError):
        return False
    kinds = {each.tag for each in root.iter(etree.Element)}
    return (
        kinds <= {f"{_ENTRIES}manifest", f"{_ENTRIES}file-entry"}
        and not "".join(map(str, root.itertext())).strip()
    )


def _settled(found: Found, kind: str, contents: Sequence[Content], entries: dict[str, bytes]) -> Found:
    """A signature of a container is whole when it covers every content of it."""
    found.format = f"{kind} {found.format}"
    if found.problem is None and found.role == "signature" and found.coverage == WHOLE:
        missed = sorted({each.name for each in contents} - set(found.covers))
        if missed:
            found.coverage = PARTIAL
            found.warnings.append("Non couvert par cette signature : " + ", ".join(missed[:20]))
    if any(_ARCHIVE.fullmatch(each) for each in entries):
        found.archived = (
            "Conteneur à archivage : ses horodatages d'archive ne sont pas recalculés ici, et le reste ne "
            "suffit pas à conclure."
        )
    return found


def _read_cms(entries: dict[str, bytes], name: str, contents: Sequence[Content]) -> list[Found]:
    try:
        data = undress(entries[name])
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
        return _by_manifest(entries, name, data, manifests, contents)
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
        reference = root.find(f"{ASIC}SigReference")
        if root.tag != f"{ASIC}ASiCManifest" or reference is None:
            continue
        if unquote(str(reference.get("URI"))) == name:
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


def _entries(file: BinaryIO) -> dict[str, bytes]:
    """Every entry, read. Raises ContainerRefused."""
    try:
        with zipfile.ZipFile(file) as archive:
            rows = archive.infolist()
            _check_names(rows)
            _check_layout(file, archive, rows)
            left = CONTENT_LIMIT
            found = {}
            for row in rows:
                with archive.open(row) as entry:
                    data = entry.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise ContainerRefused("Les contenus de ce conteneur dépassent la limite permise.")
                found[row.filename] = data
            return found
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as bad:
        if isinstance(bad, ContainerRefused):
            raise
        raise ContainerRefused(f"Ce conteneur est illisible ({type(bad).__name__}).") from bad


def _check_names(rows: Sequence[zipfile.ZipInfo]) -> None:
    if len(rows) > MAX_ENTRIES:
        raise ContainerRefused(f"Ce conteneur a plus de {MAX_ENTRIES} entrées.")
    seen: set[str] = set()
    for row in rows:
        name = row.filename
        parts = name.split("/")
        if name.casefold() in seen:
            raise ContainerRefused("Deux entrées de ce conteneur portent le même nom.")
        seen.add(name.casefold())
        outside = name.startswith("/") or ".." in parts or ":" in parts[0]
        if outside or "\\" in name or "\x00" in row.orig_filename:
            raise ContainerRefused("Une entrée de ce conteneur a un nom qui sort du conteneur.")
        if name.endswith("/") and row.file_size:
            raise ContainerRefused("Un dossier de ce conteneur cache des données.")
        if row.flag_bits & 0x1 or row.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ContainerRefused("Une entrée de ce conteneur est chiffrée ou comprimée autrement.")
        if row.file_size > max(1024**2, row.compress_size * _RATIO):
            raise ContainerRefused("Une entrée de ce conteneur se gonfle hors de toute mesure.")
    if sum(row.file_size for row in rows) > CONTENT_LIMIT:
        raise ContainerRefused("Les contenus de ce conteneur dépassent la limite permise.")


def _check_end(file: BinaryIO, archive: zipfile.ZipFile, rows: Sequence[zipfile.ZipInfo]) -> None:
    """One end, which designates the one directory that is there (APPNOTE 4.3.16): readers would choose."""
    size = file.seek(0, os.SEEK_END)
    end = size - _END_BYTES - len(archive.comment)
    file.seek(max(0, end))
    record = file.read(_END_BYTES)
    fields = struct.unpack("<4sHHHHIIH", record) if len(record) == _END_BYTES else ()
    directory = sum(_ROW_BYTES + len(_name(row)) + len(row.extra) for row in rows)
    said = (b"PK\x05\x06", 0, 0, len(rows), len(rows), directory, archive.start_dir, len(archive.comment))
    if fields != said or archive.start_dir + directory != end:
        raise ContainerRefused("Les deux répertoires de ce conteneur se contredisent.")


def _name(row: zipfile.ZipInfo) -> bytes:
    """The name as its bytes are in the file."""
    return row.orig_filename.encode("utf-8" if row.flag_bits & 0x800 else "cp437")


def _check_layout(file: BinaryIO, archive: zipfile.ZipFile, rows: Sequence[zipfile.ZipInfo]) -> None:
    """Entries follow each other from the first byte to the directory: no room for what is not listed."""
    if any(row.comment for row in rows):
        raise ContainerRefused("Une entrée de ce conteneur porte un commentaire, que rien ne signe.")
    _check_end(file, archive, rows)
    if (
        archive.comment
        and archive.comment.decode(errors="replace").removeprefix("mimetype=") not in _MIMETYPES
    ):
        raise ContainerRefused("Ce conteneur porte un commentaire, que rien ne signe.")
    position = 0
    for row in sorted(rows, key=lambda each: each.header_offset):
        if row.header_offset != position:
            raise ContainerRefused("Ce conteneur cache des données entre ses entrées.")
        file.seek(position)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise ContainerRefused("Les deux répertoires de ce conteneur se contredisent.")
        name_length = int.from_bytes(header[26:28], "little")
        extra_length = int.from_bytes(header[28:30], "little")
        if file.read(name_length) != _name(row):
            raise ContainerRefused("Les deux répertoires de ce conteneur se contredisent.")
        # A reader of streams has these alone; checksum and sizes may come after (bit 3).
        sizes = struct.pack("<III", row.CRC, row.compress_size, row.file_size)
        known = (sizes, bytes(12)) if row.flag_bits & 0x8 else (sizes,)
        if header[6:10] != struct.pack("<HH", row.flag_bits, row.compress_type) or header[14:26] not in known:
            raise ContainerRefused("Les deux répertoires de ce conteneur se contredisent.")
        if _says_more(row.extra) or _says_more(file.read(extra_length)):
            raise ContainerRefused("Une entrée de ce conteneur porte un autre nom, ou d'autres données.")
        if row.compress_type == zipfile.ZIP_DEFLATED and not _fills(file, row):
            raise ContainerRefused("Ce conteneur cache des données après une entrée comprimée.")
        position += 30 + name_length + extra_length + row.compress_size
        if row.flag_bits & 0x8:
            position += _descriptor(file, position)
    if position != archive.start_dir:
        raise ContainerRefused("Ce conteneur cache des données entre ses entrées.")


def _fills(file: BinaryIO, row: zipfile.ZipInfo) -> bool:
    """Whether the compressed stream, read from here, ends where its entry does."""
    left, inflater = row.compress_size, zlib.decompressobj(-zlib.MAX_WBITS)
    while left:
        block = file.read(min(left, 65536))
        if not block:
            return False
        left -= len(block)
        inflater.decompress(block)
        if inflater.eof:
            return not inflater.unused_data and not left
    return inflater.eof


def _says_more(extra: bytes) -> bool:
    """Whether extra fields hold anything but times and owners: a second name (APPNOTE 4.6.9), other data."""
    while extra:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind not in _EXTRAS or len(extra) < 4 + size or size > _EXTRA_BYTES:
            return True
        extra = extra[4 + size :]
    return False


def _descriptor(file: BinaryIO, position: int) -> int:
    """Bytes of a data descriptor, with or without its signature (APPNOTE 4.3.9), never ZIP64 here."""
    file.seek(position)
    return 16 if file.read(4) == b"PK\x07\x08" else 12
