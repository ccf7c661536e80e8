"""The embedded default's broker: kombu's filesystem transport, whose writes appear whole or not at all.

kombu 5.7 creates a message's file, then writes it: a worker that looks in between reads nothing, raises and
dies (celery/kombu#1551). Here a message takes its name once it is written, and the table of an exchange is
read and written under one lock. Broker address: `folder://localhost/`.
"""

import uuid
from pathlib import Path
from queue import Empty
from time import monotonic

from filelock import FileLock
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

SCHEME = "folder"


class Channel(filesystem.Channel):
    """Two differences only: atomic messages, one lock for the exchanges."""

    def _lock(self) -> FileLock:
        folder = Path(self.control_folder)
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock")

    def _put(self, queue: str, payload: object, **kwargs: object) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        draft = folder / f".{name}"
        draft.write_text(dumps(payload))
        draft.replace(folder / name)

    def _get(self, queue: str, timeout: float | None = None) -> object:
        try:
            return super()._get(queue)
        except ValueError as broken:  # a message of another program: the sweep finds its work
            raise Empty from broken

    def get_table(self, exchange: str) -> list[object]:
        with self._lock():
            table: list[object] = super().get_table(exchange)
            return table

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self._lock():
            super()._queue_bind(exchange, routing_key, pattern, queue)

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *args: object, **more: object
    ) -> None:
        with self._lock():
            super()._delete(queue, exchange, routing_key, pattern, *args, **more)


class Transport(filesystem.Transport):
    """Filesystem transport with the channel above."""

    Channel = Channel


def register() -> None:
    """Make `folder://` known to kombu."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:{Transport.__name__}"
