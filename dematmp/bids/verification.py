"""Each deposit against the journal: a bid and its entry go together, and no receipt is altered."""

import json
import tempfile
from pathlib import Path

from dematmp.audit.copies import stored_tile
from dematmp.audit.errors import JournalBroken
from dematmp.audit.keys import timestamp_anchors, verifier_of
from dematmp.audit.models import Entry
from dematmp.audit.services import utc_text
from dematmp.bids.models import Bid
from dematmp.bids.receipts import receipt
from signing import tlog
from signing.errors import SigningError
from signing.receipt import verify_receipt


def check_bids() -> str:
    """Verify the receipt of each bid as a stranger would, and its row. Raises JournalBroken."""
    entries = dict(Entry.objects.filter(kind="deposit").values_list("subject", "index"))
    withdrawn = set(Entry.objects.filter(kind="withdrawal").values_list("subject", flat=True))
    count = 0
    with tempfile.TemporaryDirectory(prefix="dematmp-verify-") as folder:
        bids = Bid.objects.select_related("attempt", "bidder", "consultation__buyer").order_by("pk")
        for bid in bids.iterator(chunk_size=200):
            count += 1
            if (bid.withdrawn_at is not None) != (bid.uuid in withdrawn):
                raise JournalBroken(f"Le retrait du dépôt {bid.number} n'est pas celui du journal.")
            if bid.channel_key:  # of another journal, whose proof was verified when it was imported
                entries.pop(bid.uuid, None)  # received here too, later
                if (said := _last_said(bid)) is None:
                    raise JournalBroken(f"Le journal ne dit rien de l'import du dépôt {bid.number}.")
                _check_row(bid, said)
                continue
            if entries.pop(bid.uuid, None) != bid.journal_index:
                raise JournalBroken(f"Le dépôt {bid.number} n'a pas l'entrée du journal qu'il dit.")
            _check_row(bid, _last_said(bid) or json.loads(bytes(bid.record)))
            _check(bid, Path(folder) / "receipt.json")
    if entries:
        uuid, index = next(iter(entries.items()))
        raise JournalBroken(f"L'entrée {index} est un dépôt ({uuid}) dont l'offre manque.")
    return f"{count} dépôts"


def _last_said(bid: Bid) -> dict[str, object] | None:
    """What was last written of its instant and of its deadline after its record: an import, an extension."""
    kinds = ("deposit-imported", "deposit-judged")
    entry = Entry.objects.filter(kind__in=kinds, subject=bid.attempt.uuid).order_by("-index").first()
    if entry is None:
        return None
    said: dict[str, object] = json.loads(bytes(entry.record))
    return said


def _check_row(bid: Bid, said: dict[str, object]) -> None:
    """The row decides what is opened, and the receipt is made of the record: both say the same."""
    row = (utc_text(bid.received_at), utc_text(bid.deadline), bid.late)
    if row != (said["received"], said["deadline"], said["late"]):
        raise JournalBroken(f"La ligne du dépôt {bid.number} ne dit pas ce que dit son enregistrement.")


def _check(bid: Bid, path: Path) -> None:
    path.write_text(json.dumps(receipt(bid)))
    try:
        verify_receipt(path, journal_key=verifier_of(bid.proof), ca_pem=timestamp_anchors())
        _, _, note = tlog.parse_proof(bid.proof)
        stated = tlog.Checkpoint.parse(note)
    except SigningError as refused:
        raise JournalBroken(f"L'accusé de réception du dépôt {bid.number} : {refused}") from refused
    if tlog.root_at(stated.size, stored_tile) != stated.root:
        raise JournalBroken(f"Le point de contrôle remis au dépôt {bid.number} est d'un autre journal.")
