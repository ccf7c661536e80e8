"""Any document prepared as an act in one page, its typologies proposed and confirmed."""

import hashlib
import html
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from dematmp.acts.models import Act, Transaction
from dematmp.acts.news import subscribe
from dematmp.acts.tasks import sweep
from dematmp.awards.models import Award
from dematmp.mails.models import Mail
from deploy.ministry import Ministry
from tests.acts.service import acknowledged
from tests.awards.test_contracts import AUTHORITIES, deposited, lot  # noqa: F401
from tests.signing.pdf_cases import signed
from tests.world import World, page, pdf

PDF = pdf()


def file(name: str, data: bytes = PDF) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data, content_type="application/pdf")


def form(**changes: Any) -> dict[str, Any]:
    values = {
        "number": "2026_MP_7",
        "subject": "Réfection du préau",
        "decided_on": timezone.localdate().isoformat(),
        "matter": "1.1",
        "file0": file("AE.pdf"),
        "typology0": "11_AE",
        "file1": file("CCAP.pdf"),
        "typology1": "11_AP",
    }
    values |= changes
    return {name: value for name, value in values.items() if value is not None}


def address(world: World, nature: int = 4) -> str:
    return reverse("buyer-act-new", args=[world.buyer.uuid, nature])


def matter(world: World) -> str:
    from dematmp.acts.operators import operator_of
    from dematmp.web.new_act import _codes, _dotted

    operator = operator_of(world.buyer, now=timezone.now())
    assert operator is not None
    return _dotted(_codes(operator).leaves()[0][0])


def test_a_contract_and_its_pieces_leave_from_one_page(world: World, ministry: Ministry) -> None:
    client = page(world.validator)
    shown = client.get(address(world)).content.decode()
    assert f"{timezone.localdate().year}_001" in shown
    assert "R2131-5" in shown
    assert '<option value="" selected>À choisir</option>' in client.get(address(world, 1)).content.decode()
    assert '<option value="1.1.2" selected>' in shown
    answer = client.post(address(world), form(matter=matter(world)))
    assert answer.status_code == 302, answer.content.decode()
    act = Act.objects.get()
    assert (act.nature, act.typology, act.pieces.get().typology) == ("4", "11_AE", "11_AP")
    sweep()
    assert not Transaction.objects.exists()
    review = client.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    for words in (
        "Rien n&#x27;est parti",
        "2 fichiers",
        "règlement de la consultation",
        "À confirmer",
        "11_AP : ",
    ):
        assert words in html.unescape(review) or words in review, words
    assert client.post(reverse("buyer-act-confirm", args=[act.uuid])).status_code == 302
    sent = Transaction.objects.get(pk=acknowledged(act).remote_id)
    assert sent.files.count() == 3
    listed = client.get(reverse("buyer-acts")).content.decode()
    assert "Réfection du préau" in listed
    assert "reçu en préfecture" in listed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"typology1": ""}, "Dites ce qu&#x27;est ce document"),
        ({"typology0": "99_DE"}, "99_DE"),
        ({"file0": None}, "obligatoire"),
        (
            {"file0": file("AE.pdf", b"MZ\x90\x00")},
            "AE.pdf n&#x27;est pas un PDF : c&#x27;est un programme Windows.",
        ),
        ({"file1": None}, "Choisissez de nouveau ce fichier"),
        ({"subject": ""}, "Les fichiers n'ont pas été gardés"),
        ({"number": "2026-MP"}, 'href="#id_number">Numéro de l&#x27;acte</a> : Le numéro'),
        ({"decided_on": "2999-01-01"}, "signature</a> : La date de la décision est dans le futur"),
        ({"matter": "99.99"}, "choix"),
        ({"subject": ""}, "obligatoire"),
    ],
)
def test_what_cannot_be_an_act_is_told_before_anything_leaves(
    world: World, ministry: Ministry, changes: dict[str, Any], words: str
) -> None:
    for each in changes.values():
        if isinstance(each, SimpleUploadedFile):
            each.seek(0)
    given = {"matter": matter(world)} | changes
    answer = page(world.validator).post(address(world), form(**given))
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not Act.objects.exists()


def test_a_number_serves_once(world: World, ministry: Ministry) -> None:
    client = page(world.validator)
    for status in (302, 400):
        assert client.post(address(world), form(matter=matter(world))).status_code == status
    assert Act.objects.count() == 1


def test_the_typology_is_proposed_from_the_name(world: World, ministry: Ministry) -> None:
    client = page(world.validator)
    cases = (
        (4, "CCAP lot 1.pdf", "11_AP", True),
        (4, "scan.pdf", "99_DC", False),
        (1, "CCAP.pdf", "99_DE", False),
    )
    for nature, name, typology, sure in cases:
        where = reverse("buyer-act-proposal", args=[world.buyer.uuid, nature])
        found = client.get(where, {"nom": name}).json()
        assert found == {"typology": typology, "sure": sure}


def test_an_agent_prepares_and_a_validator_confirms(world: World, ministry: Ministry) -> None:
    agent, validator = page(world.agent), page(world.validator)
    assert agent.post(address(world), form(matter=matter(world))).status_code == 302
    act = Act.objects.get()
    told = Mail.objects.get(subject__startswith="À confirmer")
    assert told.to == world.validator.email
    where, confirm = reverse("buyer-act", args=[act.uuid]), reverse("buyer-act-confirm", args=[act.uuid])
    assert "Un valideur de votre collectivité" in agent.get(where).content.decode()
    assert agent.post(confirm).status_code in (403, 404)
    assert "Transmettre à la préfecture" in validator.get(where).content.decode()
    assert validator.post(confirm).status_code == 302
    assert acknowledged(act).remote_id
    shown = html.unescape(validator.get(where).content.decode())
    assert f"Départ confirmé par {world.validator}" in shown


