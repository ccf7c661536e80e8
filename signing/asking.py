"""Ask a timestamp authority over HTTP (RFC 3161 §3.4), within limits of seconds and of bytes."""

import concurrent.futures
import threading
import time
from datetime import datetime

import httpx

from signing.authority import Authority
from signing.errors import TimestampRefused

TOKEN_LIMIT = 1024 * 1024  # bytes of a response


def started(
    authority: Authority | str, request: bytes, now: datetime, timeout: float
) -> concurrent.futures.Future[bytes]:
    """The question, asked in a thread that nobody waits for: an authority may trickle its answer for ever."""
    future: concurrent.futures.Future[bytes] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(_ask(authority, request, now, timeout))
        except BaseException as failed:  # noqa: BLE001  (raised again by whoever reads the future)
            future.set_exception(failed)

    threading.Thread(target=run, daemon=True).start()
    return future


def _ask(authority: Authority | str, request: bytes, now: datetime, timeout: float) -> bytes:
    if isinstance(authority, Authority):
        return authority.respond(request, now=now)
    return _post(authority, request, timeout)


def _post(authority: str, request: bytes, timeout: float) -> bytes:
    headers = {"Content-Type": "application/timestamp-query"}
    with httpx.stream("POST", authority, content=request, headers=headers, timeout=timeout) as answer:
        answer.raise_for_status()
        data, until = b"", time.monotonic() + timeout  # of all, not of each byte
        for block in answer.iter_bytes():
            data += block
            if time.monotonic() > until:
                raise TimestampRefused("Réponse trop lente.")
            if len(data) > TOKEN_LIMIT:
                raise TimestampRefused("Réponse trop longue.")
    return data
