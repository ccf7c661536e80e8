"""Stamped documents, annexes included, and the bordereau, from this service or from an operator elsewhere."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import Organisation
from dematmp.acts import correspondence
from dematmp.acts.models import Act, Authority, Transaction, Transmission
from dematmp.acts.operators import operator_for
from dematmp.acts.remote import Remote
from dematmp.acts.services import GIVEN_UP, poll, transmit
from dematmp.acts.stamp import rows_of
from dematmp.audit.models import Entry
from deploy.ministry import Ministry
from deploy.services.pki import P12_PASSWORD
from deploy.transmission import SIREN
from tests.acts.returned import kept, receipt, sent
from tests.acts.service import Caller, acknowledged, posted, state
from tests.acts.stack import Running
from tests.acts.test_client import awaited
from tests.acts.test_new_act import address, file, form, matter
from tests.world import World, page

PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\1\0\0\5\0\1"
    b"\r\n-\xb4\0\0\0\0IEND\xaeB`\x82"
)
_numbers = iter(range(1, 1000))


def _confirmed(world: World, **more: Any) -> Act:
    """A contract with an annex, prepared by the page and confirmed."""
    number = f"COPIE_{next(_numbers)}"
    given = form(matter=matter(world), number=number, **more)
    assert page(world.validator).post(address(world), given).status_code == 302
    act = Act.objects.get(number=number)
    assert page(world.validator).post(reverse("buyer-act-confirm", args=[act.uuid])).status_code == 302
    return act


def _stamps(world: World, act: Act) -> None:
    """Each PDF is given with its stamp, and the bordereau, to the buyer's people."""
    agent = page(world.agent)
    shown = agent.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    for rank in (1, 2):
        where = reverse("buyer-act-stamped", args=[act.uuid, rank])
        assert where in shown
        assert act.identifier.encode() in agent.get(where).content
        assert page(world.bidder).get(where).status_code == 404
    _publishes(world, act)
    bordereau = reverse("buyer-act-file", args=[act.uuid, "bordereau.pdf"])
    assert bordereau in shown
    assert agent.get(bordereau).content.startswith(b"%PDF")


def _publishes(world: World, act: Act) -> None:
    """The day of publication is on the stamp once it is said."""
    agent, where = page(world.agent), reverse("buyer-act-published", args=[act.uuid])
    day = timezone.localdate()
    for wrong in ("", "hier", day + timedelta(days=1), act.decided_on - timedelta(days=1)):
        assert agent.post(where, {"publie": wrong}).status_code == 409
    assert page(world.bidder).post(where, {"publie": day}).status_code == 404
    assert agent.post(where, {"publie": day}).status_code == 302
    given = agent.get(reverse("buyer-act-stamped", args=[act.uuid, 1])).content
    assert f"Publié le {day:%d/%m/%Y}".encode("latin-1") in given
    assert f'value="{day}"' in agent.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    assert [each.kind for each in Entry.objects.order_by("pk")].count("act-published") == 1


def test_annexes_are_stamped_as_the_document_is(world: World, ministry: Ministry) -> None:
    act = _confirmed(world, file2=file("plan.png", PNG), typology2="11_AT")
    assert page(world.agent).get(reverse("buyer-act-stamped", args=[act.uuid, 2])).status_code == 404
    acknowledged(act)
    _stamps(world, act)
    assert page(world.agent).get(reverse("buyer-act-stamped", args=[act.uuid, 3])).status_code == 404


@pytest.fixture
def elsewhere(world: World, running: Running, service: Any) -> Iterator[Running]:
    """The buyer transmits by another service, in its own processes, over TLS."""
    Organisation.objects.filter(pk=world.buyer.pk).update(siret=f"{SIREN}00012")
    world.buyer.refresh_from_db()
    yield running


def _account(world: World, running: Running, login: str = "") -> None:
    held = running.shared if login else running.lea
    correspondence.set_operator(
        world.buyer,
        url=running.stack.nginx.url,
        login=login,
        password=login,
        p12=held.p12.read_bytes(),
        p12_password=P12_PASSWORD,
        authority=running.stack.pki.held.pem.read_text(),
        now=timezone.now(),
    )


def _remote(act: Act) -> Remote:
    found = operator_for(
        Act.objects.select_related("buyer", "transmission").get(pk=act.pk), now=timezone.now()
    )
    assert isinstance(found, Remote)
    return found


def _follow(act: Act) -> Transmission:
    Transmission.objects.filter(act=act).update(due_at=None)
    poll(act.pk, _remote(act), now=timezone.now())
    return Transmission.objects.get(act=act)


