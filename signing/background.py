"""Hash in another thread while this one seals: hashlib releases the interpreter's lock."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

_BATCH_BYTES = 2 * 1024**2
_PENDING = 4  # batches in flight at most: memory stays flat


class Background:
    """Feeds `update` in order, a megabyte at a time, from a thread of its own that starts with the first one.

    What is left is fed when the block ends; an error of `update` is raised there or at the next `add`.
    """

    def __init__(self, update: Callable[[bytes], None]) -> None:
        self._update = update
        self._batch: list[bytes] = []
        self._size = 0
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "Background":
        return self

    def add(self, block: bytes) -> None:
        """The next bytes."""
        self._batch.append(block)
        self._size += len(block)
        if self._size < _BATCH_BYTES:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1)
        self._pending.append(self._pool.submit(self._feed, self._batch))
        self._batch, self._size = [], 0
        while len(self._pending) > _PENDING:
            self._pending.popleft().result()

    def _feed(self, batch: list[bytes]) -> None:
        self._update(b"".join(batch))  # one call: each takes the interpreter's lock once

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                while self._pending:
                    self._pending.popleft().result()
                self._feed(self._batch)
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=kind is not None)
