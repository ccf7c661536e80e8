"""Limits on ASN.1 before anything parses it, and the three clothes of a CMS: DER, PEM, base64."""

import base64
import binascii
import re
from dataclasses import dataclass

from asn1crypto import pem

MAX_DEPTH, MAX_ITEMS = 64, 200_000
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # OID 1.2.840.113549.1.7.2
_TEXT = re.compile(rb"[A-Za-z0-9+/=\s]+")


class TooComplex(ValueError):
    """Nesting or number of elements beyond the limits."""


def is_signed_data(data: bytes) -> bool:
    """Whether these bytes begin like a CMS SignedData, in BER or DER."""
    return data[:1] == b"\x30" and _SIGNED_DATA in data[:24]


def undress(data: bytes) -> bytes | None:
    """The BER bytes of a CMS given as BER, PEM or base64; None for anything else.

    Raises ValueError when there are several PEM blocks: nobody knows which one is meant, whatever they hold.
    """
    if is_signed_data(data):
        return _trimmed(data)
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"-----BEGIN ") or b"\n-----BEGIN " in data[:65536]:
        if not pem.detect(data):
            return None
        named = data.replace(b"PKCS #7 SIGNED DATA", b"PKCS7")  # as some tools of before write it
        blocks = [(name, der) for name, _, der in pem.unarmor(named, multiple=True)]
        signed = [der for _, der in blocks if is_signed_data(der)]
        if signed and data.count(b"-----BEGIN ") > 1:
            raise ValueError("several PEM blocks")
        return signed[0] if signed else None
    if head[:1] == b"M" and _TEXT.fullmatch(head):
        try:
            decoded = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            return None
        return decoded if is_signed_data(decoded) else None
    return None


@dataclass(frozen=True)
class Beside:
    """Whether a text stands before the armour of a PEM, or in its headers, and after it: nothing signs it."""

    before: bool = False
    after: bool = False


def beside_armour(data: bytes) -> Beside:
    """What a reader of the file sees around the one block that `undress` read."""
    start, end = data.find(b"-----BEGIN "), data.rfind(b"-----END ")
    if is_signed_data(data) or start < 0 or end < 0:
        return Beside()
    body = data[start:end].partition(b"\n")[2]
    return Beside(
        before=bool(data[:start].lstrip(b"\xef\xbb\xbf").strip()) or b":" in body,
        after=bool(data[end:].partition(b"\n")[2].strip(b" \t\r\n\0")),
    )


def _trimmed(data: bytes) -> bytes:
    """Without the ends of lines and zeros that some tools add after the one element of the file."""
    try:
        whole = check_limits(data)
    except (ValueError, IndexError):
        return data
    return data if data[whole:].strip(b"\r\n\0") else data[:whole]


def check_limits(data: bytes) -> int:
    """Walk every element without recursion; where the first one ends.

    Raises TooComplex, or ValueError for a truncated one.
    """
    ends: list[int] = []  # ends of the open elements, -1 for an indefinite length
    position = items = 0
    while position < len(data):
        while ends and ends[-1] == position:
            ends.pop()
        if not ends and items:
            break  # what follows the first element is the parser's to refuse
        items += 1
        if items > MAX_ITEMS or len(ends) > MAX_DEPTH:
            raise TooComplex("too many or too deep ASN.1 elements")
        if data[position : position + 2] == b"\x00\x00" and ends and ends[-1] == -1:
            ends.pop()
            position += 2
            continue
        constructed, position, length = _header(data, position)
        if length < 0:
            ends.append(-1)
            continue
        end = position + length
        if end > len(data):
            raise ValueError("truncated ASN.1")
        if constructed and length:
            ends.append(end)
        else:
            position = end
    return position


def _header(data: bytes, position: int) -> tuple[bool, int, int]:
    """(constructed, start of the content, its length or -1 when indefinite)."""
    first = data[position]
    position += 1
    if first & 0x1F == 0x1F:
        while position < len(data) and data[position] & 0x80:
            position += 1
        position += 1
    if position >= len(data):
        raise ValueError("truncated ASN.1")
    octet = data[position]
    position += 1
    if octet < 0x80:
        return bool(first & 0x20), position, octet
    if octet == 0x80:
        return True, position, -1
    count = octet & 0x7F
    if count > 8 or position + count > len(data):
        raise ValueError("truncated ASN.1")
    return bool(first & 0x20), position + count, int.from_bytes(data[position : position + count], "big")
