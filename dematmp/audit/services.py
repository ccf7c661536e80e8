"""Append to the journal and prove it. Every verb of the platform appends in its own transaction."""

import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection, transaction

from dematmp.audit import ledger, mark
from dematmp.audit.copies import (
    check_continued,
    copied_checkpoint,
    kept_checkpoint,
    refuse_rollback,
    stored_tile,
)
from dematmp.audit.edges import check_edges, copied_edges
from dematmp.audit.errors import JournalBroken, NotInTransaction
from dematmp.audit.keys import former_verifiers, journal_signer
from dematmp.audit.models import Entry, Head, PublicCheckpoint, Tile
from signing import tlog
from signing.notes import verify_note

# Kinds whose number would tell the public how many bids were deposited: padding entries follow them at
# random.
COUNT_REVEALING = frozenset(
    {
        "attempt",
        "attempt-imported",
        "attempt-refused",
        "refusal-imported",
        "fingerprint",
        "deposit",
        "deposit-imported",
        "deposit-judged",
        "channel-refused",
        "withdrawal",
        "withdrawal-refused",
        "timestamp",
        "bytes-lost",
        "padding",
    }
)
_NONCE_BYTES = 32
# Entries that are looked for by their subject, which their record says too.
_SELECTED = frozenset({"bytes-lost", "deposit", "late-decision", "withdrawal"})


@dataclass(frozen=True)
class Appended:
    """An entry, and at once its inclusion proof (C2SP tlog-proof) in the signed checkpoint."""

    entry: Entry
    proof: str
    note: str


def canonical(record: Mapping[str, object]) -> bytes:
    """The one JSON text of a record: sorted keys, no spaces, UTF-8."""
    return json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, as every record writes an instant."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def append(
    kind: str,
    record: Mapping[str, object] | bytes,
    *,
    consultation: uuid.UUID | None = None,
    subject: uuid.UUID | None = None,
    now: datetime,
) -> Appended:
    """Append one entry, in the caller's transaction, which must take its other locks first.

    Raises NotInTransaction outside `transaction.atomic()`: no act without its entry, no entry without its
    act.
    """
    if not connection.in_atomic_block:
        raise NotInTransaction(
            f"L'entrée « {kind} » doit s'écrire dans la transaction de l'acte qu'elle prouve."
        )
    signer = journal_signer()
    drafts = [
        _draft(kind, record if isinstance(record, bytes) else canonical(record), consultation, subject, now)
    ]
    if kind in COUNT_REVEALING:
        drafts += [_draft("padding", b"", consultation, None, now) for _ in range(secrets.randbelow(3))]
    size, tiles = ledger.locked_edge(tlog.WIDTH)
    mark.refuse_less(size)
    refuse_rollback(size, stored_tile)
    # The head is locked: from here to the commit no other process appends.
    for offset, draft in enumerate(drafts):
        draft.index = size + offset

    def read_tile(level: int, index: int) -> bytes:
        return tiles[level, index] if (level, index) in tiles else stored_tile(level, index)

    grown = tlog.append(size, read_tile, [tlog.leaf_hash(bytes(draft.leaf)) for draft in drafts])
    note = signer.sign(tlog.Checkpoint(signer.name, grown.size, grown.root).text())
    ledger.write(drafts, grown.tiles, size=grown.size, note=note)
    transaction.on_commit(lambda: mark.remember(note))
    return Appended(drafts[0], tlog.format_proof(drafts[0].index, grown.proof, note), note)


def pad(*, now: datetime) -> None:
    """Dummy entries, one to nine: what an attempt alone adds, a withdrawal, or a deposit with its token."""
    for _ in range(1 + secrets.randbelow(3)):
        with transaction.atomic():
            append("padding", secrets.token_bytes(_NONCE_BYTES), now=now)


def _draft(
    kind: str, record: bytes, consultation: uuid.UUID | None, subject: uuid.UUID | None, now: datetime
) -> Entry:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    leaf = canonical(
        {
            "consultation": str(consultation) if consultation else None,
            "digest": hashlib.sha256(nonce + record).hexdigest(),
            "time": utc_text(now),
            "type": kind,
        }
    )
    return Entry(
        index=0,
        kind=kind,
        consultation=consultation,
        subject=subject,
        at=now,
        leaf=leaf,
        record=record,
        nonce=nonce,
    )


def prove(index: int) -> str | None:
    """The inclusion of an entry in the public checkpoint (C2SP tlog-proof), None until it is published.

    The latest one would tell who asks often how much was written since. Raises JournalBroken.
    """
    head = Head.objects.filter(pk=1).first()
    if head is None or not 0 <= index < head.size:
        raise JournalBroken(f"L'entrée {index} n'est pas au journal.")
    size, note = head.published_size, head.published_note
    return (
        tlog.format_proof(index, tlog.inclusion_proof(index, size, stored_tile), note)
        if index < size
        else None
    )


