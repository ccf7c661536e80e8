"""Acts are followed by mail, by a feed and in a calendar, by who may see them and nobody else."""

from datetime import UTC, datetime, time, timedelta

import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dematmp.acts import alerts, news, timeline
from dematmp.acts.models import Act, ActIncident, Subscription
from dematmp.acts.rules import months_from
from dematmp.acts.tasks import tell_alerts, tell_subscribers
from dematmp.mails.models import Mail
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.acts.test_desk import act, of_another_territory, written  # noqa: F401
from tests.world import World, page

ATOM = "{http://www.w3.org/2005/Atom}"


def feeds(user: object) -> tuple[str, str]:
    row = Subscription.objects.get(user=user)
    return reverse("acts-atom", args=[row.feed]), reverse("acts-calendar", args=[row.feed])


def opened(user: object) -> None:
    answer = page(user).post(reverse("subscription"), {"action": "ouvrir"})  # type: ignore[arg-type]
    assert answer.status_code == 302


def entries(address: str) -> list[str]:
    tree = etree.fromstring(Client().get(address).content)
    return [each.findtext(f"{ATOM}title") or "" for each in tree.iter(f"{ATOM}entry")]


def test_a_feed_and_a_calendar_say_what_a_person_may_see(world: World, act: Act) -> None:  # noqa: F811
    elsewhere = of_another_territory()
    for user in (world.controller, world.validator, elsewhere):
        opened(user)
    written(world, act)
    for user, where in ((world.controller, "/prefecture/"), (world.validator, "/acheteur/actes/")):
        atom, calendar = feeds(user)
        found = entries(atom)
        assert any("Demande de pièces" in each for each in found)
        assert any("Acquittement reçu" in each for each in found)
        assert f"{where}{act.uuid}/" in Client().get(atom).content.decode()
        said = Client().get(calendar).content.decode()
        day = timeline.control_until(act)
        assert f"DTSTART;VALUE=DATE:{day:%Y%m%d}\r\n" in said
        assert all(len(line.encode()) <= 75 for line in said.split("\r\n"))
    atom, calendar = feeds(elsewhere)
    assert entries(atom) == []
    assert "VEVENT" not in Client().get(calendar).content.decode()


def test_two_events_of_the_same_instant_are_two_entries(world: World, act: Act) -> None:  # noqa: F811
    opened(world.controller)
    for what in ("Un incident", "Un autre"):
        ActIncident.objects.create(act=act, at=timezone.now().replace(microsecond=0), what=what)
    tree = etree.fromstring(Client().get(feeds(world.controller)[0]).content)
    ids = [each.findtext(f"{ATOM}id") for each in tree.iter(f"{ATOM}entry")]
    assert len(ids) == len(set(ids)) > 2


def test_other_addresses_put_out_the_former_and_a_lost_role_empties_them(
    world: World,
    act: Act,  # noqa: F811
) -> None:
    opened(world.controller)
    former, _ = feeds(world.controller)
    page(world.controller).post(reverse("subscription"), {"action": "renouveler"})
    assert Client().get(former).status_code == 404
    atom, _ = feeds(world.controller)
    assert entries(atom)
    world.controller.memberships.all().delete()
    assert entries(atom) == []
    world.controller.is_active = False
    world.controller.save()
    assert Client().get(atom).status_code == 404
    assert page(world.bidder).get(reverse("subscription")).status_code == 404


def test_a_mail_says_once_what_happened(world: World, act: Act) -> None:  # noqa: F811
    now = timezone.now()
    opened(world.controller)
    page(world.controller).post(reverse("subscription"), {"action": "courriel"})
    mine = Mail.objects.filter(to=world.controller.email, subject__startswith="Actes : ")
    written(world, act)
    tell_subscribers()
    assert not mine.exists()  # less than a minute ago: a transaction may still be committing
    with time_machine.travel(now + timedelta(minutes=5)):
        row = Subscription.objects.get(user=world.controller)
        for _ in range(2):
            news.tell(row, now=timezone.now())  # two workers that read the row at once
        tell_subscribers()
    (sent,) = mine
    assert "Demande de pièces" in sent.subject + sent.body
    assert f"/prefecture/{act.uuid}/" in sent.body
    page(world.controller).post(reverse("subscription"), {"action": "silence"})
    with time_machine.travel(now + timedelta(minutes=15)):
        tell_subscribers()
    assert mine.count() == 1


def test_two_months_that_end_are_told_once_to_who_is_in_charge(world: World, act: Act) -> None:  # noqa: F811
    received = act.transmission.received_on
    assert received is not None
    near = datetime.combine(months_from(received, 2) - timedelta(days=10), time(12), tzinfo=UTC)
    told = Mail.objects.filter(subject__startswith="Deux mois le")
    tell_alerts()
    assert not told.exists()
    with time_machine.travel(near):
        assert list(alerts.ending(near.date())) == [act]
        tell_alerts()
        assert not told.exists()  # nobody is in charge, nobody asked for mails
    Act.objects.filter(pk=act.pk).update(controller=world.controller)
    with time_machine.travel(near):
        for _ in range(2):
            tell_alerts()
    assert [each.to for each in told] == [world.controller.email]
    assert f"{months_from(received, 2):%d/%m/%Y}" in told.get().subject


def test_an_act_about_which_pieces_were_asked_is_reminded_to_both(world: World, act: Act) -> None:  # noqa: F811
    opened(world.controller)
    page(world.controller).post(reverse("subscription"), {"action": "courriel"})
    written(world, act)
    told = Mail.objects.filter(subject__startswith="Sans réponse depuis un mois")
    tell_alerts()
    assert not told.exists()
    with time_machine.travel(timezone.now() + timedelta(days=32)):
        for _ in range(2):
            tell_alerts()
        assert {each.to for each in told} == {world.controller.email, world.validator.email}
        assert told.count() == 2
    assert not Mail.objects.filter(subject__startswith="Deux mois le").exists()


def test_the_page_says_what_is_on_and_stops_it(world: World) -> None:
    controller, address = page(world.controller), reverse("subscription")
    assert "Ouvrir mon suivi" in controller.get(address).content.decode()
    assert controller.post(address, {"action": "autre"}).status_code == 302
    opened(world.controller)
    assert "Recevoir les courriels" in controller.get(address).content.decode()
    atom, calendar = feeds(world.controller)
    controller.post(address, {"action": "fermer"})
    assert [Client().get(each).status_code for each in (atom, calendar)] == [404, 404]


@given(st.text(max_size=200))
def test_a_line_of_a_calendar_is_folded_and_unfolds(text: str) -> None:
    from dematmp.web.subscriptions import _folded, _text

    line = f"SUMMARY:{_text(text)}"
    folded = _folded(line)
    assert all(len(each.encode()) <= 75 for each in folded.split("\r\n"))
    assert folded.replace("\r\n ", "").removesuffix("\r\n") == line
