"""What of the journal anybody may fetch, and when (C2SP tlog-tiles).

The public sees the checkpoint of the last minute, and no tile beyond it: each growth of the latest one would
be a deposit. A bundle of entries waits until none of its consultations is being prepared, and until no
consultation that still receives bids began before its end: the kinds and times of its leaves, and which of
the bundles are served, would let the public count bids.
"""

import re
import uuid
from collections.abc import Callable, Collection

from dematmp.audit.keys import verifier_of
from dematmp.audit.models import Entry, Head, PublicCheckpoint, Tile
from signing.tlog import bundle

WIDTH = 256
_PATH = re.compile(r"tile/([0-9]{1,2}|entries)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?")
_HASH_BYTES = 32


def public_checkpoint() -> tuple[int, str]:
    """Size and signed checkpoint that the public sees; zero and the empty text before the first ones."""
    head = Head.objects.filter(pk=1).first()
    return (head.published_size, head.published_note) if head else (0, "")


def published_key() -> str:
    """The verifier key of what the public sees: of the journal before, until its successor is published."""
    return verifier_of(public_checkpoint()[1])


def parse_path(path: str) -> tuple[str, int, int] | None:
    """(level or "entries", index, width) of a tlog-tiles path, or None."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    level, index, width = found.groups()
    count = int(width) if width else WIDTH
    return (level, int(index.replace("x", "").replace("/", "")), count) if 1 <= count <= WIDTH else None


def tile_hashes(path: str) -> bytes | None:
    """The bytes of one tile of hashes, whole or partial; None when there is none so wide."""
    asked = parse_path(path)
    if asked is None or asked[0] == "entries":
        return None
    if (asked[1] * WIDTH + asked[2]) * WIDTH ** int(asked[0]) > public_checkpoint()[0]:
        return None
    tile = Tile.objects.filter(level=int(asked[0]), index=asked[1]).first()
    hashes = bytes(tile.hashes) if tile else b""
    wanted = asked[2] * _HASH_BYTES
    return hashes[:wanted] if len(hashes) >= wanted else None


def kept_checkpoint(path: str) -> bytes | None:
    """A checkpoint once public: `SIZE`, with its cosignatures, or its token (RFC 3161, DER).

    `SIZE.tsr` is the token, `SIZE.tsq` what was asked for it.
    """
    found = re.fullmatch(r"([0-9]{1,18})(\.tsr|\.tsq)?", path)
    kept = PublicCheckpoint.objects.filter(size=int(found[1])).first() if found else None
    if found is None or kept is None:
        return None
    if found[2] is None:
        return kept.note.encode()
    told = kept.token if found[2] == ".tsr" else kept.token_request
    return bytes(told) if told else None


def entries_bundle(
    path: str,
    *,
    withheld: Callable[[Collection[uuid.UUID]], bool],
    receiving: Callable[[], Collection[uuid.UUID]],
) -> bytes | None:
    """The leaves of one bundle.

    None when there is none so wide, while one of its consultations is `withheld`, or while one that is
    `receiving` has an entry before the end of the bundle: where its entries are must not be told by what is
    served between them.
    """
    asked = parse_path(path)
    if asked is None or asked[0] != "entries":
        return None
    first = asked[1] * WIDTH
    if first + asked[2] > public_checkpoint()[0]:
        return None
    rows = list(Entry.objects.filter(index__gte=first, index__lt=first + asked[2]).order_by("index"))
    if withheld({row.consultation for row in rows if row.consultation}):
        return None
    if Entry.objects.filter(index__lt=first + asked[2], consultation__in=receiving()).exists():
        return None
    return bundle([bytes(row.leaf) for row in rows])
