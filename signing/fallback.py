"""A deposit to the platform, or to its backup channel when the platform does not answer."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from signing.client import Client, ServerRefused, ServerUnreachable, load_draft

Progress = Callable[[int], None]
RECEIPT = ("receipt.json", "record", "token.tst", "proof.tlog-proof", "receipt.pdf")
_TRIES, _SECONDS = 3, 45.0  # of each call, where there is a backup channel: more than any answer takes


@dataclass(frozen=True)
class Done:
    """What came of a draft: the attempt, its receipt (None when only sent), and by which door."""

    attempt: dict[str, object]
    receipt: dict[str, object] | None
    speaker: Client
    by_backup: bool


def is_away(error: ServerRefused | ServerUnreachable) -> bool:
    """Whether the platform failed, rather than refused."""
    return isinstance(error, ServerUnreachable) or error.status >= 500


def remember(client: Client, draft: Path) -> bool:
    """Keep in the draft where to deposit if the platform does not answer, and the pass for it.

    False where the platform has no such channel, or does not answer already. The pass only deposits, for this
    company, on that channel, for some weeks.
    """
    tries, client.tries = client.tries, 1  # what follows tries again
    try:
        said = client.post("/channel/pass")
    except (ServerRefused, ServerUnreachable):
        return False
    finally:
        client.tries = tries
    _write(draft, backup={"url": said["url"], "pass": said["pass"]})
    return True


def _write(draft: Path, **more: object) -> None:
    path = draft / "draft.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(load_draft(draft) | more, indent=1))
    fresh.replace(path)


def backup_of(draft: Path, *, timeout: float) -> Client | None:
    """The backup channel that the draft remembers."""
    known = load_draft(draft).get("backup")
    if not isinstance(known, dict):
        return None
    return Client(str(known["url"]), str(known["pass"]), timeout=timeout)


def went_by_backup(draft: Path) -> bool:
    """Whether this draft was deposited on the backup channel."""
    return load_draft(draft).get("channel") == "backup"


def deposit(
    client: Client,
    draft: Path,
    *,
    finalise: bool = True,
    progress: Progress | None = None,
    turning: Callable[[], None] | None = None,
) -> Done:
    """Send a draft and finalise it; `turning` is called before the backup channel is tried.

    The same deposit may so be received twice: both sides know it by its id, and it counts once, at the first
    of the two instants that the platform knows. Raises what `Client` raises, of the platform when there is no
    backup channel, of that channel else. Who has another door waits less at the first.
    """
    patience = client.tries, client.timeout
    if backup_of(draft, timeout=client.timeout) is not None:
        client.tries, client.timeout = min(client.tries, _TRIES), min(client.timeout, _SECONDS)
    try:
        return _deposit(client, draft, finalise=finalise, progress=progress, by_backup=False)
    except (ServerRefused, ServerUnreachable) as away:
        backup = backup_of(draft, timeout=client.timeout) if is_away(away) else None
        if backup is None:
            raise
        if turning:
            turning()
    finally:
        client.tries, client.timeout = patience
    done = _deposit(backup, draft, finalise=finalise, progress=progress, by_backup=True)
    if done.receipt is not None:
        _write(draft, channel="backup")
    return done


def _deposit(
    client: Client, draft: Path, *, finalise: bool, progress: Progress | None, by_backup: bool
) -> Done:
    attempt = client.upload(draft, progress=progress)
    if not finalise:
        return Done(attempt, None, client, by_backup)
    before = {name: (draft / name).read_bytes() for name in RECEIPT if (draft / name).is_file()}
    receipt = client.finalise(draft, str(attempt["attempt"]))
    _set_aside(draft, before, but=str(receipt["number"]))
    return Done(attempt, receipt, client, by_backup)


def _set_aside(draft: Path, before: Mapping[str, bytes], *, but: str) -> None:
    """The receipt that was there, of another number than `but`, goes with its proofs to a folder of its own:
    each server gives one, the first received counts, and neither is lost."""
    try:
        number = str(json.loads(before["receipt.json"])["number"])
    except (ValueError, KeyError, TypeError):
        return
    if number == but or not re.fullmatch(r"[A-Za-z0-9-]{1,60}", number):
        return
    aside = draft / f"accuse-{number}"
    aside.mkdir(exist_ok=True)
    for name, data in before.items():
        (aside / name).write_bytes(data)
        if name != "receipt.json":  # that one is the other receipt already
            (draft / name).unlink()
