"""Each public checkpoint: kept for ever, cosigned by witnesses, timestamped. No deposit waits for it."""

import base64
import logging
import time
from collections.abc import Callable
from datetime import datetime

import httpx
from django.conf import settings

from dematmp.audit.copies import refuse_rollback_now, stored_tile
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import verifier_of
from dematmp.audit.mark import refuse_less
from dematmp.audit.models import Head, PublicCheckpoint
from dematmp.audit.stamping import EMBEDDED, check_token, obtain_token
from signing import tlog
from signing.cosigning import split, verify_cosignature
from signing.errors import ProofRefused
from signing.notes import verify_note

log = logging.getLogger(__name__)
_SECONDS = 5.0  # for one witness
_ANSWER_BYTES = 4096
_MOST = 100  # tokens of one pass


def publish(*, now: datetime) -> PublicCheckpoint | None:
    """The latest checkpoint becomes the public one: once a minute, whatever was written meanwhile.

    Raises JournalBroken for one that contradicts what was signed already: a database that was restored.
    """
    head = Head.objects.filter(pk=1).first()
    if head is None or head.size == 0:
        return None
    try:
        refuse_less(head.size)
        refuse_rollback_now(head.size, stored_tile)
    except JournalBroken:
        if not Head.objects.filter(pk=1, size__gt=head.size).exists():
            raise
        return publish(now=now)  # another process appended since the head was read: it is not an old backup
    kept, _ = PublicCheckpoint.objects.get_or_create(
        size=head.size, defaults={"note": head.note, "published_at": now}
    )
    Head.objects.filter(pk=1).update(published_size=kept.size, published_note=kept.note)
    return kept


def witness_keys() -> list[str]:
    """The verifier key of each witness that the settings name."""
    return [witness.partition(" ")[2].strip() for witness in settings.WITNESSES]


def complete(kept: PublicCheckpoint, *, now: datetime) -> None:
    """Ask the witnesses and an authority of time for what this checkpoint still lacks. May run twice."""
    for witness in settings.WITNESSES:
        url, _, key = witness.partition(" ")
        _cosigned(kept, url.rstrip("/"), key.strip(), now=now)
    if kept.token is None:
        _stamp(kept, now=now)


def stamped_elsewhere(index: int) -> PublicCheckpoint | None:
    """The first public checkpoint over an entry to which another authority than ours gave a token.

    The token of a fact that our own authority alone stamped is never replaced: this one comes after it, over
    the journal that the fact is in, and its hour is of somebody else.
    """
    stamped = PublicCheckpoint.objects.filter(size__gt=index, token__isnull=False)
    return stamped.exclude(token_authority=EMBEDDED).order_by("size").first()


def catch_up(clock: Callable[[], datetime]) -> int:
    """Tokens for the minutes when no authority answered, the latest first; how many came."""
    count = 0
    for kept in PublicCheckpoint.objects.filter(token=None).order_by("-size")[:_MOST]:
        if not _stamp(kept, now=clock()):
            break
        count += 1
    return count


def _stamp(kept: PublicCheckpoint, *, now: datetime) -> bool:
    stamped = obtain_token(split(kept.note)[0].encode(), now=now)
    if stamped is None:
        return False
    token, authority = stamped
    PublicCheckpoint.objects.filter(pk=kept.pk, token=None).update(
        token_request=token.request,
        token=token.response,
        token_authority=authority,
        token_at=token.token.gen_time,
    )
    return True


def _cosigned(kept: PublicCheckpoint, url: str, key: str, *, now: datetime) -> None:
    try:
        verify_cosignature(kept.note, key)
        return
    except ProofRefused:
        pass  # not yet
    try:
        line = _ask(kept, url)
        note = kept.note + line
        verify_cosignature(note, key)
    except (httpx.HTTPError, httpx.InvalidURL, ProofRefused, ValueError) as away:
        log.warning("témoin %s : %s", url, away)
        return
    kept.note = note
    PublicCheckpoint.objects.filter(pk=kept.pk).update(note=note)
    Head.objects.filter(pk=1, published_size=kept.size).update(published_note=note)


def _ask(kept: PublicCheckpoint, url: str) -> str:
    """The witness's line. It says itself what it saw last (409), and is asked once more from there."""
    last = PublicCheckpoint.objects.filter(size__lt=kept.size).order_by("-size").first()
    old = last.size if last else 0
    for _ in range(2):
        proof = tlog.consistency_proof(old, kept.size, stored_tile) if 0 < old < kept.size else []
        lines = "".join(f"{base64.b64encode(each).decode()}\n" for each in proof)
        body = f"old {old}\n{lines}\n{kept.note}"
        status, answer = _posted(f"{url}/add-checkpoint", body.encode())
        if status != 409:
            break
        old = int(answer)
        if not 0 <= old <= kept.size:
            raise ProofRefused(f"il dit avoir vu {old} entrées : c'est plus qu'il n'y en a")
    if status != httpx.codes.OK:
        raise ProofRefused(f"il a répondu {status}")
    return answer


def _posted(url: str, body: bytes) -> tuple[int, str]:
    """The status and the text of an answer, within limits of bytes and of seconds in all."""
    data, until = b"", time.monotonic() + _SECONDS
    with httpx.stream("POST", url, content=body, timeout=_SECONDS) as answer:
        for block in answer.iter_bytes():
            data += block
            if len(data) > _ANSWER_BYTES or time.monotonic() > until:
                raise ProofRefused("réponse trop longue, ou trop lente")
        return answer.status_code, data.decode()


def check_published(size: int) -> int:
    """How many checkpoints were ever published, all of this tree, with their tokens. Raises JournalBroken."""
    count = 0
    for kept in PublicCheckpoint.objects.order_by("size").iterator():
        count += 1
        try:
            stated = tlog.Checkpoint.parse(verify_note(kept.note, verifier_of(kept.note)))
        except ProofRefused as forged:
            raise JournalBroken(
                f"Le point de contrôle publié à {kept.size} entrées n'est pas signé."
            ) from forged
        if kept.size > size or stated.size != kept.size:
            raise JournalBroken(f"Un point de contrôle de {kept.size} entrées a été publié : il en manque.")
        if tlog.root_at(kept.size, stored_tile) != stated.root:
            raise JournalBroken(f"Le point de contrôle publié à {kept.size} entrées est d'un autre journal.")
        if kept.token is not None:
            of = f"du point de contrôle publié à {kept.size} entrées"
            check_token(bytes(kept.token), split(kept.note)[0].encode(), at=kept.token_at, of=of)
    return count
