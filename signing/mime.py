"""A CMS in the dress of a mail (S/MIME, RFC 8551): « smime.p7m » as it is sent, or beside what it signs."""

import re
from dataclasses import dataclass

from signing.contents import Content
from signing.found import Unreadable

_HEADERS = re.compile(rb"(?:[!-9;-~]{1,100}:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)+(?=\r?\n)")
_HEADER = re.compile(rb"([!-9;-~]+):([^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)")
_KIND = re.compile(rb"\s*(?:application/(?:x-)?pkcs7-mime|multipart/signed)\b", re.IGNORECASE)
# What says how to read the mail; a description, a comment, a name of several words say more.
_OF_MIME = {b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition"}
_PLAIN = re.compile(rb"""[\w./+-]+(?:\s*;\s*[\w*-]+\s*=\s*(?:[\w./+-]+|"[\w./+-]*"))*\s*;?""", re.ASCII)


# What a mail of two parts says of itself, and nothing else: who would read it otherwise reads another mail.
_SAID = re.compile(
    rb"""multipart/signed(?:\s*;\s*(?:protocol="?application/(?:x-)?pkcs7-signature"?|micalg="?[\w-]{1,20}"?"""
    rb"""|boundary=(?:"([\w'()+,./:=?-]{1,70})"|([\w'+.-]{1,70}))))+\s*;?""",
    re.IGNORECASE | re.ASCII,
)
_SIGNATURE = re.compile(rb"application/(?:x-)?pkcs7-signature\b", re.IGNORECASE)
_AS_IS = (b"7bit", b"8bit", b"binary")
_PREAMBLES = {
    b"",
    b"This is an S/MIME signed message",
    b"This is a cryptographically signed message in MIME format.",
    b"This is a multi-part message in MIME format.",
}


@dataclass(frozen=True)
class Mail:
    """What a mail holds, and whether its headers say something that nobody signed (a subject, a sender).

    `content`: what is signed, where it stands beside; `is_framed`: a text that nobody signs is around it.
    """

    body: bytes
    says_more: bool
    content: Content | None = None
    is_framed: bool = False


def is_mail(head: bytes) -> bool:
    """Whether these first bytes are the headers of a mail that says to be signed."""
    said = _HEADERS.match(head)
    return said is not None and any(
        name.lower() == b"content-type" and _KIND.match(value) for name, value in _HEADER.findall(said[0])
    )


def opened(data: bytes) -> Mail | None:
    """The armoured CMS of a signed mail, and what it signs where that stands beside; None for what is none.

    Raises Unreadable for one that two programs could read otherwise.
    """
    said = _HEADERS.match(data)
    if said is None or not is_mail(data):
        return None
    headers = _headers(said[0])
    kinds = [value for name, value in headers if name == b"content-type"]
    says_more = _say_more(headers)
    if len(kinds) == 1 and kinds[0].lower().startswith(b"multipart/"):
        others = [row for row in headers if row[0] != b"content-type"]
        if any(row[0] == b"content-transfer-encoding" and row[1].lower() not in _AS_IS for row in others):
            raise _unclear()
        return _parted(data[said.end() :], kinds[0], says_more=_say_more(others))
    if len(kinds) != 1:
        raise _unclear()
    _check_base64(headers)
    return Mail(data[said.end() :], says_more)


def _headers(said: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.strip()) for name, value in _HEADER.findall(said)]


def _say_more(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name not in _OF_MIME or not _PLAIN.fullmatch(value) for name, value in headers)


def _check_base64(headers: list[tuple[bytes, bytes]]) -> None:
    if [value.lower() for name, value in headers if name == b"content-transfer-encoding"] != [b"base64"]:
        raise Unreadable("Ce courriel signé n'est pas codé en base64 : il ne peut pas être lu.")


def _unclear() -> Unreadable:
    return Unreadable(
        "Ce fichier est un courriel signé qui ne se lit pas d'une seule façon : sa signature n'est pas jugée "
        "ici. Enregistrez le document et sa signature (smime.p7s) comme deux fichiers, ou signez le document "
        "lui-même."
    )


def _parted(body: bytes, kind: bytes, *, says_more: bool) -> Mail:
    """A message, then its signature (RFC 1847 §2.1), which is of the lines of a mail. Raises Unreadable."""
    said = _SAID.fullmatch(kind)
    if said is None or kind.lower().count(b"boundary=") != 1:
        raise _unclear()
    mark = b"--" + (said[1] or said[2])
    parts = re.split(rb"(?:\r?\n|\A)" + re.escape(mark) + rb"(--)?[ \t]*(?=\r?\n|\Z)", body)
    # Before, nothing, the message, nothing, the signature, the end, after.
    if len(parts) != 7 or parts[1::2] != [None, None, b"--"] or body.count(mark) != 3:
        raise _unclear()
    before, message, signature, after = (each.removeprefix(b"\r").removeprefix(b"\n") for each in parts[::2])
    head, own = _HEADERS.match(signature), _HEADERS.match(message)
    forms = Content("", data=message).mail_forms()
    if head is None or not forms or (own is None and message[:1] not in b"\r\n"):
        raise _unclear()
    headers = _headers(head[0])
    if [bool(_SIGNATURE.match(value)) for name, value in headers if name == b"content-type"] != [True]:
        raise _unclear()
    _check_base64(headers)
    return Mail(
        signature[head.end() :],
        says_more or _say_more(headers),
        Content("le message du courriel", data=forms[0].data),
        is_framed=before.strip() not in _PREAMBLES or bool(after.strip()),
    )
