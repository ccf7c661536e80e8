"""Any order of parts, twice, altered, too short, lost by the store, finalised early, late or twice.

A machine plays requests at random and keeps its own account of what must have been received; the platform's
account is compared with it after each of them.
"""

import hashlib
import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django.fixtures import Settings

from dematmp.bids.attempts import EnvelopeOffer, begin, receive_part
from dematmp.bids.errors import (
    AlreadyDeposited,
    DigestMismatch,
    Incomplete,
    PartCorrupt,
    PartRefused,
    PartTruncated,
)
from dematmp.bids.models import Bid, Part, SealedObject
from dematmp.bids.services import finalise
from dematmp.consultations.models import Consultation
from deploy.services.ceph import Ceph
from signing.digests import composite_of_parts
from signing.envelope import Ids, Source, seal
from storage.stores import object_store, parse_object_store
from tests.world import World

PART = 64  # bytes, in a folder; S3 wants 5 MiB, hence one part of each object there


@dataclass(frozen=True)
class Ground:
    """Where the machine plays: an open consultation, the bytes of a part (0: as the product makes them)."""

    world: World
    consultation: Consultation
    folder: Path
    part_bytes: int


def machine(ground: Ground) -> Callable[[], RuleBasedStateMachine]:
    class Protocol(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            keys = ground.consultation.envelope_keys.get()
            company, deposit, envelope = str(ground.world.company.uuid), str(uuid.uuid4()), str(uuid.uuid4())
            plain = ground.folder / "plain"
            plain.write_bytes(bytes(range(100)))
            made = seal(
                [Source(plain, "offre.txt")],
                ids=Ids(str(ground.consultation.uuid), "1", company, "offre", deposit, envelope),
                committee=bytes(keys.committee),
                platform=bytes(keys.platform),
                ceremony=ground.consultation.ceremony_sha256,
                out=ground.folder / envelope,
            )
            self.offers = [
                EnvelopeOffer(made.header, made.keys, {each.name: each.size for each in made.objects})
            ]
            self.attempt, self.envelope = self.begin(), uuid.UUID(envelope)
            if ground.part_bytes:
                SealedObject.objects.filter(envelope__attempt=self.attempt).update(
                    part_bytes=ground.part_bytes
                )
            self.blocks: dict[tuple[str, int], bytes] = {}
            for sealed in SealedObject.objects.filter(envelope__attempt=self.attempt):
                data = (ground.folder / envelope / sealed.name).read_bytes()
                for number in range(1, sealed.part_count + 1):
                    start = (number - 1) * sealed.part_bytes
                    self.blocks[sealed.name, number] = data[start : start + sealed.part_bytes]
            self.received: set[tuple[str, int]] = set()
            self.announced: dict[tuple[str, int], str] = {}
            self.bid: Bid | None = None

        def begin(self) -> object:
            return begin(
                ground.consultation,
                bidder=ground.world.company,
                by=ground.world.bidder,
                offers=self.offers,
                client_clock=None,
                now=timezone.now(),
            )

        def part(self, choice: int) -> tuple[str, int]:
            return sorted(self.blocks)[choice % len(self.blocks)]

        def send(self, name: str, number: int, data: bytes, sha256: str, *, length: int) -> Part:
            return receive_part(
                self.attempt,
                envelope=self.envelope,
                name=name,
                number=number,
                stream=io.BytesIO(data),
                length=length,
                sha256=sha256,
                now=timezone.now(),
            )

        @rule()
        def begin_again(self) -> None:
            assert self.begin() == self.attempt

        @rule(choice=st.integers(0, 99), times=st.integers(1, 2))
        def the_right_bytes(self, choice: int, times: int) -> None:
            name, number = self.part(choice)
            data = self.blocks[name, number]
            for _ in range(times):
                self.send(name, number, data, hashlib.sha256(data).hexdigest(), length=len(data))
            self.received.add((name, number))

        @rule()
        def everything_that_misses(self) -> None:
            for name, number in sorted(set(self.blocks) - self.received, reverse=True):
                data = self.blocks[name, number]
                self.send(name, number, data, hashlib.sha256(data).hexdigest(), length=len(data))
                self.received.add((name, number))

        @precondition(lambda self: self.bid is None)
        @rule(choice=st.integers(0, 99), flip=st.integers(0, 10**6))
        def altered_on_the_way(self, choice: int, flip: int) -> None:
            where = self.part(choice)
            if where in self.received:
                return
            good = self.blocks[where]
            bad = bytearray(good)
            bad[flip % len(bad)] ^= 1
            with pytest.raises(PartCorrupt):
                self.send(*where, bytes(bad), hashlib.sha256(good).hexdigest(), length=len(good))

        @precondition(lambda self: self.bid is None)
        @rule(choice=st.integers(0, 99), kept=st.integers(0, 10**6))
        def broken_off(self, choice: int, kept: int) -> None:
            where = self.part(choice)
            if where in self.received:
                return
            data = self.blocks[where]
            with pytest.raises(PartTruncated):
                short = data[: kept % len(data)]
                self.send(*where, short, hashlib.sha256(data).hexdigest(), length=len(data))

        @rule(choice=st.integers(0, 99), more=st.sampled_from([-1, 1, 1000]))
        def another_size(self, choice: int, more: int) -> None:
            where = self.part(choice)
            data = self.blocks[where] + b"x" * max(0, more)
            with pytest.raises(PartTruncated):
                length = len(self.blocks[where]) + more
                self.send(*where, data[:length], hashlib.sha256(data[:length]).hexdigest(), length=length)

        @rule(choice=st.integers(0, 99))
        def other_bytes_under_a_number_received(self, choice: int) -> None:
            where = self.part(choice)
            if where not in self.received:
                return
            other = bytes(len(self.blocks[where]))
            with pytest.raises((PartRefused, AlreadyDeposited)):
                self.send(*where, other, hashlib.sha256(other).hexdigest(), length=len(other))

        @rule(choice=st.integers(0, 99), number=st.sampled_from([0, 1000]))
        def a_part_that_is_none(self, choice: int, number: int) -> None:
            with pytest.raises(PartRefused):
                self.send(self.part(choice)[0], number, b"x", hashlib.sha256(b"x").hexdigest(), length=1)

        @precondition(lambda self: self.bid is None)
        @rule(choice=st.integers(0, 99))
        def the_store_loses_an_object(self, choice: int) -> None:
            name, _ = self.part(choice)
            sealed = SealedObject.objects.get(envelope__attempt=self.attempt, name=name)
            whole = {where for where in self.blocks if where[0] == name} <= self.received
            if sealed.upload_id and whole and sealed.completed_at is None:
                object_store().abort(sealed.key, sealed.upload_id)
                if set(self.blocks) == self.received:
                    with pytest.raises(Incomplete):
                        self.finalised()
                    self.received -= {where for where in self.blocks if where[0] == name}
                else:  # what is received stays so: the finalisation finds it, which is another rule
                    self.repair(sealed)

        def repair(self, sealed: SealedObject) -> None:
            """As if it had not been lost: the same bytes are at the same upload again."""
            fresh = object_store().begin(sealed.key)
            SealedObject.objects.filter(pk=sealed.pk).update(upload_id=fresh)
            for (name, number), data in self.blocks.items():
                if name == sealed.name:
                    sha256 = hashlib.sha256(data).hexdigest()
                    object_store().put_part(
                        sealed.key,
                        fresh,
                        number,
                        io.BytesIO(data),
                        size=len(data),
                        part_bytes=sealed.part_bytes,
                        sha256=sha256,
                    )

        def finalised(self, *, wrong: bool = False, late: bool = False) -> Bid:
            digests: dict[tuple[uuid.UUID, str], str] = {}
            for name in {name for name, _ in self.blocks}:
                parts = [
                    hashlib.sha256(self.blocks[where]).digest()
                    for where in sorted(self.blocks)
                    if where[0] == name
                ]
                digests[self.envelope, name] = composite_of_parts(parts) if not wrong else "0" * 64
            deadline = ground.consultation.deadline
            assert deadline is not None
            now = deadline + timedelta(milliseconds=1) if late else timezone.now()
            return finalise(self.attempt, digests=digests, by=ground.world.bidder, now=now)

        @rule(late=st.booleans(), wrong=st.booleans())
        def finalise(self, late: bool, wrong: bool) -> None:
            if self.bid is not None:
                assert self.finalised(wrong=wrong, late=late) == self.bid  # whatever is said again
            elif set(self.blocks) != self.received:
                with pytest.raises(Incomplete):
                    self.finalised(late=late, wrong=wrong)
            elif wrong:
                with pytest.raises(DigestMismatch):
                    self.finalised(late=late, wrong=True)
            else:
                self.bid = self.finalised(late=late)
                assert self.bid.late is late

        @invariant()
        def both_accounts_agree(self) -> None:
            received = Part.objects.received().filter(object__envelope__attempt=self.attempt)
            assert {
                (each.object.name, each.number) for each in received.select_related("object")
            } == self.received
            assert Bid.objects.filter(attempt=self.attempt).first() == self.bid
            for sealed in SealedObject.objects.filter(envelope__attempt=self.attempt):
                if self.bid is None:
                    continue
                mine = b"".join(
                    self.blocks[where] for where in sorted(self.blocks) if where[0] == sealed.name
                )
                assert object_store().read(sealed.key) == mine

    return Protocol


@pytest.fixture(params=["folder", "s3"])
def ground(request: pytest.FixtureRequest, world: World, settings: Settings, tmp_path: Path) -> Ground:
    settings.DEPOSIT_LIMITS = {**settings.DEPOSIT_LIMITS, "attempts": 10**6}
    settings.OBJECT_STORE = parse_object_store(f"folder://{tmp_path}/store")
    if request.param == "s3":
        ceph: Ceph = request.getfixturevalue("ceph")
        settings.OBJECT_STORE = parse_object_store(ceph.url)
    made = world.publish(world.draft(kinds=["offre"]))
    return Ground(world, made, tmp_path, PART if request.param == "folder" else 0)


def test_whatever_is_sent_in_whatever_order(ground: Ground) -> None:
    examples, steps = (30, 25) if ground.part_bytes else (4, 12)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(ground),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=checks,
            phases=(Phase.generate,),  # an example takes a second: a failure is told as it was met
            database=None,
        ),
    )
