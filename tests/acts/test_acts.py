"""The act of an award leaves by the platform's own service, and its acknowledgement comes back."""

import io
import os
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from lxml import etree

from dematmp.acts import confirming, correspondence, moves, preparing, rules, sending, statuses
from dematmp.acts.confirming import confirm
from dematmp.acts.errors import ActRefused, GatewayUnavailable, MessageRefused
from dematmp.acts.fields import Piece, Upload
from dematmp.acts.models import Act, Transaction, Transmission
from dematmp.acts.operators import Local, operator_of
from dematmp.acts.package import pack, unpack
from dematmp.acts.services import prepare_award_act, transmit
from dematmp.acts.tasks import sweep, sweep_service
from dematmp.audit.models import Entry
from dematmp.awards.models import Award
from dematmp.awards.services import award
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from deploy.ministry import Ministry
from storage.stores import object_store
from tests.acts.service import acknowledged
from tests.acts.test_new_act import address, form, matter
from tests.opening.test_opening import opened
from tests.world import World, organisation, page, pdf, person

_REFERENCES = iter(range(1000))


@pytest.fixture
def awarded(world: World, tmp_path: Path) -> Consultation:
    """A consultation whose lot 1 has just been awarded."""
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
    made = prepare_award_act(decision, by=world.validator, now=timezone.now())
    confirm(made, by=world.validator, now=timezone.now())
    return made


def own(act: Act) -> Local:
    """The platform's own service for the act's buyer."""
    found = operator_of(act.buyer, now=timezone.now())
    assert isinstance(found, Local)
    return found


def test_an_act_goes_and_its_acknowledgement_comes_back(
    world: World, awarded: Consultation, ministry: Ministry
) -> None:
    act = prepared(world, awarded)
    transmission = acknowledged(act)
    assert transmission.label == "Acquittement reçu"
    kinds = set(Entry.objects.values_list("kind", flat=True))
    assert {"act-prepared", "act-transmitted", "act-status", "act-acknowledged"} <= kinds
    assert Act.objects.received_by(world.controller).get() == act


def test_between_the_two_midnights_the_date_is_that_of_paris(world: World, awarded: Consultation) -> None:
    with time_machine.travel("2026-11-24T23:30:00Z", tick=False):
        decision = Award.objects.get()
        Award.objects.filter(pk=decision.pk).update(decided_at=timezone.now())
        act = prepared(world, awarded)
    assert act.decided_on == date(2026, 11, 25)


def test_what_is_written_is_valid_against_the_official_schema(
    world: World, awarded: Consultation, ministry: Ministry, shared: Path
) -> None:
    transmission = acknowledged(prepared(world, awarded))
    sent = Transaction.objects.get(pk=transmission.remote_id)
    files = unpack(b"".join(object_store().open(sent.archive_key)))
    schema = etree.XMLSchema(etree.parse(str(shared / "actes" / "actesv1_1.xsd")))
    for data in (files[sent.envelope_name], files[sent.message_name], transmission.acknowledgement):
        schema.assertValid(etree.fromstring(bytes(data or b"")))


def test_a_buyer_is_told_once_that_its_act_waits(
    world: World, awarded: Consultation, ministry: Ministry
) -> None:
    act, now = prepared(world, awarded), timezone.now()
    transmit(act.pk, own(act), now=now)
    for hour in (3, 5, 6):
        sending.alert(now=now + timedelta(hours=hour))
    (told,) = Mail.objects.filter(to=world.validator.email, subject__contains="attend le ministère")
    assert act.number in told.subject
    assert "Rien n'est perdu" in told.body


def test_transmitting_twice_posts_one_act(world: World, awarded: Consultation, ministry: Ministry) -> None:
    act = prepared(world, awarded)
    for _ in range(3):
        transmit(act.pk, own(act), now=timezone.now())
    assert Entry.objects.filter(kind="act-transmitted").count() == 1
    assert Transaction.objects.count() == 1


