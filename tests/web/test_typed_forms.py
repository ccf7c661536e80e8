"""What a form keeps, does once, and says beside the field; whom to call when it does not work."""

from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.consultations import exchanges
from dematmp.consultations.models import Question
from dematmp.demo import cast
from tests.world import World, siret


def test_a_question_sent_twice_is_one(world: World) -> None:
    consultation, now = world.publish(), timezone.now()
    first = exchanges.ask(consultation, text="Une visite ?", now=now)
    assert exchanges.ask(consultation, text="Une visite ?", now=now + timedelta(seconds=59)) == first
    assert exchanges.ask(consultation, text="Une visite ?", now=now + timedelta(minutes=2)) != first
    assert Question.objects.count() == 2


def test_a_company_is_registered_on_the_way_to_a_deposit(world: World, client: Client) -> None:
    consultation = world.publish()
    client.force_login(world.agent)
    deposit = reverse("new-deposit", kwargs={"consultation": consultation.uuid})
    form = client.get(deposit)["Location"]
    made = {"name": "Neuve", "siret": siret(50112233), "country": "FR"}
    wrong = client.post(form, {**made, "siret": "123"}).content.decode()
    assert 'href="#id_siret"' in wrong
    assert client.post(form, made)["Location"] == deposit
    client.force_login(world.validator)
    elsewhere = f"{reverse('new-company')}?next=https://ailleurs.example/"
    made["siret"] = siret(50112244)
    assert client.post(elsewhere, made)["Location"] == reverse("space")


def test_a_deadline_already_past_is_said_beside_its_date(world: World, client: Client) -> None:
    client.force_login(world.agent)
    page = reverse("buyer-deadline", kwargs={"consultation": world.draft().uuid})
    said = client.post(page, {"date": "2020-01-06", "time": "12:00:00"}).content.decode()
    assert 'href="#id_date"' in said


def test_two_tabs_on_one_draft_lose_nothing(world: World, client: Client) -> None:
    draft = world.draft()
    client.force_login(world.agent)
    page = reverse("buyer-correct", kwargs={"consultation": draft.uuid})
    shown = client.get(page)
    values = {name: value for name, value in shown.context["form"].initial.items() if value is not None}
    values |= {"version": shown.context["version"], "title": "Premier onglet"}
    assert client.post(page, values).status_code == 302
    refused = client.post(page, {**values, "title": "Second onglet"})
    assert refused.status_code == 400
    assert "a été modifiée entre-temps : « Premier onglet »" in refused.content.decode()
    assert "Second onglet" in refused.content.decode()


def test_whom_to_call_is_on_every_page_and_on_those_of_errors(
    world: World, client: Client, settings: Settings
) -> None:
    settings.CONTACT = {"email": "aide@example.fr", "phone": "01 99 00 12 34", "hours": "de 9 h à 18 h"}
    consultation = world.publish()
    client.force_login(world.bidder)
    deposit = reverse("new-deposit", kwargs={"consultation": consultation.uuid})
    for address in ("/", deposit, reverse("help"), reverse("accessibility"), "/nulle-part/"):
        page = client.get(address).content.decode()
        assert 'href="tel:0199001234"' in page, address
        assert page.count("aide@example.fr") > 1, address


def test_an_expired_form_never_advises_to_reload(world: World) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.agent)
    page = strict.post(reverse("buyer-new"), {"title": "X"}).content.decode()
    assert "Ne rechargez pas : copiez d" in page
    assert "data-signed-out" in page


def test_a_closed_consultation_asks_for_no_address(world: World, client: Client) -> None:
    import time_machine

    consultation = world.publish(closes_in=timedelta(hours=1))
    page = reverse("consultation", kwargs={"consultation": consultation.uuid})
    assert "laissez une adresse plus bas" in client.get(page).content.decode()
    assert consultation.deadline is not None
    with time_machine.travel(consultation.deadline + timedelta(seconds=1)):
        assert "laissez une adresse plus bas" not in client.get(page).content.decode()


def test_no_phrase_is_rude_and_each_has_63_bits() -> None:
    import math

    assert not {"zizi", "caca", "pipi", "bite", "cucu"} & set(cast.WORDS)
    assert 5 * math.log2(len(cast.WORDS)) > 63
