"""HTTP within so many seconds in all: time-outs of a client are per read, and an answer may drip for ever."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Patience:
    """The last connection of one httpx client, which serves one request at a time, cut when that lasts."""

    def __init__(self) -> None:
        self._stream: Any = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The extensions of one request, which fails as if the peer had closed after so many seconds."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield {"trace": self._trace}
        finally:
            timer.cancel()

    def _trace(self, event: str, facts: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = facts["return_value"]

    def _cut(self) -> None:
        if self._stream is not None:
            with suppress(OSError):
                # The socket's own, not TLS's: it wakes the thread that reads.
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)
