"""The act of a contract signed here keeps the procedure that led to it, and the threshold of its launch."""

from datetime import UTC, date, datetime, timedelta

from django.urls import reverse
from django.utils import timezone

from dematmp.acts import news, timeline
from dematmp.acts.confirming import confirm, give_up
from dematmp.acts.models import Act, Transmission
from dematmp.acts.rules import ERROR, sending_end
from dematmp.acts.services import prepare_award_act, reach
from dematmp.acts.tasks import sweep
from dematmp.audit.models import Entry
from dematmp.awards.models import Award
from dematmp.consultations.models import Consultation
from dematmp.opening import closing
from deploy.ministry import Ministry
from tests.acts.service import acknowledged, until
from tests.acts.test_new_act import address, form, matter
from tests.awards.test_contracts import AUTHORITIES, deposited, lot  # noqa: F401
from tests.signing.pdf_cases import signed
from tests.world import World, page


def _contract_act(world: World, award: Award) -> Act:
    """The act of a contract that both parties signed here, prepared."""
    first = signed(AUTHORITIES.signer, field="Entreprise")
    both = signed(AUTHORITIES.issuer.issue("Maire"), first, field="Acheteur")
    for data, side in ((first, "company"), (both, "buyer")):
        assert deposited(world.validator, award, data, side)[0] == 302
    given = form(matter=matter(world), file0=None)
    answer = page(world.validator).post(f"{address(world)}?contrat={award.pk}", given)
    assert answer.status_code == 302
    return Act.objects.get(contract_of=award)


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 11, tzinfo=UTC)


def _to_send(world: World, act: Act) -> list[tuple[int, date]]:
    """The contracts that the calendar says are to be sent, on the day of the signature of this one."""
    found = news.marks(world.validator, today=act.decided_on)
    return [(each.act.pk, each.day) for each in found if each.is_sending]


