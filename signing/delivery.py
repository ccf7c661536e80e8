"""Where a sealed part goes: straight to the object store where the platform says so, else through it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from signing.client import Client

_TRIES = 3  # straight to the store; then everything goes through the platform


@dataclass(frozen=True)
class Sealed:
    """One part of a sealed object: which, its number from 1, its lower-hex SHA-256."""

    envelope: str
    name: str
    number: int
    sha256: str


class Sender:
    """Sends the parts of one attempt; a context manager. A part may be sent again, with the same result."""

    def __init__(self, client: Client, attempt: str, *, direct: bool, timeout: float = 60.0) -> None:
        self._client, self._attempt = client, attempt
        # Without the bearer token: the store has no business with it.
        self._store = httpx.Client(timeout=timeout) if direct else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()

    def send(self, part: Sealed, data: bytes) -> None:
        """Raises what `Client.send` raises."""
        if self._store is not None and self._straight(self._store, part, data):
            return
        path = f"/attempts/{self._attempt}/envelopes/{part.envelope}/objects/{part.name}/parts/{part.number}"
        self._client.send("PUT", path, content=data, headers={"X-Part-SHA256": part.sha256})

    def _straight(self, store: httpx.Client, part: Sealed, data: bytes) -> bool:
        """True once the platform says that the store holds it; False when the store cannot be reached."""
        path, said = f"/attempts/{self._attempt}/parts", {"parts": [asdict(part)]}
        for tried in range(_TRIES):
            # A new address each time: the former one may have expired while the network was away.
            where = self._client.post(path, said)["parts"]
            if not isinstance(where, list) or where[0] is None:
                return True
            try:
                answer = store.put(where[0]["url"], content=data, headers=where[0]["headers"])
            except httpx.TransportError:
                self._client.wait(tried)
                continue
            if answer.is_success:
                self._client.post(f"{path}/received", said)
                return True
            self._client.wait(tried)
        store.close()
        self._store = None
        return False
