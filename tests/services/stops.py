"""Where a process of the platform may be stopped between two steps, for the tests that kill something there.

An application of Django that only `tests.services.stopped_settings` installs: it puts a gate before or after
named functions of the product. A gate stands open until the test arms it (a file); the first process to come
takes it, says that it waits there (its pid), and waits to be let through, or killed.
"""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path

from django.apps import AppConfig

BEFORE, AFTER = "before", "after"
_PATIENCE = 120.0  # seconds; a test that forgets a gate does not keep a process for ever


@dataclass(frozen=True)
class Stop:
    """`where` is module:attribute as its caller finds it; `who` is the process that stops there."""

    name: str
    who: str
    where: str
    when: str


# In the order of a deposit's life. What is true at each of them is said by its name.
STOPS = (
    Stop("begun, the company not told", "web", "dematmp.bids.attempts:begin", AFTER),
    Stop("part announced, not stored", "web", "dematmp.bids.attempts:open_upload", BEFORE),
    Stop("upload begun at the store, not written down", "web", "storage.s3:S3Store.begin", AFTER),
    Stop("part stored, not acknowledged", "web", "dematmp.bids.attempts:mark_received", BEFORE),
    Stop("part acknowledged, the company not told", "web", "dematmp.bids.attempts:mark_received", AFTER),
    Stop("finalisation received, nothing completed", "web", "dematmp.bids.services:complete", BEFORE),
    Stop("object completed at the store, not written down", "web", "storage.s3:S3Store.complete", AFTER),
    Stop("everything stored, no bid", "web", "dematmp.bids.services:complete_objects", AFTER),
    Stop("bid and entry written, not committed", "web", "dematmp.bids.services:_record", AFTER),
    Stop("bid committed, the worker not told", "web", "dematmp.bids.tasks:stamp_bid.delay", BEFORE),
    Stop("bid committed, no receipt given", "web", "dematmp.bids.services:complete", AFTER),
    Stop("receipt given, no token asked", "worker", "dematmp.bids.tasks:stamp", BEFORE),
    Stop("token obtained, not kept", "worker", "dematmp.bids.receipts:obtain_token", AFTER),
    Stop("token kept, no receipt in PDF", "worker", "dematmp.bids.tasks:receipt_pdf", BEFORE),
    Stop("receipt in PDF made, not kept", "worker", "dematmp.bids.tasks:receipt_pdf", AFTER),
    Stop("key released, the worker not told", "web", "dematmp.opening.tasks:unseal_session.delay", BEFORE),
    Stop("key released, the committee not told", "web", "dematmp.opening.services:release", AFTER),
    Stop("quorum combined, nothing opened", "unseal", "dematmp.opening.unsealing:_halves", AFTER),
    Stop("antivirus called, nothing sent", "unseal", "dematmp.opening.unsealing:open_session", AFTER),
    Stop("file stored, its verdict not asked", "unseal", "storage.antivirus:ScanSession.finish", BEFORE),
    Stop("file stored and scanned, not written down", "unseal", "dematmp.opening.unsealing:_stored", AFTER),
    Stop("file written down, envelope not closed", "unseal", "dematmp.opening.unsealing:_open_file", AFTER),
    Stop("envelope opened, no minutes", "unseal", "dematmp.opening.unsealing:_close", AFTER),
    Stop("minutes written, no PDF", "unseal", "dematmp.opening.unsealing:issue_pdf", BEFORE),
    Stop(
        "everything done, the session not concluded", "unseal", "dematmp.opening.unsealing:conclude", BEFORE
    ),
    # A part that the company sends to the store itself.
    Stop("address signed, the company not told", "web", "storage.s3:S3Store.target", AFTER),
    Stop("part at the store, the platform not told", "web", "dematmp.bids.direct:acknowledge", BEFORE),
    Stop("part found at the store, not acknowledged", "web", "dematmp.bids.direct:mark_received", BEFORE),
)


class Gates:
    """The test's side of a folder of gates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, stops: Sequence[Stop]) -> None:
        """These gates and no others are shut, once each."""
        for path in self.folder.iterdir():
            path.unlink()
        for stop in stops:
            (self.folder / f"{STOPS.index(stop)}.armed").touch()

    def waiting(self) -> list[tuple[Stop, int]]:
        """Who waits at a gate that was not opened yet: the stop, the pid."""
        return [
            (STOPS[int(path.stem)], int(path.read_text()))
            for path in sorted(self.folder.glob("*.waiting"))
            if not path.with_suffix(".open").exists()
        ]

    def open(self, stop: Stop) -> None:
        (self.folder / f"{STOPS.index(stop)}.open").touch()


def _wait_at(number: int, folder: Path) -> None:
    gate = folder / str(number)
    mine = gate.with_suffix(f".{os.getpid()}")
    try:
        gate.with_suffix(".armed").rename(mine)  # one process alone takes it
    except FileNotFoundError:
        return
    mine.write_text(str(os.getpid()))
    mine.rename(gate.with_suffix(".waiting"))
    until = time.monotonic() + _PATIENCE
    while not gate.with_suffix(".open").exists() and time.monotonic() < until:
        time.sleep(0.005)


def _gated(function: Callable[..., object], number: int, folder: Path, when: str) -> Callable[..., object]:
    @wraps(function)
    def gated(*given: object, **named: object) -> object:
        if when == BEFORE:
            _wait_at(number, folder)
        result = function(*given, **named)
        if when == AFTER:
            _wait_at(number, folder)
        return result

    return gated


class StopsConfig(AppConfig):
    name = "tests.services"
    label = "stops"

    def ready(self) -> None:
        from dematmp.bids import tasks

        folder, role = Path(os.environ["DEMATMP_TEST_GATES"]), _role()
        store = os.environ.get("DEMATMP_TEST_STORE", "storage.s3:S3Store")
        for number, stop in enumerate(STOPS):
            if stop.who != role:
                continue
            where = stop.where.replace("storage.s3:S3Store", store)
            module, _, path = where.partition(":")
            *owners, name = path.split(".")
            owner: object = importlib.import_module(module)
            for each in owners:
                owner = getattr(owner, each)
            setattr(owner, name, _gated(getattr(owner, name), number, folder, stop.when))
        # Sooner than in production, later than the company itself, who asks again until the web answers:
        # what the sweep did in its place would never pass the gates that are left.
        tasks._STILL_RUNNING = timedelta(seconds=20)


def _role() -> str:
    """What this process is: `manage.py unseal` is started by a worker, and has its environment."""
    import sys

    return "unseal" if "unseal" in sys.argv else os.environ.get("DEMATMP_TEST_ROLE", "")
