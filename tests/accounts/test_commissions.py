"""A commission is kept from one consultation to the next: full members, deputies, quorum."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.errors import AccountError
from dematmp.accounts.models import Commission
from dematmp.accounts.services import keep_commission
from tests.world import World, organisation, person


def browser(world: World) -> Client:
    made = Client()
    made.force_login(world.agent)
    return made


def form(world: World, **more: object) -> dict[str, object]:
    return {
        "name": "Commission d'appel d'offres",
        "members": [str(user.uuid) for user in world.members[:2]],
        "deputies": [str(world.members[2].uuid)],
        "threshold": "2",
        **more,
    }


def test_it_is_made_changed_proposed_and_removed(world: World) -> None:
    page, buyer = browser(world), {"buyer": world.buyer.uuid}
    assert page.post(reverse("new-commission", kwargs=buyer), form(world)).status_code == 302
    made = Commission.objects.get()
    assert [(seat.user, seat.deputy) for seat in made.seats.all()] == [
        (world.members[0], False),
        (world.members[1], False),
        (world.members[2], True),
    ]
    assert "membre3 Essai (suppléant)" in page.get(reverse("commissions")).content.decode()
    draft = world.draft()
    proposed = page.get(reverse("buyer-ceremony", kwargs={"consultation": draft.uuid})).content.decode()
    assert proposed.count(" checked") == 2
    here = {**buyer, "commission": made.uuid}
    changed = form(world, members=[str(user.uuid) for user in world.members], deputies=[], threshold="3")
    assert page.post(reverse("commission", kwargs=here), changed).status_code == 302
    assert made.seats.filter(deputy=False).count() == 3
    assert page.post(reverse("remove-commission", kwargs=here)).status_code == 302
    assert not Commission.objects.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": "1"}, "2"),
        ({"threshold": "3"}, "ne dépasse pas"),
        ({"members": []}, "obligatoire"),
        ({"name": " "}, "obligatoire"),
    ],
)
def test_what_cannot_open_is_refused(world: World, change: dict[str, object], words: str) -> None:
    refused = browser(world).post(
        reverse("new-commission", kwargs={"buyer": world.buyer.uuid}), form(world, **change)
    )
    assert refused.status_code == 400
    assert words in refused.content.decode()
    assert not Commission.objects.exists()


def test_nobody_is_both_full_member_and_deputy(world: World) -> None:
    with pytest.raises(AccountError, match="titulaire et suppléante"):
        keep_commission(
            world.buyer,
            name="x",
            members=world.members[:2],
            deputies=world.members[:1],
            threshold=2,
            by=world.agent,
            now=timezone.now(),
        )


def test_another_buyer_sees_and_changes_nothing(world: World) -> None:
    other = organisation("buyer", 21340999)
    stranger = person("ailleurs", other, "agent")
    made = keep_commission(
        world.buyer,
        name="CAO",
        members=world.members[:2],
        deputies=[],
        threshold=2,
        by=world.agent,
        now=timezone.now(),
    )
    page = Client()
    page.force_login(stranger)
    for name in ("commission", "remove-commission"):
        address = reverse(name, kwargs={"buyer": world.buyer.uuid, "commission": made.uuid})
        assert page.post(address, form(world)).status_code == 404
        address = reverse(name, kwargs={"buyer": other.uuid, "commission": made.uuid})
        page.post(address, form(world))
    assert Commission.objects.get().name == "CAO"
    assert "CAO" not in page.get(reverse("commissions")).content.decode()
