"""A journal that cannot go on is succeeded by another, under another name, which says so.

A database restored from a backup lacks entries that were signed: no other history may ever be signed under
the same name. The new journal begins with the entries that are left, all of them, and its first own entry
tells whom it succeeds, the last checkpoints that are known of it, and why. Former receipts keep their proofs:
the former key is kept, and served beside the new one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from dematmp.audit import ledger, mark
from dematmp.audit.checkpoints import publish
from dematmp.audit.copies import copied_note, stored_tile
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import journal_signer, keep_former, named, succeeded
from dematmp.audit.models import Entry, Head
from dematmp.audit.services import append, rebuild
from signing import tlog
from storage.errors import StorageError

_KIND = "journal-succession"


@dataclass(frozen=True)
class Succession:
    """A former journal: its verifier key, how many entries were kept of it, when (UTC) and why."""

    former_key: str
    kept: int
    at: datetime
    reason: str


def successions() -> list[Succession]:
    """Every one that this journal knows, the oldest first."""
    rows = [(entry.at, json.loads(bytes(entry.record))) for entry in Entry.objects.filter(kind=_KIND)]
    return [Succession(said["former"]["key"], said["kept"]["size"], at, said["reason"]) for at, said in rows]


def succeed(*, reason: str, now: datetime) -> Mapping[str, object]:
    """What the entry of the succession says. Run again after a kill, it goes on; done, it refuses.

    Raises JournalBroken, KeysMissing, ProofRefused.
    """
    signer, note = journal_signer(), Head.objects.values_list("note", flat=True).filter(pk=1).first()
    if not note:
        raise JournalBroken("Ce journal est vide : il n'y a rien à remplacer.")
    name = note.split("\n", 1)[0]
    if name == signer.name:
        raise JournalBroken(
            "Donnez d'abord un nouveau nom au journal : DEMATMP_JOURNAL_ORIGIN, sur chaque machine."
        )
    former, before = named(name).verifier_key, succeeded()
    if any(each.split("+", 1)[0] == signer.name for each in before):
        raise JournalBroken(f"{signer.name} a déjà été le nom d'un journal : donnez-en un autre.")
    known = _last_known(before.index(former) if former in before else len(before))
    keep_former(former)
    with transaction.atomic():
        size = ledger.locked_head()
        if rebuild(former) != size:
            raise JournalBroken("Le journal change encore : arrêtez le site et les tâches.")
        root = tlog.root_at(size, stored_tile)
        Head.objects.filter(pk=1).update(note=signer.sign(tlog.Checkpoint(signer.name, size, root).text()))
        said = {
            "former": {"key": former, **known},
            "kept": {"size": size, "root": root.hex()},
            "key": signer.verifier_key,
            "reason": reason,
        }
        append(_KIND, said, now=now)
    publish(now=now)  # a crash before leaves the former checkpoint until the next minute, still true
    return said


def _last_known(rank: int) -> dict[str, str]:
    """The former journal's last checkpoints: the one that this machine saw, and that of its copy."""
    try:
        copied = copied_note(rank)
    except (StorageError, ValueError):
        copied = ""
    return {"seen": mark.text(), "copied": copied}
