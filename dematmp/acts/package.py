"""The archive of a transmission.

A flat tar.gz of the envelope, the message and its documents, in this order.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping

from dematmp.acts import names
from dematmp.acts.errors import ActRefused, MessageRefused
from dematmp.acts.rules import ARCHIVE_BYTES

MEMBERS = 100
UNPACKED_BYTES = 2 * ARCHIVE_BYTES
_NAMES = (names.ENVELOPE, names.MESSAGE, names.DOCUMENT)


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive; the same files always give the same bytes. Raises ActRefused over 150 MiB."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    packed = gzip.compress(plain.getvalue(), mtime=0)
    if len(packed) > ARCHIVE_BYTES:
        raise ActRefused(f"L'archive compte {len(packed)} octets ; la limite est de {ARCHIVE_BYTES}.")
    return packed


def unpack(data: bytes) -> dict[str, bytes]:
    """The members by name.

    Raises MessageRefused: too big once unpacked, folders, links, names outside the grammar.
    """
    if len(data) > ARCHIVE_BYTES:
        raise MessageRefused("L'archive dépasse 150 Mio.")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            plain = packed.read(UNPACKED_BYTES + 1)
        if len(plain) > UNPACKED_BYTES:
            raise MessageRefused("L'archive est trop volumineuse une fois dépliée.")
        return _members(plain)
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as broken:
        raise MessageRefused("L'archive n'est pas un tar.gz lisible.") from broken


def _members(plain: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
        for member in tar:
            if len(files) >= MEMBERS:
                raise MessageRefused(f"L'archive porte plus de {MEMBERS} fichiers.")
            if not member.isfile() or not any(grammar.fullmatch(member.name) for grammar in _NAMES):
                raise MessageRefused("L'archive porte un nom de fichier hors de la grammaire ACTES.")
            content = tar.extractfile(member)
            if content is None or member.name in files:
                raise MessageRefused("L'archive porte deux fois le même nom.")
            files[member.name] = content.read()
    return files