def test_a_post_whose_answer_was_lost_is_found_and_not_repeated(
    world: World, awarded: Consultation, ministry: Ministry, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = prepared(world, awarded)
    operator = own(act)
    real = operator.post

    def killed_after_the_post(posting: Any) -> int:
        real(posting)
        raise KeyboardInterrupt

    monkeypatch.setattr(operator, "post", killed_after_the_post)
    with pytest.raises(KeyboardInterrupt):
        transmit(act.pk, operator, now=timezone.now())
    assert Transmission.objects.get(act=act).remote_id is None
    transmit(act.pk, own(act), now=timezone.now())
    transmission = Transmission.objects.get(act=act)
    assert (transmission.remote_id is not None, transmission.problem) == (True, "")
    assert Transaction.objects.count() == 1


def test_an_operator_that_is_down_loses_nothing(world: World, awarded: Consultation) -> None:
    now = timezone.now()
    correspondence.set_operator(world.buyer, url="https://127.0.0.1:9", login="ville", now=now)
    act = prepared(world, awarded)
    remote = operator_of(world.buyer, now=now)
    assert remote is not None
    with pytest.raises(GatewayUnavailable):
        transmit(act.pk, remote, now=now)
    transmission = Transmission.objects.get(act=act)
    assert (transmission.remote_id, transmission.is_over) == (None, False)


def test_the_secrets_of_an_operator_are_wrapped_at_rest(world: World) -> None:
    made = correspondence.set_operator(
        world.buyer, url="https://s2low.example.fr", login="ville", password="mot-secret", now=timezone.now()
    )
    assert b"mot-secret" not in bytes(made.password or b"")
    found = operator_of(world.buyer, now=timezone.now())
    assert getattr(found, "password", "") == "mot-secret"


def test_a_refusal_of_the_operator_is_kept_as_the_reason(
    world: World, awarded: Consultation, ministry: Ministry
) -> None:
    act = prepared(world, awarded)
    Act.objects.filter(pk=act.pk).update(decided_on=date(2999, 1, 1))
    transmit(act.pk, own(act), now=timezone.now())
    transmission = Transmission.objects.get(act=act)
    assert (transmission.is_over, "futur" in transmission.problem) == (True, True)


def test_a_letter_is_kept_answered_and_the_act_cancelled(
    world: World, awarded: Consultation, ministry: Ministry
) -> None:
    act = prepared(world, awarded)
    acknowledged(act)
    ministry.write_letter(act.identifier, "3-1", "Il manque le rapport.")
    for _ in range(50):
        sweep_service()
        sweep()
        if act.letters.exists():
            break
    letter = act.letters.get()
    assert (letter.kind, letter.text) == ("3-1", "Il manque le rapport.")
    correspondence.cancel(act, own(act), now=timezone.now())
    with pytest.raises(ActRefused, match="déjà en cours"):
        correspondence.cancel(act, own(act), now=timezone.now())
    for _ in range(50):
        sweep_service()
        sweep()
        if Transmission.objects.get(act=act).cancelled_at:
            break
    assert Transmission.objects.get(act=act).cancelled_at is not None


def test_a_controller_of_another_prefecture_sees_nothing(
    world: World, awarded: Consultation, ministry: Ministry
) -> None:
    acknowledged(prepared(world, awarded))
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


def contract_piece(name: str, typology: str) -> Piece:
    content = pdf()
    return Piece(Upload(name, len(content), io.BytesIO(content)), typology)


def test_a_contract_leaves_with_its_pieces_and_their_confirmed_typologies(
    world: World, ministry: Ministry
) -> None:
    operator = operator_of(world.buyer, now=timezone.now())
    assert operator is not None
    names = ["AE lot 1.pdf", "CCAP.pdf", "scan.pdf"]
    proposed = preparing.propose(names, operator)
    assert [(each.typology, each.sure) for each in proposed] == [
        ("11_AE", True),
        ("11_AP", True),
        ("99_DC", False),
    ]
    act = preparing.prepare_act(
        world.buyer,
        [contract_piece(each.name, each.typology) for each in proposed],
        nature="4",
        codes=(1, 1, 2),
        number="2026_MP_1",
        subject="Travaux de voirie",
        decided_on=date(2026, 1, 10),
        operator=operator,
        by=world.agent,
        now=timezone.now(),
    )
    sweep()
    assert not Transaction.objects.exists(), "nothing leaves before it is confirmed"
    for _ in range(2):  # twice is once
        confirming.confirm(act, by=world.validator, now=timezone.now())
    transmission = acknowledged(act)
    sent = Transaction.objects.get(pk=transmission.remote_id)
    assert [each.typology for each in sent.files.order_by("rank")] == ["", "11_AE", "11_AP", "99_DC"]


@pytest.mark.parametrize("typology", ["99_DE", "11_A"])
def test_a_typology_of_another_nature_is_refused_before_anything_leaves(
    world: World, ministry: Ministry, typology: str
) -> None:
    operator = operator_of(world.buyer, now=timezone.now())
    assert operator is not None
    with pytest.raises(ActRefused):
        preparing.prepare_act(
            world.buyer,
            [contract_piece("AE.pdf", typology)],
            nature="4",
            codes=(1, 1, 2),
            number="2026_MP_2",
            subject="Travaux",
            decided_on=date(2026, 1, 10),
            operator=operator,
            by=world.validator,
            now=timezone.now(),
        )
    assert not Act.objects.exists()


def test_an_award_follows_its_act_prepared_again_and_a_taken_number_is_not_proposed(
    world: World, awarded: Consultation, ministry: Ministry
) -> None:
    act = prepared(world, awarded)
    consultation = awarded
    sweep()
    sweep_service()
    remote = Transmission.objects.get(act=act).remote_id
    assert remote is not None
    moves.move(remote, statuses.ERROR, message="Envoyé puis refusé", now=timezone.now())
    sweep()
    client = page(world.validator)
    again = f"{address(world, nature=1)}?remplace={act.uuid}"
    proposed = client.get(again).content.decode()
    held = Transaction.objects.get(pk=remote).holds_number
    assert (f'value="{act.number}"' in proposed) is not held
    given = form(matter=matter(world), number="2026_CORRIGE", typology0="99_DE", file1=None, typology1=None)
    assert client.post(again, given).status_code == 302
    made = Act.objects.get(number="2026_CORRIGE")
    assert made.consultation_uuid == consultation.uuid
    act.refresh_from_db()
    assert act.award is None
    assert made == prepare_award_act(made.award, by=world.validator, now=timezone.now())