def test_an_act_is_given_up_then_prepared_again_under_its_number(world: World, ministry: Ministry) -> None:
    client = page(world.validator)
    client.post(address(world), form(matter=matter(world)))
    act = Act.objects.get()
    give_up = reverse("buyer-act-give-up", args=[act.uuid])
    for _ in range(2):
        assert client.post(give_up).status_code == 302
    assert client.post(reverse("buyer-act-confirm", args=[act.uuid])).status_code == 409
    sweep()
    assert not Transaction.objects.exists()
    again = f"{address(world)}?remplace={act.uuid}"
    assert 'value="2026_MP_7"' in client.get(again).content.decode()
    assert client.post(again, form(matter=matter(world))).status_code == 302
    second = Act.objects.get(replaces=act)
    client.post(reverse("buyer-act-confirm", args=[second.uuid]))
    assert client.post(reverse("buyer-act-give-up", args=[second.uuid])).status_code == 409
    assert acknowledged(second).remote_id


def test_only_the_buyer_s_people_prepare_acts(world: World, ministry: Ministry) -> None:
    for user in (world.bidder, world.controller):
        assert page(user).get(address(world)).status_code == 404
    assert page(world.validator).get(address(world, 7)).status_code == 404


def test_without_a_transmission_service_it_is_said(world: World) -> None:
    answer = page(world.validator).get(address(world))
    assert answer.status_code == 409
    assert "télétransmission" in answer.content.decode()


def test_an_act_that_failed_is_corrected_and_leaves_under_the_same_number(
    world: World, ministry: Ministry
) -> None:
    client = page(world.validator)
    client.post(address(world), form(matter=matter(world)))
    act = Act.objects.get()
    Act.objects.update(decided_on=timezone.localdate() + timedelta(days=9))  # which the service refuses
    client.post(reverse("buyer-act-confirm", args=[act.uuid]))
    sweep()
    shown = client.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    again = f"{address(world)}?remplace={act.uuid}"
    assert again in shown
    assert again not in page(world.agent).get(reverse("buyer-act", args=[act.uuid])).content.decode()
    proposed = client.get(again).content.decode()
    assert f'value="{act.number}"' in proposed
    assert "Réfection du préau" in proposed
    answer = client.post(again, form(matter=matter(world), subject="Réfection du préau, corrigée"))
    assert answer.status_code == 302, answer.content.decode()
    made = Act.objects.get(replaces=act)
    assert (made.number, made.identifier) == (act.number, made.identifier)
    client.post(reverse("buyer-act-confirm", args=[made.uuid]))
    assert acknowledged(made).remote_id
    former = client.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    assert reverse("buyer-act", args=[made.uuid]) in former
    assert again not in former
    # Once: neither by the page nor by the address.
    assert client.get(again).status_code == 404
    assert client.get(f"{address(world)}?remplace={made.uuid}").status_code == 404
    assert client.get(f"{address(world)}?remplace=rien").status_code == 404


def test_a_contract_is_to_be_sent_within_fifteen_days_of_its_signature(
    world: World, ministry: Ministry
) -> None:
    client = page(world.validator)
    signed = timezone.localdate() - timedelta(days=3)
    client.post(address(world), form(matter=matter(world), decided_on=signed.isoformat()))
    act = Act.objects.select_related("transmission").get()
    last = signed + timedelta(days=15)
    assert f"{last:%d/%m/%Y}" in client.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    feed = subscribe(world.validator, now=timezone.now()).feed
    dated = client.get(reverse("acts-calendar", args=[feed])).content.decode()
    assert f"DTSTART;VALUE=DATE:{last:%Y%m%d}" in dated
    assert "Contrat à transmettre" in dated
    client.post(reverse("buyer-act-confirm", args=[act.uuid]))
    acknowledged(act)
    after = client.get(reverse("acts-calendar", args=[feed])).content.decode()
    assert "Contrat à transmettre" not in after
    assert "Deux mois" in after


def test_a_contract_signed_here_is_not_uploaded_again(
    world: World,
    lot: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    given = f"{address(world)}?contrat={lot.pk}"
    client = page(world.validator)
    assert client.get(given).status_code == 404  # nobody signed yet
    first = signed(AUTHORITIES.signer, field="Entreprise")
    both = signed(AUTHORITIES.issuer.issue("Maire"), first, field="Acheteur")
    for data, side in ((first, "company"), (both, "buyer")):
        assert deposited(world.validator, lot, data, side)[0] == 302
    Award.objects.filter(pk=lot.pk).update(amount=300_000)
    assert f"?contrat={lot.pk}" in client.get(reverse("contract", args=[lot.pk])).content.decode()
    shown = client.get(given).content.decode()
    assert hashlib.sha256(both).hexdigest() in shown
    assert 'name="file0"' not in shown
    assert client.get(f"{address(world)}?contrat=x").status_code == 404
    assert client.get(f"{address(world)}?contrat={10**30}").status_code == 404
    assert client.post(given, form(matter=matter(world), file0=None)).status_code == 302
    act = Act.objects.get(award=None)
    assert (act.document_sha256, act.typology) == (hashlib.sha256(both).hexdigest(), "11_AE")
    assert [each.name for each in act.pieces.all()] == ["CCAP.pdf"]
    assert act.number in client.get(reverse("contract", args=[lot.pk])).content.decode()
