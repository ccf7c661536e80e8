"""A ZIP that every reader takes alike: limits, names and both directories come before a byte is believed."""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Sequence
from typing import BinaryIO

MAX_ENTRIES = 1000
CONTENT_LIMIT = 256 * 1024**2  # bytes, all contents together
_RATIO = 200  # times the compressed size, beyond a megabyte
# Extra fields of a ZIP (APPNOTE 4.5.2): times (NTFS, Unix), owners, what Java begins a JAR with.
_EXTRAS, _EXTRA_BYTES = {0x000A, 0x5455, 0x5855, 0x7855, 0x7875, 0xCAFE}, 36
_END_BYTES, _ROW_BYTES = 22, 46
_DOS_LABEL, _DOS_FOLDER = 0x08, 0x10


class ContainerRefused(ValueError):
    """A container that is not read; the message says why, in French."""


def entries_of(file: BinaryIO, comments: Collection[str]) -> dict[str, bytes]:
    """Every entry, read; `comments`: what the archive may say of itself. Raises ContainerRefused."""
    try:
        with zipfile.ZipFile(file) as archive:
            rows = archive.infolist()
            _check_names(rows)
            _check_layout(file, archive, rows, comments)
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
        if not _is_plain(row):
            raise ContainerRefused("Une entrée de ce conteneur n'est ni un fichier ni un dossier.")
        if row.flag_bits & 0x1 or row.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ContainerRefused("Une entrée de ce conteneur est chiffrée ou comprimée autrement.")
        if row.file_size > max(1024**2, row.compress_size * _RATIO):
            raise ContainerRefused("Une entrée de ce conteneur se gonfle hors de toute mesure.")
    if sum(row.file_size for row in rows) > CONTENT_LIMIT:
        raise ContainerRefused("Les contenus de ce conteneur dépassent la limite permise.")


def _is_plain(row: zipfile.ZipInfo) -> bool:
    """Whether it is extracted as what it is: a link would show another entry under the name of this one."""
    is_folder = row.filename.endswith("/")
    kind = stat.S_IFMT(row.external_attr >> 16)  # of Unix; below, of DOS
    if row.external_attr & (_DOS_LABEL if is_folder else _DOS_LABEL | _DOS_FOLDER):
        return False
    return kind in ((0, stat.S_IFDIR) if is_folder else (0, stat.S_IFREG))


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


def _check_layout(
    file: BinaryIO, archive: zipfile.ZipFile, rows: Sequence[zipfile.ZipInfo], comments: Collection[str]
) -> None:
    """Entries follow each other from the first byte to the directory: no room for what is not listed."""
    if any(row.comment for row in rows):
        raise ContainerRefused("Une entrée de ce conteneur porte un commentaire, que rien ne signe.")
    _check_end(file, archive, rows)
    if archive.comment and archive.comment.decode(errors="replace").removeprefix("mimetype=") not in comments:
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
        if not _fills(file, row):
            raise ContainerRefused("Ce conteneur cache des données après celles d'une entrée.")
        position += 30 + name_length + extra_length + row.compress_size
        if row.flag_bits & 0x8:
            position += _descriptor(file, position)
    if position != archive.start_dir:
        raise ContainerRefused("Ce conteneur cache des données entre ses entrées.")


def _fills(file: BinaryIO, row: zipfile.ZipInfo) -> bool:
    """Whether the data, read from here, end where the entry does: some readers would stop before."""
    if row.compress_type == zipfile.ZIP_STORED:
        return row.compress_size == row.file_size
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
