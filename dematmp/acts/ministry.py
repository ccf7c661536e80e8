"""The ministry's gateway: an archive is posted to it over HTTPS, the field bearing the archive's own name."""

import ssl
from typing import IO, Protocol, cast

import httpx
from django.conf import settings

from dematmp.acts.errors import MinistryUnavailable
from signing.patience import Patience
from storage.errors import StorageError
from storage.stores import object_store

CONNECT_SECONDS, TOTAL_SECONDS = 60.0, 180.0


class Ministry(Protocol):
    """Where archives go."""

    def send(self, name: str, key: str) -> None:
        """Post an object of the store under this name. Raises MinistryUnavailable."""


class HttpMinistry:
    """The gateway of the settings: pinned authority, client certificate, one of three ways to be known."""

    def send(self, name: str, key: str) -> None:
        known = settings.ACTES
        params, auth = None, None
        if known["ministry_auth"] == "basic":
            auth = httpx.BasicAuth(known["ministry_login"], known["ministry_password"])
        elif known["ministry_auth"] == "post":
            params = {"user": known["ministry_login"], "password": known["ministry_password"]}
        try:
            with httpx.Client(
                timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS), verify=_context(), auth=auth
            ) as client:
                files = {name: (name, cast(IO[bytes], _Stored(key)), "application/x-gzip")}
                with Patience().within(TOTAL_SECONDS) as extensions:
                    answer = client.post(
                        known["ministry_url"], params=params, files=files, extensions=extensions
                    )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as absent:
            raise MinistryUnavailable("Le ministère ne répond pas.", reached=False) from absent
        except (httpx.HTTPError, httpx.InvalidURL) as lost:
            raise MinistryUnavailable(
                "Le ministère n'a pas répondu à l'envoi : il l'a peut-être reçu.", reached=True
            ) from lost
        except StorageError as unread:
            raise MinistryUnavailable("L'archive ne se lit pas au stockage.", reached=False) from unread
        if answer.status_code != httpx.codes.OK:
            # 503 and the refusals of a front come before the archive is taken; another failure may be after.
            taken = answer.status_code >= 500 and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
            raise MinistryUnavailable(f"Le ministère a répondu {answer.status_code}.", reached=taken)


def _context() -> ssl.SSLContext | bool:
    known = settings.ACTES
    if not known["ministry_ca"] and not known["ministry_certificate"]:
        return True
    context = ssl.create_default_context(cafile=known["ministry_ca"] or None)
    if known["ministry_certificate"]:
        context.load_cert_chain(known["ministry_certificate"], known["ministry_key"] or None)
    return context


class _Stored:
    """An object of the store as the file that httpx streams: its size never shows in memory."""

    def __init__(self, key: str) -> None:
        self._key, self._size = key, object_store().size(key)
        self._at, self._blocks, self._rest = 0, object_store().open(key), b""

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = block
        given, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        self._at += len(given)
        return given

    def seek(self, offset: int, whence: int = 0) -> int:
        """To an end only, which is how a client learns the size."""
        self._at = self._size if whence == 2 else 0
        if whence == 0 and offset == 0:
            self._blocks, self._rest = object_store().open(self._key), b""
        return self._at

    def tell(self) -> int:
        return self._at


def configured() -> Ministry | None:
    """The ministry of the settings, or None when there is none."""
    return HttpMinistry() if settings.ACTES["ministry_url"] else None