def verify() -> int:
    """Rebuild everything from the entries and compare; returns the size, raises JournalBroken."""
    # Before the first entry is read: they only grow.
    seen, copied = mark.last(), copied_checkpoint()
    kept, edges = kept_checkpoint(), copied_edges() if copied is None else {}
    size = rebuild(journal_signer().verifier_key)
    check_continued(size, seen, stored_tile, where="cette machine en a vu")
    for each in (copied, kept):
        check_continued(size, each, stored_tile, where="la copie du journal en atteste")
    check_edges(edges, size, stored_tile)
    return size


def rebuild(verifier_key: str) -> int:
    """Rebuild the tree from the entries, compare it with the tiles and with the head, which this key signed.

    The size. Raises JournalBroken, ProofRefused.
    """
    head = Head.objects.filter(pk=1).first()
    if head is None or head.size == 0:
        if Entry.objects.exists():
            raise JournalBroken("Le journal a des entrées, et plus de point de contrôle.")
        return 0
    hashes: list[bytes] = []
    for entry in Entry.objects.order_by("index").iterator(chunk_size=1000):
        if entry.index != len(hashes):
            raise JournalBroken(f"L'entrée {len(hashes)} du journal manque.")
        try:
            said = json.loads(bytes(entry.leaf))
            digest = said["digest"]
        except (ValueError, KeyError, TypeError, RecursionError) as unread:
            raise JournalBroken(f"La feuille de l'entrée {entry.index} n'est pas lisible.") from unread
        if digest != hashlib.sha256(bytes(entry.nonce) + bytes(entry.record)).hexdigest():
            raise JournalBroken(f"L'enregistrement de l'entrée {entry.index} a été modifié.")
        columns = {
            "consultation": str(entry.consultation) if entry.consultation else None,
            "time": utc_text(entry.at),
            "type": entry.kind,
        }
        about = entry.subject is None or entry.kind not in _SELECTED or str(entry.subject) in _text(entry)
        if not about or any(said.get(name) != value for name, value in columns.items()):
            raise JournalBroken(f"Les colonnes de l'entrée {entry.index} ne sont pas celles de sa feuille.")
        hashes.append(tlog.leaf_hash(bytes(entry.leaf)))
    stated = tlog.Checkpoint.parse(verify_note(head.note, verifier_key))
    if stated.size != len(hashes) or stated.size != head.size:
        raise JournalBroken(
            f"Le point de contrôle annonce {stated.size} entrées, le journal en a {len(hashes)}."
        )
    if stated.root != tlog.root_of(hashes):
        raise JournalBroken("La racine signée n'est pas celle des entrées.")
    level = hashes
    for number in range(1 + max(0, (len(hashes) - 1).bit_length() // 8)):
        tiles = list(Tile.objects.filter(level=number).order_by("index"))
        if [each.index for each in tiles] != list(range((len(level) - 1) // tlog.WIDTH + 1)):
            raise JournalBroken(f"Une tuile de niveau {number} manque, ou est en trop.")
        for tile in tiles:
            first = tile.index * tlog.WIDTH
            if bytes(tile.hashes) != b"".join(level[first : first + tlog.WIDTH]):
                raise JournalBroken(f"La tuile {number}/{tile.index} ne correspond pas aux entrées.")
        whole = len(level) // tlog.WIDTH * tlog.WIDTH
        level = [tlog.root_of(level[i : i + tlog.WIDTH]) for i in range(0, whole, tlog.WIDTH)]
    if Tile.objects.filter(level__gt=number).exists():
        raise JournalBroken("Le journal a des tuiles d'un niveau qu'il n'a pas.")
    return stated.size


def _text(entry: Entry) -> str:
    return bytes(entry.record).decode(errors="replace")


def export(write: Callable[[str, bytes], None], *, size: int | None = None) -> None:
    """Give the journal as static files (C2SP tlog-tiles): tiles and entries first, the checkpoint last."""
    head = Head.objects.filter(pk=1).first()
    if head is None:
        return
    for tile in Tile.objects.order_by("level", "index").iterator():
        hashes = bytes(tile.hashes)
        write(tlog.tile_path(tile.level, tile.index, len(hashes) // 32), hashes)
    for first, bundle in bundles(head.size):
        write(tlog.entries_path(first // 256, min(256, head.size - first)), bundle)
    for kept in PublicCheckpoint.objects.order_by("size").iterator():
        write(f"checkpoints/{kept.size}", kept.note.encode())
        if kept.token:
            write(f"checkpoints/{kept.size}.tsr", bytes(kept.token))
        if kept.token_request:
            write(f"checkpoints/{kept.size}.tsq", bytes(kept.token_request))
    if formers := former_verifiers():
        write("former", "".join(f"{each}\n" for each in formers).encode())
    write("key", (journal_signer().verifier_key + "\n").encode())
    write("checkpoint", head.note.encode())


def bundles(size: int) -> Iterator[tuple[int, bytes]]:
    """Entry bundles of up to 256 leaves: (index of the first, bytes)."""
    for first in range(0, size, 256):
        rows = Entry.objects.filter(index__gte=first, index__lt=min(first + 256, size)).order_by("index")
        yield first, tlog.bundle([bytes(row.leaf) for row in rows])
