"""Where the ministry's answers arrive: a Maildir, IMAP or HTTP. Read, kept, and only then put away."""

import email
import email.policy
import hashlib
import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from itertools import islice
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import httpx

from dematmp.acts import names
from dematmp.acts.errors import MessageRefused, MinistryUnavailable

log = logging.getLogger(__name__)
MAIL_BYTES = 220 * 1024**2  # an archive's worth of attachments in base64
ATTACHMENTS = 200
BATCH = 200
TOO_BIG = "boîte de retour : le courrier %s (%s octets) est trop gros, et y reste"
_UNREADABLE = "L'autorité de la boîte de retour (« ca ») ne se lit pas : un fichier PEM est attendu."
_NAME = re.compile(r"[A-Za-z0-9._ \-]{1,150}")


@dataclass(frozen=True)
class Attachment:
    """A file of a mail; its name is within a safe alphabet, or empty."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Mail:
    """One mail as bytes, and how its box calls it."""

    handle: str
    raw: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


class Box(Protocol):
    """A box of mails; `put_away` comes after everything in the mail is committed."""

    def waiting(self) -> Iterator[Mail]: ...

    def put_away(self, mail: Mail) -> None: ...


class Maildir:
    """A Maildir: what waits is in `new`, what was read goes to `cur`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def waiting(self) -> Iterator[Mail]:
        """The oldest first, a batch at a time. One too big stays where it is, and keeps no other waiting."""
        folder = self._root / "new"
        paths = sorted(folder.iterdir(), key=lambda path: (path.stat().st_mtime_ns, path.name)) if (
            folder.is_dir()
        ) else []  # fmt: skip
        small = (path for path in paths if path.is_file() and _fits(path.name, path.stat().st_size))
        for path in islice(small, BATCH):
            yield Mail(path.name, path.read_bytes())

    def put_away(self, mail: Mail) -> None:
        target = self._root / "cur"
        target.mkdir(exist_ok=True)
        source = self._root / "new" / mail.handle
        if source.exists():
            source.replace(target / f"{mail.handle}:2,S")


class HttpBox:
    """The ministry's answers over HTTP: GET gives the names, GET a name gives a mail, DELETE puts it away.

    `?ca=/path.pem` names the authority of its server when the system does not know it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._authority = parse_qs(parts.query).get("ca", [""])[0]
        rest = urlencode([each for each in parse_qsl(parts.query) if each[0] != "ca"])
        self._url, self._query = urlunsplit(parts._replace(query="")).rstrip("/"), f"?{rest}" if rest else ""
        self._verify: ssl.SSLContext | bool = True

    @contextmanager
    def _asked(self, method: str, path: str) -> Iterator[httpx.Response]:
        """Its answer, whose body is still to be read. Raises MinistryUnavailable, while it is read too."""
        try:
            if self._authority and self._verify is True:
                self._verify = ssl.create_default_context(cafile=self._authority)
            where = f"{self._url}/{path}{self._query}"
            with httpx.stream(method, where, timeout=60, verify=self._verify) as answer:
                if answer.status_code != httpx.codes.OK:
                    said = f"La boîte de retour a répondu {answer.status_code}."
                    raise MinistryUnavailable(said, reached=False)
                yield answer
        except OSError as unread:  # of the file: those of the network are httpx's
            raise MinistryUnavailable(_UNREADABLE, reached=False) from unread
        except (httpx.HTTPError, httpx.InvalidURL) as failed:
            raise MinistryUnavailable("La boîte de retour ne répond pas.", reached=False) from failed

    def _call(self, method: str, path: str) -> bytes:
        with self._asked(method, path) as answer:
            return answer.read()

    def _mail(self, name: str) -> Mail | None:
        """None for one too big, which is not read to its end."""
        with self._asked("GET", name) as answer:
            if not _fits(name, int(answer.headers.get("Content-Length", 0))):
                return None
            raw = bytearray()
            for block in answer.iter_bytes():
                raw += block
                if not _fits(name, len(raw)):
                    return None
        return Mail(name, bytes(raw))

    def waiting(self) -> Iterator[Mail]:
        """A batch at a time. One too big stays where it is, and keeps no other waiting.

        Raises MinistryUnavailable.
        """
        listed = self._call("GET", "").decode("ascii", errors="replace").split()
        mails = (self._mail(name) for name in listed if _NAME.fullmatch(name))
        yield from islice((mail for mail in mails if mail is not None), BATCH)

    def put_away(self, mail: Mail) -> None:
        self._call("DELETE", mail.handle)


def _fits(name: str, size: int) -> bool:
    """Whether a mail of so many bytes is read; one too big is told."""
    if size > MAIL_BYTES:
        log.error(TOO_BIG, name, size)
    return size <= MAIL_BYTES


def box(url: str) -> Box:
    """`maildir:///path`, `imaps://login:password@host/INBOX`, `https://…`; `?ca=/path.pem` for these two.

    Raises MinistryUnavailable.
    """
    from dematmp.acts.imap import ImapBox

    parts = urlsplit(url)
    if parts.scheme == "maildir":
        return Maildir(Path(unquote(parts.path)))
    if parts.scheme in ("http", "https"):
        return HttpBox(url)
    if parts.scheme in ("imaps", "imap"):
        return ImapBox(url)
    raise MinistryUnavailable("L'adresse de la boîte de retour est inconnue.", reached=False)


def is_multichannel(raw: bytes) -> bool:
    """Whether a mail only announces that the act is handled by several channels: nothing to do.

    One that carries a message is read, whatever words surround it.
    """
    message = _parsed(raw)
    if any(names.is_of_return(str(part.get_filename() or "")) for part in message.walk()):
        return False
    body = message.get_body(("plain", "html"))
    text = str(message.get("Subject", ""))
    if body is not None:
        try:
            text += str(body.get_content())[:20_000]
        except (LookupError, ValueError, KeyError):
            text += ""
    return re.search(r"multi-?canal", text, re.IGNORECASE) is not None


def attachments(raw: bytes) -> list[Attachment]:
    """The named files of a mail. Raises MessageRefused: too many, or a name outside the alphabet."""
    found: list[Attachment] = []
    for part in _parsed(raw).walk():
        if part.is_multipart() or not part.get_filename():
            continue
        if len(found) >= ATTACHMENTS:
            raise MessageRefused(f"Le courrier porte plus de {ATTACHMENTS} fichiers.")
        name = str(part.get_filename())
        if _NAME.fullmatch(name) is None or name.startswith("."):
            raise MessageRefused("Le courrier porte un nom de fichier hors de la grammaire ACTES.")
        data = part.get_payload(decode=True)
        found.append(Attachment(name, data if isinstance(data, bytes) else b""))
    return found


def body_of(raw: bytes) -> bytes:
    """The HTML body, kept in the archive beside the messages; empty when there is none."""
    body = _parsed(raw).get_body(("html",))
    data = body.get_payload(decode=True) if body is not None else None
    return data if isinstance(data, bytes) else b""


def _parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if not isinstance(message, EmailMessage):
        raise MessageRefused("Le courrier est illisible.")
    return message
