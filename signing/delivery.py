"""Where a sealed part goes: straight to the object store where the platform says so, else through it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from signing.client import Client

_ATTEMPTS = "attempts.json"  # in a draft
_TRIES = 3  # at most, straight to the store; then everything goes through the platform
_IN_FLIGHT = 3  # parts on their way to the store while the next is read, hashed and announced
_TOLD_AT_ONCE = 20
_PIECE = 1024**2  # bytes


@dataclass(frozen=True)
class Sealed:
    """One part of a sealed object: which, its number from 1, its lower-hex SHA-256."""

    envelope: str
    name: str
    number: int
    sha256: str


class Sender:
    """Sends the parts of one attempt; a context manager, then `finish` once all are given.

    A part may be sent again, with the same result. The platform is only spoken to by the caller's thread.
    """

    def __init__(self, client: Client, attempt: str, *, direct: bool, timeout: float = 60.0) -> None:
        self._client, self._path = client, f"/attempts/{attempt}"
        # Without the bearer token: the store has no business with it.
        self._store = httpx.Client(timeout=timeout) if direct else None
        self._threads = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="part") if direct else None
        self._straight = direct
        self._sent: deque[tuple[Sealed, bytes, Future[bool]]] = deque()
        self._arrived: list[Sealed] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    def send(self, part: Sealed, data: bytes) -> None:
        """Give one part; at most a few are kept in memory. Raises what `Client.send` raises."""
        while len(self._sent) >= _IN_FLIGHT:
            self._settle()
        if not self._straight or self._threads is None or self._store is None:
            self._through(part, data)
        elif (target := self._target(part)) is not None:
            self._sent.append((part, data, self._threads.submit(_put, self._store, target, data)))

    def finish(self) -> None:
        """Every part given has arrived, and the platform knows it. Raises what `Client.send` raises."""
        while self._sent:
            self._settle()
        self._tell()

    def _through(self, part: Sealed, data: bytes) -> None:
        path = f"{self._path}/envelopes/{part.envelope}/objects/{part.name}/parts/{part.number}"
        self._client.send("PUT", path, content=data, headers={"X-Part-SHA256": part.sha256})

    def _target(self, part: Sealed) -> dict[str, object] | None:
        """Address and headers of this part; None when it was received already."""
        where = self._client.post(f"{self._path}/parts", {"parts": [asdict(part)]})["parts"]
        return where[0] if isinstance(where, list) else None

    def _settle(self) -> None:
        """Wait for the oldest part on its way, and send it again another way if it did not arrive."""
        part, data, sent = self._sent.popleft()
        if sent.result() or self._again(part, data):
            self._arrived.append(part)
            if len(self._arrived) >= _TOLD_AT_ONCE:
                self._tell()
        else:
            self._through(part, data)

    def _again(self, part: Sealed, data: bytes) -> bool:
        """Other tries, each at a new address: the former may have expired while the network was away.

        After them the store is left alone: what is still to come goes through the platform.
        """
        if self._store is None or not self._straight:
            return False
        for tried in range(1, min(_TRIES, self._client.tries)):
            self._client.wait(tried)
            target = self._target(part)
            if target is None or _put(self._store, target, data):
                return True
        self._straight = False
        return False

    def _tell(self) -> None:
        if self._arrived:
            parts = [asdict(part) for part in self._arrived]
            self._client.post(f"{self._path}/parts/received", {"parts": parts})
            self._arrived.clear()


def pieces(data: bytes) -> Iterator[bytes]:
    """The body of a request, a mebibyte at a time: a request that is over then keeps none of it.

    httpx's answers and their requests refer to each other: whole bodies stayed until a late collection.
    """
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _put(store: httpx.Client, target: dict[str, object], data: bytes) -> bool:
    """True when the store took these bytes."""
    given = target["headers"]
    headers = {**(given if isinstance(given, dict) else {}), "Content-Length": str(len(data))}
    try:
        answer = store.put(str(target["url"]), content=pieces(data), headers=headers)
    except httpx.TransportError:
        return False
    return answer.is_success


def keep_attempt(draft: Path, server: str, attempt: str) -> None:
    """What this draft opened at a server, kept as soon as it is known: each server has its own."""
    (draft / _ATTEMPTS).write_text(json.dumps(attempts_of(draft) | {server: attempt}, indent=1))


def attempts_of(draft: Path) -> dict[str, str]:
    """Server → the attempt that this draft opened there; empty when none did, or none was told."""
    try:
        return dict(json.loads((draft / _ATTEMPTS).read_text()))
    except FileNotFoundError:
        return {}
