"""A circuit breaker: a store that fails again and again is left alone a moment, and callers told at once."""

import threading
import time

from storage.errors import StoreUnavailable

FAILURES = 5  # in a row
REST_SECONDS = 10.0


class Breaker:
    """Closed while calls succeed; open for REST_SECONDS after FAILURES in a row, then one call passes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures, self._until = 0, 0.0

    def check(self) -> None:
        """Raises StoreUnavailable while open."""
        with self._lock:
            if self._failures < FAILURES:
                return
            now = time.monotonic()
            if now < self._until:
                raise StoreUnavailable("Le stockage ne répond plus : il est laissé au repos un instant.")
            self._until = now + REST_SECONDS  # this caller tries; the others wait for what it finds

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._until = time.monotonic() + REST_SECONDS
