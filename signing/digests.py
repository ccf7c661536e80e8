"""The digest of a stored object: S3's COMPOSITE SHA-256, the SHA-256 of its parts' concatenated SHA-256."""

import hashlib
from collections.abc import Sequence

PART_BYTES = 8 * 1024**2
LARGE_PART_BYTES = 16 * 1024**2
_LARGE_FROM = 80 * 10**9


def part_bytes_for(size: int) -> int:
    """8 MiB, or 16 MiB above 80 GB so that 10,000 parts suffice."""
    return LARGE_PART_BYTES if size > _LARGE_FROM else PART_BYTES


def composite_of_parts(digests: Sequence[bytes]) -> str:
    """Lower hex of the SHA-256 of the parts' digests, in order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


class CompositeDigest:
    """Incremental composite digest; `parts` holds the raw SHA-256 of each part that is complete."""

    def __init__(self, part_bytes: int = PART_BYTES) -> None:
        self._part_bytes = part_bytes
        self._current = hashlib.sha256()
        self._filled = 0
        self._done: list[bytes] = []
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self.size += len(view)
        while len(view):
            taken = view[: self._part_bytes - self._filled]
            self._current.update(taken)
            self._filled += len(taken)
            view = view[len(taken) :]
            if self._filled == self._part_bytes:
                self._done.append(self._current.digest())
                self._current, self._filled = hashlib.sha256(), 0

    @property
    def parts(self) -> list[bytes]:
        return [*self._done, self._current.digest()] if self._filled or not self._done else list(self._done)

    def hexdigest(self) -> str:
        return composite_of_parts(self.parts)
