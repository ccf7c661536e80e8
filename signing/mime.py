"""A CMS in the dress of a mail (S/MIME, RFC 8551): « smime.p7m » as it is sent."""

import re
from dataclasses import dataclass

from signing.found import Unreadable

_HEADERS = re.compile(rb"(?:[!-9;-~]{1,100}:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)+(?=\r?\n)")
_HEADER = re.compile(rb"([!-9;-~]+):([^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)")
_KIND = re.compile(rb"\s*(?:application/(?:x-)?pkcs7-mime|multipart/signed)\b", re.IGNORECASE)
# What says how to read the mail; a description, a comment, a name of several words say more.
_OF_MIME = {b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition"}
_PLAIN = re.compile(rb"""[\w./+-]+(?:\s*;\s*[\w*-]+\s*=\s*(?:[\w./+-]+|"[\w./+-]*"))*\s*;?""", re.ASCII)


@dataclass(frozen=True)
class Mail:
    """What a mail holds, and whether its headers say something that nobody signed (a subject, a sender)."""

    body: bytes
    says_more: bool


def is_mail(head: bytes) -> bool:
    """Whether these first bytes are the headers of a mail that says to be signed."""
    said = _HEADERS.match(head)
    return said is not None and any(
        name.lower() == b"content-type" and _KIND.match(value) for name, value in _HEADER.findall(said[0])
    )


def opened(data: bytes) -> Mail | None:
    """The armoured CMS of a signed mail; None for what is not one.

    Raises Unreadable for one whose content stands apart (« multipart/signed »), whose lines change on the
    way.
    """
    said = _HEADERS.match(data)
    if said is None or not is_mail(data):
        return None
    headers = [(name.lower(), value.strip()) for name, value in _HEADER.findall(said[0])]
    kinds = [value for name, value in headers if name == b"content-type"]
    ways = [value.lower() for name, value in headers if name == b"content-transfer-encoding"]
    if len(kinds) != 1 or kinds[0].lower().startswith(b"multipart/"):
        raise Unreadable(
            "Ce fichier est un courriel signé : sa signature n'est pas jugée ici. Enregistrez le document et "
            "sa signature (smime.p7s) comme deux fichiers, ou signez le document lui-même."
        )
    if ways != [b"base64"]:
        raise Unreadable("Ce courriel signé n'est pas codé en base64 : il ne peut pas être lu.")
    return Mail(
        data[said.end() :],
        any(name not in _OF_MIME or not _PLAIN.fullmatch(value) for name, value in headers),
    )
