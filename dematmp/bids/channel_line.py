"""The backup channel over HTTP, as its reader: each answer has so many bytes, and so many seconds in all."""

import contextlib
import json
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
    text = issue(channel_signer(), READER, {}, now=now, lasts=_LASTS)
    base = f"{settings.BACKUP_CHANNEL['url']}/api/v1/channel"
    headers = {"Authorization": f"Bearer {text}"}
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=_SILENCE) as client:
            yield ChannelLine(client)
    except (httpx.HTTPError, ValueError, RecursionError) as failed:
        raise ChannelUnreachable("Le canal de secours ne répond pas.") from failed
