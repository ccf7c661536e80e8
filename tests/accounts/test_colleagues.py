"""A company's administrator invites colleagues; a role is given when its holder accepts it."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.errors import RoleRefused
from dematmp.accounts.models import Invitation, Membership
from dematmp.accounts.services import invite, take_role
from dematmp.mails.models import Mail
from tests.world import World, person


def _team(world: World) -> str:
    return reverse("colleagues", kwargs={"organisation": world.company.uuid})


def test_an_invited_colleague_accepts_and_may_then_deposit(world: World, client: Client) -> None:
    newcomer = person("neuve", world.rival)
    client.force_login(world.bidder)
    answer = client.post(_team(world), {"email": "Neuve@example.fr", "role": "bidder"})
    assert answer["Location"] == _team(world)
    assert Mail.objects.get(to="neuve@example.fr").subject.startswith("soumissionnaire Essai vous invite")
    assert not newcomer.has_role("bidder", world.company)
    client.force_login(newcomer)
    assert str(world.company) in client.get(reverse("space")).content.decode()
    invitation = Invitation.objects.get()
    client.post(reverse("join", kwargs={"invitation": invitation.uuid}))
    assert newcomer.has_role("bidder", world.company)
    assert not Invitation.objects.waiting().exists()


def test_nobody_accepts_another_s_invitation(world: World, client: Client) -> None:
    invitation = invite(
        world.company, email="neuve@example.fr", role="bidder", by=world.bidder, now=timezone.now()
    )
    client.force_login(world.rival_bidder)
    answer = client.post(reverse("join", kwargs={"invitation": invitation.uuid}))
    assert answer.status_code == 404
    assert not world.rival_bidder.has_role("bidder", world.company)


def test_an_address_that_is_not_confirmed_accepts_nothing(world: World, client: Client) -> None:
    newcomer = person("neuve", world.rival)
    newcomer.emailaddress_set.update(verified=False)
    invitation = invite(
        world.company, email=newcomer.email, role="bidder", by=world.bidder, now=timezone.now()
    )
    client.force_login(newcomer)
    assert client.post(reverse("join", kwargs={"invitation": invitation.uuid})).status_code == 404


def test_another_company_s_team_does_not_exist(world: World, client: Client) -> None:
    client.force_login(world.rival_bidder)
    assert client.get(_team(world)).status_code == 404
    mine = Membership.objects.get(user=world.bidder, role="bidder")
    assert client.post(f"{_team(world)}roles/{mine.pk}/").status_code == 404
    assert Membership.objects.filter(pk=mine.pk).exists()


def test_the_last_administrator_stays(world: World, client: Client) -> None:
    last = Membership.objects.get(user=world.bidder, role="administrator")
    with pytest.raises(RoleRefused):
        take_role(last, by=world.bidder, now=timezone.now())
    client.force_login(world.bidder)
    answer = client.post(f"{_team(world)}roles/{last.pk}/")
    assert answer.status_code == 409
    assert "au moins une personne" in answer.content.decode()


def test_a_role_of_a_buyer_is_not_given_by_a_company(world: World, client: Client) -> None:
    client.force_login(world.bidder)
    assert client.post(_team(world), {"email": "x@example.fr", "role": "validator"}).status_code == 400
    with pytest.raises(RoleRefused):
        invite(world.company, email="x@example.fr", role="validator", by=world.bidder, now=timezone.now())
    assert not Invitation.objects.exists()


def test_a_person_without_role_left_deposits_nothing_more(world: World, client: Client) -> None:
    from signing.client import ServerRefused
    from tests.world import client as command_line

    newcomer = person("neuve", world.company, "bidder")
    speaker = command_line(newcomer, world.company)
    assert speaker.get("/me")["roles"] == ["bidder"]
    take_role(Membership.objects.get(user=newcomer), by=world.bidder, now=timezone.now())
    with pytest.raises(ServerRefused) as error:
        speaker.post("/attempts", {"consultation": str(world.company.uuid), "envelopes": []})
    assert error.value.status == 401
