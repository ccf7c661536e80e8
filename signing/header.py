"""The public header of a sealed envelope (pli/1).

Frozen bytes, strict parse, one hash that everything is bound to.

>>> parse_header(build_header(header)) == header
"""

import hashlib
import re
from dataclasses import asdict, dataclass, fields

from signing.errors import HeaderRefused
from signing.strict import dump_object, hex64, integer, load_object, text, uuid_text

VERSION = "pli/1"
HEADER_LIMIT = 64 * 1024  # bytes
MAX_FILES = 100_000
KINDS = ("candidature", "offre")
LOT = re.compile(r"[A-Za-z0-9._-]{1,16}")


@dataclass(frozen=True)
class Header:
    """Ids of one envelope and the SHA-256 (lower hex) of its manifest, public keys and ceremony record."""

    consultation: str
    lot: str
    bidder: str
    kind: str
    deposit: str
    envelope: str
    files: int
    manifest: str
    committee: str
    platform: str
    ceremony: str


_KEYS = frozenset({"v", *(field.name for field in fields(Header))})


def build_header(header: Header) -> bytes:
    """The frozen bytes of a header; raises HeaderRefused on values that `parse_header` would refuse."""
    data = dump_object({"v": VERSION, **asdict(header)})
    parse_header(data)
    return data


def parse_header(data: bytes) -> Header:
    """The header in these bytes.

    Raises HeaderRefused: unknown version or key, duplicate, bad id, over 64 KiB.
    """
    value = load_object(data, limit=HEADER_LIMIT, keys=_KEYS, refuse=HeaderRefused)
    if value["v"] != VERSION:
        raise HeaderRefused("Version de pli inconnue.")
    lot = text(value["lot"], HeaderRefused, "Le lot")
    if not LOT.fullmatch(lot):
        raise HeaderRefused("Le numéro de lot n'est pas valide.")
    kind = text(value["kind"], HeaderRefused, "La nature")
    if kind not in KINDS:
        raise HeaderRefused("La nature du pli est « candidature » ou « offre ».")
    ids = {
        name: uuid_text(value[name], HeaderRefused, name)
        for name in ("consultation", "bidder", "deposit", "envelope")
    }
    hashes = {
        name: hex64(value[name], HeaderRefused, name)
        for name in ("manifest", "committee", "platform", "ceremony")
    }
    files = integer(value["files"], HeaderRefused, "Le nombre de fichiers", low=1, high=MAX_FILES)
    return Header(lot=lot, kind=kind, files=files, **ids, **hashes)


def header_hash(data: bytes) -> bytes:
    """hh = SHA-256("pli/1 header" 0x00 || H), over the bytes as received."""
    return hashlib.sha256(b"pli/1 header\x00" + data).digest()
