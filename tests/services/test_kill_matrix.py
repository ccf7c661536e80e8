"""kill -9 of each thing between every two steps of a deposit and of its opening: nothing is lost.

One deposit through the platform and one straight to the store go the whole way, from the first request to
the minutes, once for each victim. At each step the victim is killed, whoever waited there goes on, the victim
comes back. After each kill, and at the end, `invariants` reads the database, the buckets and the journal.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.services.brokers import RabbitMQ, Redis
from deploy.services.ceph import Ceph
from deploy.services.clamd import Clamd
from deploy.services.postgres import Postgres
from deploy.services.process import Service
from signing.client import EnvelopePlan, ServerRefused
from signing.committee import Committee
from signing.envelope import Source
from tests.conftest import absent
from tests.services import invariants
from tests.services.platform import Platform
from tests.services.stops import STOPS, Stop

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
PATIENCE = 100.0  # seconds for one walk to reach its next step
LAST = 15.0  # seconds after a walk for its last steps, which come after the minutes
MIB = 1024**2
FILES = {"grand.bin": os.urandom(9 * MIB), "direct.txt": b"prix"}  # in two parts, in one


def _at(pattern: str) -> list[Stop]:
    return [stop for stop in STOPS if re.search(pattern, stop.name)]


BEHIND = [stop for stop in STOPS if stop.who != "web"]
# Victim → the steps between which it is killed: everywhere, but what takes seconds to come back. What takes
# longest is killed at fewer of its steps, unless DEMATMP_WHOLE_MATRIX is set (eight minutes on two cores).
WHOLE = bool(os.environ.get("DEMATMP_WHOLE_MATRIX"))
MATRIX: dict[str, list[Stop]] = {
    "web": list(STOPS),
    "rgw": list(STOPS),
    "postgres": list(STOPS),
    "clamd": list(STOPS),
    "redis": list(STOPS),
    # The whole worker, then only its process that works, or the one of an opening.
    "worker": _at(
        "begun, |no bid|worker not|no token|not kept|quorum|not asked|not told$|no minutes|concluded"
        if WHOLE
        else "no bid|no token|quorum|not asked|no minutes"
    ),
    "process": BEHIND if WHOLE else BEHIND[::2],
    "rabbitmq": _at("worker not told|no token|quorum|minutes written" if WHOLE else "no token|quorum"),
    "osd": _at(
        "upload begun|part stored|object completed|everything stored|platform not|its verdict"
        if WHOLE
        else "part stored|everything stored|its verdict"
    ),
}
# The suite has its minutes: without DEMATMP_WHOLE_MATRIX it walks with those that lose most.
VICTIMS = list(MATRIX) if WHOLE else ["web", "postgres", "rgw"]


@pytest.fixture(scope="module")
def mortals() -> Iterator[dict[str, Service]]:
    """Services of these tests alone: they are killed. The durable ones keep what they said they kept."""
    services = {
        "postgres": Postgres(durable=True),
        "ceph": Ceph(durable=True),
        "clamd": Clamd(),
        "redis": Redis(),
        "rabbitmq": RabbitMQ(),
    }
    for reason in filter(None, (service.missing() for service in services.values())):
        absent(reason)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        list(pool.map(stack.enter_context, services.values()))
        yield services


@pytest.fixture(scope="module")
def platform(mortals: dict[str, Service], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(
        tmp_path_factory.mktemp("platform"),
        postgres=mortals["postgres"],
        ceph=mortals["ceph"],
        clamd=mortals["clamd"],
        broker=mortals["redis"],
        consultations=len(VICTIMS) + 3,
    )
    yield made
    made.stop()


class Patient(Committee):
    """The library's own client, that asks again at once, and as long as it takes."""

    direct = False

    def __init__(self, server: str, token: str) -> None:
        super().__init__(server, token, tries=1000)

    @staticmethod
    def wait(tried: int) -> None:
        time.sleep(0.05)

    def post(self, path: str, body: object = None) -> dict[str, object]:
        answer = super().post(path, body)
        return {**answer, "direct": self.direct} if path == "/attempts" else answer


class Straight(Patient):
    direct = True


