"""The one clock that decides lateness: the database's, whichever web process answered."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone


@dataclass(frozen=True)
class Arrived:
    """When a request arrived: `time.monotonic()` in seconds, and this process's clock (UTC)."""

    monotonic: float
    at: datetime


class Arrival:
    """The first middleware: when a request arrived, before anything is done of it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.arrived = Arrived(time.monotonic(), timezone.now())  # type: ignore[attr-defined]
        return self._get_response(request)


def received(request: HttpRequest) -> datetime:
    """The instant (UTC) at which a request arrived, by the database's clock.

    What was spent since (signing in, waiting for a connection) is taken away: it is the server's time, not
    the company's. It is never later than the true one, and earlier only by the way back of the database's
    answer, under a millisecond on an idle machine. On SQLite, and where settings.DATABASE_CLOCK is false, the
    clock is this process's.
    """
    arrived: Arrived = request.arrived  # type: ignore[attr-defined]
    if not settings.DATABASE_CLOCK or connection.vendor != "postgresql":
        return arrived.at
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now - timedelta(seconds=time.monotonic() - arrived.monotonic)
