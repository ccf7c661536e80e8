"""The one clock that decides lateness: the database's, whichever web process answered."""

import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone


def received(arrived: float) -> datetime:
    """The instant (UTC) at which a request arrived, by the database's clock; `arrived` is `time.monotonic()`.

    What was spent since (signing in, waiting for a connection) is taken away: it is the server's time, not
    the company's. It is never later than the true one, and earlier only by the way back of the database's
    answer, under a millisecond on an idle machine. On SQLite, and where settings.DATABASE_CLOCK is false, the
    clock is this process's.
    """
    if settings.DATABASE_CLOCK and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            now: datetime = cursor.fetchone()[0]
    else:
        now = timezone.now()
    return now - timedelta(seconds=max(0.0, time.monotonic() - arrived))


class Arrival:
    """The first middleware: when a request arrived, before anything is done of it."""

    def __init__(self, get_response):  # type: ignore[no-untyped-def]
        self._get_response = get_response

    def __call__(self, request):  # type: ignore[no-untyped-def]
        request.arrived = time.monotonic()
        return self._get_response(request)