def test_the_desk_reads_the_procedure_behind_a_contract(
    world: World,
    lot: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    act, validator, controller = _contract_act(world, lot), page(world.validator), page(world.controller)
    consultation = lot.lot.consultation
    validator.post(reverse("buyer-act-confirm", args=[act.uuid]))
    acknowledged(act)
    decided = prepare_award_act(lot, by=world.validator, now=timezone.now())
    confirm(decided, by=world.validator, now=timezone.now())
    acknowledged(decided)
    closing.close(consultation.opening_session, by=world.members[0], now=timezone.now())
    minutes = reverse("prefecture-act-file", args=[act.uuid, "proces-verbal.pdf"])
    shown = controller.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    for words in (consultation.reference, str(lot.company), "1 000,00", decided.number, "pas été communiqué"):
        assert words in shown.replace("\xa0", " ").replace("\u202f", " "), words
    assert controller.get(minutes).status_code == 404
    assert validator.post(reverse("buyer-act-procedure", args=[act.uuid])).status_code == 302
    assert controller.get(minutes).content.startswith(b"%PDF")
    entry = Entry.objects.filter(kind="act-prepared").order_by("pk").first()
    assert entry is not None
    assert entry.consultation == consultation.uuid


def test_a_contract_prepared_again_keeps_its_procedure(
    world: World,
    lot: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    act = _contract_act(world, lot)
    give_up(act, by=world.validator, now=timezone.now())
    again = f"{address(world)}?remplace={act.uuid}"
    assert page(world.validator).post(again, form(matter=matter(world))).status_code == 302
    made = Act.objects.get(replaces=act)
    assert made.consultation_uuid == lot.lot.consultation.uuid


def test_the_threshold_of_a_contract_is_that_of_the_launch_of_its_procedure(
    world: World,
    lot: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    """D2131-5-1: 221 000 € in 2025, 216 000 € in 2026."""
    _contract_act(world, lot)
    launched = datetime(2025, 12, 31, 22, 59, tzinfo=UTC)  # 23:59 by the legal time
    given, client = f"{address(world)}?contrat={lot.pk}", page(world.validator)
    for moment, said in ((launched, "221 000"), (launched + timedelta(minutes=1), "216 000")):
        Consultation.objects.filter(pk=lot.lot.consultation_id).update(published_at=moment)
        shown = client.get(given).content.decode().replace("\xa0", " ").replace("\u202f", " ")
        assert f"À partir de {said} € HT" in shown
        assert "Seuil à vérifier" not in shown
    for moment, is_known in (
        (datetime(2027, 12, 31, 22, 59, tzinfo=UTC), True),
        (datetime(2027, 12, 31, 23, 0, tzinfo=UTC), False),  # 2028, by the legal time
    ):
        Consultation.objects.filter(pk=lot.lot.consultation_id).update(published_at=moment)
        for where in (given, reverse("contract", args=[lot.pk])):
            assert ("Seuil à vérifier" in client.get(where).content.decode()) is not is_known
    unknown = client.get(address(world)).content.decode().replace("\xa0", " ").replace("\u202f", " ")
    assert "lancée du 01/01/2024 au 31/12/2025 : 221 000 € HT" in unknown


def test_a_contract_act_that_was_cancelled_is_still_to_be_sent(
    world: World,
    lot: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    Award.objects.filter(pk=lot.pk).update(amount=400_000)
    act, validator = _contract_act(world, lot), page(world.validator)
    validator.post(reverse("buyer-act-confirm", args=[act.uuid]))
    acknowledged(act)
    where, button = reverse("contract", args=[lot.pk]), "Préparer sa transmission"

    def shown() -> str:
        return validator.get(where).content.decode()

    assert "Reçu en préfecture le" in shown()
    assert button not in shown()
    assert _to_send(world, act) == []
    assert validator.post(reverse("buyer-act-cancel", args=[act.uuid])).status_code == 302
    until(lambda: sweep() or Transmission.objects.get(act=act).cancelled_at)
    assert "Reçu en préfecture le" not in shown()
    assert _to_send(world, act) == [(act.pk, sending_end(act.decided_on))]
    said = timeline.situation(Act.objects.get(pk=act.pk), now=_noon(act.decided_on))
    assert (said.holder, said.until) == (timeline.BUYER, sending_end(act.decided_on))
    for words in ("À transmettre à la préfecture au plus tard le", "Annulé le", act.number, button):
        assert words in shown(), words
    published = validator.post(
        reverse("buyer-act-published", args=[act.uuid]), {"publie": timezone.localdate()}
    )
    assert published.status_code == 409
    assert "est annulé" in published.content.decode()
    page_of_act = validator.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    assert "Corriger et transmettre de nouveau" in page_of_act
    again = f"{address(world)}?remplace={act.uuid}"
    assert f'value="{act.number}_2"' in validator.get(again).content.decode()
    assert validator.post(again, form(matter=matter(world), number=f"{act.number}_2")).status_code == 302
    assert button not in shown()
    made = Act.objects.get(replaces=act)
    assert (made.contract_of, Act.objects.get(pk=act.pk).replaced_at is None) == (lot, False)
    assert [pk for pk, _ in _to_send(world, act)] == [made.pk]
    Act.objects.filter(pk=act.pk).update(replaced_at=None)  # as if it had been prepared from the contract
    assert [pk for pk, _ in _to_send(world, act)] == [made.pk]
    page_of_act = validator.get(reverse("buyer-act", args=[made.uuid])).content.decode()
    assert "</a>, annulé." in page_of_act


def test_a_contract_act_rejected_after_its_receipt_is_not_said_to_be_received(
    world: World,
    lot: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    act, validator = _contract_act(world, lot), page(world.validator)
    validator.post(reverse("buyer-act-confirm", args=[act.uuid]))
    reach(acknowledged(act), ERROR, detail="Enveloppe refusée", now=timezone.now())
    shown = validator.get(reverse("contract", args=[lot.pk])).content.decode()
    assert "Reçu en préfecture" not in shown
    assert f'En erreur : <a href="{reverse("buyer-act", args=[act.uuid])}"' in shown
