"""The box of the ministry's answers over IMAP (RFC 3501): read, kept, then deleted there.

`imaps://login:password@host:993/INBOX?ca=/path.pem`, or `imap://…` on this machine alone (a tunnel). What is
special in a login or a password is percent-encoded.
"""

import contextlib
import imaplib
import logging
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.mailbox import BATCH, MAIL_BYTES, TOO_BIG, Mail

log = logging.getLogger(__name__)
_SECONDS = 60.0
_PLAIN = "AUTH=PLAIN"


class ImapBox:
    """One folder of an IMAP account; one connection for each batch."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._link: imaplib.IMAP4 | None = None
        self._can: set[str] = set()

    def _connected(self) -> imaplib.IMAP4:
        parts = self._parts
        host, authority = parts.hostname or "localhost", parse_qs(parts.query).get("ca", [""])[0]
        link: imaplib.IMAP4
        if parts.scheme == "imaps":
            context = ssl.create_default_context(cafile=authority or None)
            link = imaplib.IMAP4_SSL(host, parts.port or 993, ssl_context=context, timeout=_SECONDS)
        elif host not in ("localhost", "127.0.0.1", "::1"):
            raise MinistryUnavailable(
                "La boîte de retour se lit par imaps://, jamais en clair.", reached=False
            )
        else:
            link = imaplib.IMAP4(host, parts.port or 143, timeout=_SECONDS)
        self._logged_in(link, unquote(parts.username or ""), unquote(parts.password or ""))
        self._can = {str(each).upper() for each in _words(self._asked(link.capability()))}
        self._asked(link.select(_quoted(unquote(parts.path.strip("/")) or "INBOX")))
        return link

    @classmethod
    def _logged_in(cls, link: imaplib.IMAP4, login: str, password: str) -> None:
        """By AUTHENTICATE PLAIN (RFC 4616), which takes any character; else by LOGIN, which takes ASCII."""
        if _PLAIN in link.capabilities:
            said = f"\0{login}\0{password}".encode()
            cls._asked(link.authenticate("PLAIN", lambda _: said))
        else:
            cls._asked(link.login(_quoted(login), password))  # imaplib quotes the password alone

    @staticmethod
    def _asked(answer: tuple[str, Sequence[object]]) -> list[object]:
        said, rows = answer
        if said != "OK":
            raise imaplib.IMAP4.error(f"{said} {rows!r}")
        return list(rows)

    @classmethod
    def _found(cls, link: imaplib.IMAP4, key: str, size: int) -> list[str]:
        """The UIDs of the mails that are LARGER or SMALLER than so many bytes (RFC 3501 §6.4.4)."""
        found = cls._asked(link.uid("SEARCH", "UNDELETED", key, str(size)))[0]
        return found.decode("ascii").split() if isinstance(found, bytes) else []

    def waiting(self) -> Iterator[Mail]:
        """The oldest first, a batch at a time. One too big stays where it is. Raises MinistryUnavailable."""
        try:
            link = self._link = self._connected()
            for name in self._found(link, "LARGER", MAIL_BYTES):
                log.error(TOO_BIG, name, f"plus de {MAIL_BYTES}")
            for name in self._found(link, "SMALLER", MAIL_BYTES + 1)[:BATCH]:
                rows = self._asked(link.uid("FETCH", name, "(BODY.PEEK[])"))
                if rows and isinstance(rows[0], tuple):
                    yield Mail(name, bytes(rows[0][1]))
        except (imaplib.IMAP4.error, OSError, ValueError) as failed:
            raise MinistryUnavailable("La boîte de retour ne répond pas (IMAP).", reached=False) from failed
        finally:
            link, self._link = self._link, None  # type: ignore[assignment]
            if link is not None:
                with contextlib.suppress(imaplib.IMAP4.error, OSError):
                    link.logout()

    def put_away(self, mail: Mail) -> None:
        """Deleted from the box: the platform has it. Raises MinistryUnavailable.

        Where the server cannot expunge one mail alone, it is marked as deleted and stays: EXPUNGE would
        take what others of this box have marked.
        """
        if self._link is None:
            raise MinistryUnavailable("La boîte de retour est fermée.", reached=False)
        try:
            self._asked(self._link.uid("STORE", mail.handle, "+FLAGS.SILENT", "(\\Deleted)"))
            if "UIDPLUS" in self._can:  # asked once logged in: a server may not say it before
                self._asked(self._link.uid("EXPUNGE", mail.handle))  # of this mail alone (RFC 4315)
        except (imaplib.IMAP4.error, OSError, ValueError) as failed:
            raise MinistryUnavailable("La boîte de retour ne répond plus (IMAP).", reached=False) from failed


def _quoted(text: str) -> str:
    """A quoted string (RFC 3501 §4.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(rows: list[object]) -> list[str]:
    return [word for row in rows if isinstance(row, bytes) for word in row.decode("ascii", "replace").split()]
