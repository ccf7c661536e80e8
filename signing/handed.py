"""What a file that was handed over says: JSON, or the JSON that a sealed PDF encloses."""

import hashlib
from pathlib import Path
from typing import Any

from signing.enclosed import FILE_LIMIT, enclosed
from signing.signers import BROKEN
from signing.strict import parse

_NONCE_BYTES = 32


def digest_of(nonce: str, record: bytes) -> str:
    """What the leaf of an entry says of its record: SHA-256(nonce || record), in hexadecimal.

    Raises ValueError for a nonce of another length: some bytes of the record would pass for its own.
    """
    before = bytes.fromhex(nonce)
    if len(before) != _NONCE_BYTES:
        raise ValueError("nonce")
    return hashlib.sha256(before + record).hexdigest()


def is_pdf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"%PDF"


def handed(path: Path, *, name: str) -> dict[str, Any]:
    """The object that it says, under this `name` in a PDF; empty for another thing, or one too long.

    Raises ReceiptRefused for a PDF that is not read.
    """
    if path.stat().st_size > FILE_LIMIT:
        return {}
    data = enclosed(path).get(name, b"") if is_pdf(path) else path.read_bytes()
    try:
        said = parse(data)
    except BROKEN:
        return {}
    return said if isinstance(said, dict) else {}