class Walk(threading.Thread):
    """A deposit of the company through the platform, one of its rival to the store itself, their opening."""

    def __init__(self, platform: Platform, consultation: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self.platform, self.consultation, self.folder = platform, consultation, folder
        self.receipts: list[Mapping[str, object]] = []
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            self._walk()
        except BaseException as failed:  # noqa: BLE001  (told to who waits for this thread)
            self.failed = failed

    def _walk(self) -> None:
        url = self.platform.web.url
        bids = [
            (Patient(url, self.platform.bidder), "grand.bin"),
            ((Straight if self.platform.direct else Patient)(url, self.platform.rival), "direct.txt"),
        ]
        for speaker, name in bids:
            self._deposit(speaker, name)
        for speaker, _ in bids:
            deposit = str(self.receipts[bids.index((speaker, _))]["deposit"])
            said = speaker.collect(deposit, self.folder / deposit, wait=PATIENCE)
            assert said["token"] and said["pdf"], "no token"
        self.platform.close(self.consultation)
        members = [(Patient(url, token), seed) for token, seed in self.platform.members[:2]]
        for speaker, seed in members:
            session = speaker.start_opening(self.consultation)
            speaker.give_share(self.consultation, session, seed)
        path = f"/openings/{session['session']}"
        speaker.post(f"{path}/open")
        while speaker.get(path)["state"] != "done" or not _minutes(speaker, path):
            speaker.wait(0)

    def _deposit(self, speaker: Patient, name: str) -> None:
        plain = self.folder / name
        plain.write_bytes(FILES[name])
        draft = self.folder / f"draft-{name}"
        speaker.seal_draft(self.consultation, [EnvelopePlan("1", "offre", [Source(plain, name)])], draft)
        while True:
            attempt = str(speaker.upload(draft)["attempt"])
            try:
                self.receipts.append(speaker.finalise(draft, attempt))
            except ServerRefused as refused:
                assert refused.reason == "deposit.incomplete"  # the store lost a part: it is sent again
                continue
            return


def _minutes(speaker: Committee, path: str) -> bool:
    try:
        return bool(speaker.fetch(f"{path}/minutes.pdf"))
    except ServerRefused as early:
        assert early.status == 404
        return False


def walk(platform: Platform, victim: str, stops: list[Stop], folder: Path) -> None:
    """A kill at one step may take the place of another just after: what was not met is walked again."""
    left = stops
    for turn in range(3):
        (folder / str(turn)).mkdir()
        left = _walk(platform, victim, left, folder / str(turn))
        if not left:
            return
    raise AssertionError(f"never met: {[stop.name for stop in left]}")


def _walk(platform: Platform, victim: str, stops: list[Stop], folder: Path) -> list[Stop]:
    """One walk; the steps that it did not meet."""
    consultation = platform.consultations.pop()
    stores = platform.stores(FILES)
    kill, revive = platform.killers()["broker" if victim in ("redis", "rabbitmq") else victim]
    platform.gates.arm(stops)
    thread = Walk(platform, consultation, folder)
    thread.start()
    left, found = list(stops), list[str]()
    until = time.monotonic() + PATIENCE
    ended = float("inf")
    while thread.is_alive() or (left and thread.failed is None and time.monotonic() < ended + LAST):
        assert time.monotonic() < until, f"stuck before {[stop.name for stop in left]}"
        if not thread.is_alive():
            ended = min(ended, time.monotonic())
        for stop, pid in platform.gates.waiting():
            kill(pid)
            platform.gates.open(stop)
            revive()
            cell = f"{victim} killed at « {stop.name} »"
            said = invariants.broken(stores, receipts=list(thread.receipts), of=consultation)
            found += [f"{cell}: {each}" for each in said]
            left.remove(stop)
            until = time.monotonic() + PATIENCE
        time.sleep(0.01)
    if thread.failed is not None:
        raise thread.failed
    found += invariants.broken(stores, receipts=thread.receipts, of=consultation)
    until = time.monotonic() + PATIENCE  # a file that no antivirus saw is scanned by the next sweep
    while (waiting := list(invariants.unfinished(stores, of=consultation))) and time.monotonic() < until:
        time.sleep(0.1)
    found += waiting
    before = invariants.strangers(stores)
    named = platform.python("manage.py", "storage", "fsck", "--recent", check=False)
    strangers = before & invariants.strangers(stores)  # what a worker was writing is no stranger any more
    found += [f"{key}: fsck does not name it" for key in strangers if key not in named]
    assert found == []
    return left


@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost(
    platform: Platform, mortals: dict[str, Service], victim: str, tmp_path: Path
) -> None:
    platform.serve(mortals["rabbitmq" if victim == "rabbitmq" else "redis"])
    try:
        walk(platform, victim, MATRIX[victim], tmp_path)
    finally:
        print(platform.log())  # shown when it fails