@pytest.mark.services
def test_an_operator_elsewhere_gives_its_stamped_documents_and_its_bordereau(
    world: World, elsewhere: Running
) -> None:
    _account(world, elsewhere)
    act = _confirmed(world)
    transmit(act.pk, _remote(act), now=timezone.now())
    awaited(lambda: _follow(act), lambda sent: sent.acknowledged_at is not None)
    _stamps(world, act)
    Transmission.objects.filter(act=act).update(operator_url="https://autre.example.fr")
    correspondence.forget_operator(world.buyer, now=timezone.now())
    refused = page(world.agent).get(reverse("buyer-act-stamped", args=[act.uuid, 1]))
    assert refused.status_code == 409
    assert "plus réglé" in refused.content.decode().replace("&#x27;", "'")


@pytest.mark.services
def test_an_act_that_awaits_its_confirmation_elsewhere_may_be_given_up(
    world: World, elsewhere: Running
) -> None:
    """Its operator keeps it in 17 when the buyer's account there only deposits."""
    _account(world, elsewhere, login="zoe")
    act = _confirmed(world)
    transmit(act.pk, _remote(act), now=timezone.now())
    _follow(act)
    client, give_up = page(world.validator), reverse("buyer-act-give-up", args=[act.uuid])
    assert "Abandonner cet acte" in client.get(reverse("buyer-act", args=[act.uuid])).content.decode()
    assert page(world.agent).post(give_up).status_code == 404
    assert client.post(give_up).status_code == 302
    sent = Transmission.objects.get(act=act)
    assert (sent.status, sent.problem) == (-1, GIVEN_UP)
    assert _remote(act).status(sent.remote_id or 0).code == 6
    assert "Corriger et transmettre de nouveau" in client.get(
        reverse("buyer-act", args=[act.uuid])
    ).content.decode()  # fmt: skip


@pytest.mark.services
def test_what_its_operator_s_people_gave_up_is_over_here(world: World, elsewhere: Running) -> None:
    _account(world, elsewhere, login="zoe")
    act = _confirmed(world)
    transmit(act.pk, _remote(act), now=timezone.now())
    _remote(act).give_up(Transmission.objects.get(act=act).remote_id or 0)
    assert _follow(act).problem == GIVEN_UP


def _close(caller: Caller, pk: int) -> bytes:
    fields = [("api", "1"), ("id", str(pk)), ("status", "invalid")]
    return caller.form("actes_transac_close.php", fields).content


def test_a_deposit_that_awaits_its_confirmation_is_given_up_by_its_owner(
    lea: Caller, town: Authority, pki: Any
) -> None:
    from tests.acts.service import agent

    held, other = pki.client("zoe-depose"), pki.client("max-depose")
    agent(town, held, permission="CS")
    agent(town, other, permission="CS")
    zoe, max_ = Caller(held), Caller(other)
    pk = posted(zoe, "ABANDON")
    assert state(zoe, pk)[0] == 17
    assert _close(max_, pk).startswith(b"KO"), "it is not his, and he does not transmit"
    assert _close(zoe, pk) == b"OK\n"
    assert state(zoe, pk)[0] == 6
    assert Transaction.objects.get(pk=pk).steps.order_by("-pk")[0].message.startswith("Abandon par")
    assert _close(zoe, pk).startswith(b"KO")
    lea.get("actes_transac_post_confirm_api.php", id=pk, url_return="https://x.example.fr/")
    assert state(zoe, pk)[0] == 6, "nobody confirms it any more"
    again = posted(zoe, "ABANDON")  # the ministry never had it: its number serves again
    assert _close(lea, again) == b"OK\n", "who may confirm it may give it up"
    gone = posted(lea, "ENVOYE")
    assert _close(lea, gone).startswith(b"KO")


def test_the_stamp_says_the_day_of_the_sending(lea: Caller, town: Authority) -> None:
    """Not that of a deposit that awaited its confirmation for days."""
    now = timezone.now()
    pk = posted(lea, "TAMPON", en_attente=1)
    Transaction.objects.filter(pk=pk).update(created_at=now - timedelta(days=3))
    lea.get("actes_transac_post_confirm_api.php", id=pk, url_return="https://x.example.fr/")
    made = sent(pk)
    assert kept(receipt(made)) == ""
    made.refresh_from_db()
    assert rows_of(made, published=None)[0] == f"Envoyé en préfecture le {timezone.localtime(now):%d/%m/%Y}"
    # The answer proved the sending of the day before, whose end nobody knew.
    Transaction.objects.filter(pk=pk).update(tried_at=now - timedelta(days=1))
    made.refresh_from_db()
    before = timezone.localtime(now - timedelta(days=1))
    assert rows_of(made, published=None)[0] == f"Envoyé en préfecture le {before:%d/%m/%Y}"
