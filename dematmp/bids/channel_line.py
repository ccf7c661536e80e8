"""The backup channel over HTTP, as its reader: each answer has so many bytes, and so many seconds in all."""

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
from django.conf import settings

from dematmp.audit.keys import channel_signer
from dematmp.bids.errors import ChannelRefused, ChannelUnreachable
from dematmp.bids.offering import READER
from signing.passes import issue
from signing.patience import Patience

_LASTS = timedelta(minutes=30)
_SILENCE = 60.0  # seconds
_BLOCK_BYTES = 1024**2


class ChannelLine:
    """One visit. Its readings raise HTTPError, ValueError: `visiting` says what they mean."""

    def __init__(self, client: httpx.Client) -> None:
        self._client, self._patience = client, Patience()

    def blocks(self, path: str, *, seconds: float, silence: float = _SILENCE) -> Iterator[bytes]:
        """What it answers, cut after so many seconds in all, or after so many of silence."""
        with (
            self._patience.within(seconds) as extensions,
            self._client.stream("GET", path, timeout=silence, extensions=extensions) as answer,
        ):
            answer.raise_for_status()
            yield from answer.iter_bytes(_BLOCK_BYTES)

    def slow_blocks(self, path: str, *, seconds: float) -> Iterator[bytes]:
        """The same, cut after so many seconds without another MiB, those of who takes them not counted: what
        is slow comes, and what drips is given up."""
        with contextlib.ExitStack() as stack:
            with self._patience.within(seconds) as extensions:
                asked = self._client.stream("GET", path, timeout=_SILENCE, extensions=extensions)
                answer = stack.enter_context(asked)
                answer.raise_for_status()
            coming = answer.iter_bytes(_BLOCK_BYTES)
            while True:
                with self._patience.within(seconds):
                    block = next(coming, None)
                if block is None:
                    return
                yield block

    def json(self, path: str, *, max_bytes: int, seconds: float, silence: float = _SILENCE) -> object:
        """The same, read whole. Raises ChannelRefused when it is too long."""
        data = bytearray()
        for block in self.blocks(path, seconds=seconds, silence=silence):
            data += block
            if len(data) > max_bytes:
                raise ChannelRefused("Une réponse du canal de secours est trop longue.")
        said: object = json.loads(data)
        return said


@contextlib.contextmanager
def visiting(*, now: datetime) -> Iterator[ChannelLine]:
    """The channel of the settings. Raises ChannelUnreachable for whatever happens on the way."""
    base, began = f"{settings.BACKUP_CHANNEL['url']}/api/v1/channel", time.monotonic()

    def allowed(request: httpx.Request) -> httpx.Request:
        at = now + timedelta(seconds=time.monotonic() - began)  # a visit may outlast a pass
        text = issue(channel_signer(), READER, {}, now=at, lasts=_LASTS)
        request.headers["Authorization"] = f"Bearer {text}"
        return request

    try:
        with httpx.Client(base_url=base, auth=allowed, timeout=_SILENCE) as client:
            yield ChannelLine(client)
    except (httpx.HTTPError, ValueError, RecursionError) as failed:
        raise ChannelUnreachable("Le canal de secours ne répond pas.") from failed
