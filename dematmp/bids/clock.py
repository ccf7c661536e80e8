"""The one clock that decides lateness: the database's, whichever web process answered."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.http import HttpRequest, HttpResponseBase, UnreadablePostError
from django.utils import timezone

_FORM_BYTES = 64 * 1024  # of a form without files, however it is sent


@dataclass(frozen=True)
class Arrived:
    """When a request arrived: `time.monotonic()` in seconds, and this process's clock (UTC).

    Not `whole`: its body is too long to be kept, and was not read yet.
    """

    monotonic: float
    at: datetime
    whole: bool


class Arrival:
    """The first middleware: when a request arrived, whole, before anything is done of it.

    One rule for the beginning of a deposit, its end, its fingerprint, its withdrawal and the extension of a
    deadline, with a proxy in front or without: a request arrives when its last byte does, however long its
    body is held back. A body that is too long for that (files) is dated once it was read. What is sent by
    parts is dated by each part, once it is stored.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        whole = request.method != "POST"
        if not whole and not _has_files(request):
            with contextlib.suppress(UnreadablePostError, RequestDataTooBig):  # refused where it is read
                request.body  # noqa: B018  (read and kept)
                whole = True
        request.arrived = Arrived(time.monotonic(), timezone.now(), whole)  # type: ignore[attr-defined]
        return self._get_response(request)


def _has_files(request: HttpRequest) -> bool:
    length = str(request.META.get("CONTENT_LENGTH") or "0")  # as the client wrote it
    is_short = length.isascii() and length.isdigit() and int(length) <= _FORM_BYTES
    return request.content_type == "multipart/form-data" and not is_short


def current() -> datetime:
    """Now (UTC), by the clock that decides lateness."""
    if not settings.DATABASE_CLOCK or connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def received(request: HttpRequest) -> datetime:
    """The instant (UTC) at which a request arrived, by the database's clock.

    What was spent since (signing in, waiting for a connection) is taken away: it is the server's time, not
    the company's. It is never later than the true one, and earlier only by the way back of the database's
    answer, under a millisecond on an idle machine. On SQLite, and where settings.DATABASE_CLOCK is false, the
    clock is this process's.
    """
    arrived: Arrived = request.arrived  # type: ignore[attr-defined]
    if not arrived.whole:  # what is judged was read since, and what nobody reads is done at once
        return current()
    if not settings.DATABASE_CLOCK or connection.vendor != "postgresql":
        return arrived.at
    return current() - timedelta(seconds=time.monotonic() - arrived.monotonic)
