"""An act leaves as real ACTES XML over HTTP, and its acknowledgement comes back."""

import os
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import time_machine
from django.utils import timezone
from lxml import etree

from dematmp.acts import gateway, rules
from dematmp.acts.errors import ActRefused, GatewayUnavailable, MessageRefused
from dematmp.acts.models import Act, Transmission
from dematmp.acts.package import pack, unpack
from dematmp.acts.s2low import S2low
from dematmp.acts.services import poll, prepare_award_act, transmit
from dematmp.audit.models import Entry
from dematmp.awards.models import Award
from dematmp.awards.services import award
from dematmp.consultations.models import Consultation
from dematmp.demo.runtime import Processes, free_port, wait_for
from tests.opening.test_opening import opened
from tests.world import World, organisation, person


class Beside:
    """The gateway in its own process; killed and started again on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "GATEWAY_STATE": str(folder / "state"),
            "GATEWAY_LOGIN": "ville",
            "GATEWAY_PASSWORD": "secret",
            "GATEWAY_DELAY": "0.3",
        }
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        self._processes = Processes(folder / "logs", environment)

    def start(self) -> None:
        where = ["--bind", f"127.0.0.1:{self.port}", "--threads", "2"]
        self._processes.start(
            "gateway",
            sys.executable,
            "-m",
            "gunicorn",
            "dematmp.acts.gateway:build()",
            "--no-control-socket",
            *where,
        )
        wait_for(f"http://127.0.0.1:{self.port}/api/test-connexion.php")

    def stop(self) -> None:
        self._processes.stop()

    def client(self, password: str = "secret") -> S2low:
        return S2low(url=f"http://127.0.0.1:{self.port}", login="ville", password=password, timeout=10)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    gateway = Beside(tmp_path_factory.mktemp("gateway"))
    gateway.start()
    yield gateway
    gateway.stop()


_REFERENCES = iter(range(1000))


@pytest.fixture
def awarded(world: World, tmp_path: Path) -> Consultation:
    """A consultation whose lot 1 has just been awarded; its reference is new to the gateway."""
    draft = world.draft(f"{os.getpid()}-{next(_REFERENCES)}")
    consultation = world.publish(draft, closes_in=timedelta(hours=1))
    world.deposit(consultation, tmp_path)
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        opened(world, consultation)
    lot = consultation.lots.get(number="1")
    amount = Decimal("1000.00")
    award(
        lot,
        company=world.company,
        amount=amount,
        reasons="mieux-disante",
        by=world.validator,
        now=timezone.now(),
    )
    return consultation


def prepared(world: World, consultation: Consultation) -> Act:
    decision = consultation.lots.get(number="1").award
    return prepare_award_act(decision, by=world.validator, now=timezone.now())


def acknowledged(act: Act, gateway: S2low) -> Transmission:
    until = time.monotonic() + 20
    while True:
        poll(act.pk, gateway, now=timezone.now())
        transmission = Transmission.objects.get(act=act)
        if transmission.acknowledged_at:
            return transmission
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_act_goes_and_its_acknowledgement_comes_back(
    world: World, awarded: Consultation, beside: Beside
) -> None:
    act = prepared(world, awarded)
    transmit(act.pk, beside.client(), now=timezone.now())
    transmission = acknowledged(act, beside.client())
    assert transmission.label == "Acquittement reçu"
    kinds = set(Entry.objects.values_list("kind", flat=True))
    assert {"act-prepared", "act-transmitted", "act-acknowledged"} <= kinds
    assert Act.objects.received_by(world.controller).get() == act


def test_between_the_two_midnights_the_date_is_that_of_paris(world: World, awarded: Consultation) -> None:
    with time_machine.travel("2026-11-24T23:30:00Z", tick=False):
        assert gateway._today() == date(2026, 11, 25)
        decision = Award.objects.get()
        Award.objects.filter(pk=decision.pk).update(decided_at=timezone.now())
        act = prepared(world, awarded)
    assert act.decided_on == date(2026, 11, 25)


def test_what_is_written_is_valid_against_the_official_schema(
    world: World, awarded: Consultation, beside: Beside, shared: Path
) -> None:
    act = prepared(world, awarded)
    transmit(act.pk, beside.client(), now=timezone.now())
    transmission = acknowledged(act, beside.client())
    schema = etree.XMLSchema(etree.parse(str(shared / "actes" / "actesv1_1.xsd")))
    for data in (transmission.envelope, transmission.message, transmission.acknowledgement):
        schema.assertValid(etree.fromstring(bytes(data or b"")))


def test_transmitting_twice_posts_one_act(world: World, awarded: Consultation, beside: Beside) -> None:
    act = prepared(world, awarded)
    for _ in range(3):
        transmit(act.pk, beside.client(), now=timezone.now())
    assert Entry.objects.filter(kind="act-transmitted").count() == 1


def test_a_post_whose_answer_was_lost_is_found_and_not_repeated(
    world: World, awarded: Consultation, beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, gateway = prepared(world, awarded), beside.client()
    real = gateway.submit

    def killed_after_the_post(name: str, archive: bytes) -> int:
        real(name, archive)
        raise KeyboardInterrupt

    monkeypatch.setattr(gateway, "submit", killed_after_the_post)
    with pytest.raises(KeyboardInterrupt):
        transmit(act.pk, gateway, now=timezone.now())
    assert Transmission.objects.get(act=act).remote_id is None
    transmit(act.pk, beside.client(), now=timezone.now())
    transmission = Transmission.objects.get(act=act)
    assert (transmission.remote_id is not None, transmission.problem) == (True, "")


def test_a_gateway_that_is_down_loses_nothing(world: World, awarded: Consultation, tmp_path: Path) -> None:
    gateway = Beside(tmp_path)
    act = prepared(world, awarded)
    with pytest.raises(GatewayUnavailable):
        transmit(act.pk, gateway.client(), now=timezone.now())
    gateway.start()
    try:
        transmit(act.pk, gateway.client(), now=timezone.now() + timedelta(minutes=5))
        assert acknowledged(act, gateway.client()).problem == ""
    finally:
        gateway.stop()


def test_a_wrong_password_is_kept_as_the_reason(world: World, awarded: Consultation, beside: Beside) -> None:
    from dematmp.acts.errors import GatewayRefused

    act = prepared(world, awarded)
    with pytest.raises(GatewayRefused, match="authentification"):
        transmit(act.pk, beside.client("faux"), now=timezone.now())
    transmit(act.pk, beside.client(), now=timezone.now())
    assert Transmission.objects.get(act=act).remote_id is not None


def test_a_controller_of_another_prefecture_sees_nothing(
    world: World, awarded: Consultation, beside: Beside
) -> None:
    act = prepared(world, awarded)
    transmit(act.pk, beside.client(), now=timezone.now())
    acknowledged(act, beside.client())
    elsewhere = organisation("prefecture", 17300001, department="030", district="1")
    assert not Act.objects.received_by(person("gard", elsewhere, "controller")).exists()


def test_preparing_twice_gives_the_same_act(world: World, awarded: Consultation) -> None:
    assert prepared(world, awarded) == prepared(world, awarded)


def test_a_buyer_without_actes_identity_is_told_so(world: World, awarded: Consultation) -> None:
    world.buyer.department = ""
    world.buyer.save()
    with pytest.raises(ActRefused, match="identité ACTES"):
        prepare_award_act(
            type(awarded.lots.get(number="1").award).objects.get(), by=world.validator, now=timezone.now()
        )


@pytest.mark.parametrize("number", ["", "a", "A_", "_A", "A" * 16, "É1", "A-1"])
def test_a_wrong_act_number_is_refused(number: str) -> None:
    with pytest.raises(ActRefused):
        rules.check_number(number)


def test_long_references_give_short_and_distinct_numbers() -> None:
    numbers = {rules.act_number("2026-MARCHE-TRES-LONG-017", str(lot)) for lot in range(50)}
    assert len(numbers) == 50
    assert all(len(number) <= 15 for number in numbers)


IDENTIFIER = "034-123456789-20260110-A1-DE"


def _tar(name: str, *, kind: bytes | None = None) -> bytes:
    import gzip
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        if kind:
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        else:
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    return gzip.compress(out.getvalue(), mtime=0)  # the same identifier in every worker


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        _tar("../../etc/cron.d/x"),
        _tar("/etc/passwd"),
        _tar("EACT--123456789--20260110-1.xml", kind=b"2"),
        _tar("EACT--123456789--20260110-1.xml", kind=b"1"),
    ],
)
def test_a_hostile_archive_is_refused(data: bytes) -> None:
    with pytest.raises(MessageRefused):
        unpack(data)


def test_a_gzip_bomb_is_refused_without_filling_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from dematmp.acts import package

    bomb = pack({"034-123456789-20260110-A1-DE-1-1_0.xml": bytes(50 * 1024 * 1024)})
    assert len(bomb) < 100_000
    monkeypatch.setattr(package, "UNPACKED_BYTES", 1024 * 1024)
    with pytest.raises(MessageRefused, match="dépliée"):
        unpack(bomb)


def test_the_same_files_give_the_same_archive() -> None:
    files = {"EACT--123456789--20260110-1.xml": b"a"}
    assert pack(files) == pack(files)
    assert unpack(pack(files)) == files
