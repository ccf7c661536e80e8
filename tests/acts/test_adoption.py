"""Acts that a town's own software posts are on the control authority's desk like the others."""

from datetime import date, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from dematmp.acts import adoption, news
from dematmp.acts.models import (
    Act,
    Agent,
    Authority,
    Subscription,
    Transaction,
    Transmission,
    TransmissionStep,
)
from dematmp.acts.tasks import follow_transaction, sweep, sweep_service
from dematmp.audit.models import Entry
from dematmp.mails.models import Mail
from deploy.ministry import Ministry
from deploy.services.pki import TestAuthority
from tests.acts.service import PDF_SENT, Caller, acknowledged, agent, authority, posted, state, until
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.acts.test_desk import TEXT, courrier, of_another_territory
from tests.acts.test_interop import answer_to, letters
from tests.world import World, page

_ANNEX = {"acte_attachments[]": ("rapport d'analyse.pdf", PDF_SENT), "type_pj[]": "99_DE"}


@pytest.fixture
def act(world: World, lea: Caller, ministry: Ministry) -> Act:
    pk = posted(lea, **_ANNEX)
    until(lambda: state(lea, pk)[0] == 4)
    return Act.objects.get(authority__siren="123456789")


def test_an_act_posted_by_a_town_s_software_is_read_by_its_control_authority(world: World, act: Act) -> None:
    desk = page(world.controller)
    assert escape(act.subject) in desk.get(reverse("prefecture")).content.decode()
    shown = desk.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    for words in (
        "Ville d'Essai",
        "rapport d'analyse.pdf",
        "99_DE",
        "Contrôle de légalité",
    ):
        assert escape(words) in shown, words
    assert "déposé par le logiciel de la collectivité" in shown
    for rank in (1, 2):
        got = desk.get(reverse("prefecture-act-piece", args=[act.uuid, rank]))
        assert b"".join(got) == PDF_SENT  # type: ignore[arg-type]
        assert (".pdf" in got["Content-Disposition"]) and act.number in got["Content-Disposition"]
    assert act.document_name == "deliberation.pdf"
    assert act.identifier == "034-123456789-20260110-2026_MP_001-DE"
    lines = desk.get(reverse("prefecture-csv")).getvalue().decode("utf-8-sig")
    assert "Ville d'Essai" in lines
    assert page(of_another_territory()).get(reverse("prefecture-act", args=[act.uuid])).status_code == 404
    assert Entry.objects.filter(kind="act-received").count() == 1


def test_the_search_finds_it_by_its_town(world: World, act: Act) -> None:
    desk = page(world.controller)
    for query, there in (("acheteur=123456789", True), ("mots=essai", True), ("mots=absent", False)):
        assert (act.number in desk.get(f"{reverse('prefecture')}?{query}").content.decode()) is there, query


def test_a_letter_of_the_desk_reaches_the_software_and_its_answer_comes_back(
    world: World, lea: Caller, act: Act
) -> None:
    desk = page(world.controller)
    form = {"kind": "3-1", "text": TEXT, "document": courrier()}
    assert desk.post(reverse("prefecture-letter", args=[act.uuid]), form).status_code == 302
    sent = Transmission.objects.get(act=act)
    (found,) = letters(lea, sent.remote_id or 0)
    follow_transaction(int(found[2]))
    assert act.letters.get().is_awaiting
    assert answer_to(lea, found[2], "4", "plan.pdf").startswith(b"OK")
    sweep_service()
    Transmission.objects.filter(pk=sent.pk).update(due_at=None)
    sweep()
    letter = act.letters.get()
    assert (letter.choice, letter.is_awaiting) == ("4", False)
    shown = desk.get(reverse("prefecture-act", args=[act.uuid])).content.decode()
    assert "plan.pdf" in shown
    rank = letter.answer_files.get(posted_name="plan.pdf").rank
    got = desk.get(reverse("prefecture-answer-file", args=[act.uuid, letter.pk, rank]))
    assert b"".join(got) == PDF_SENT  # type: ignore[arg-type]


def test_a_cancellation_asked_by_the_software_is_seen(world: World, lea: Caller, act: Act) -> None:
    pk = Transmission.objects.get(act=act).remote_id
    assert lea.form("actes_transac_cancel.php", [("api", "1"), ("id", pk)]).content.startswith(b"OK")
    until(lambda: state(lea, pk or 0)[0] == 0)
    follow_transaction(pk or 0)
    assert Transmission.objects.get(act=act).cancelled_at is not None
    assert "annulé" in page(world.controller).get(reverse("prefecture-act", args=[act.uuid])).content.decode()


def test_it_is_adopted_once_whoever_comes_first(act: Act) -> None:
    pk = Transmission.objects.get(act=act).remote_id or 0
    for _ in range(3):
        assert adoption.act_of(pk, now=timezone.now()) == act
    assert not adoption.to_adopt(timezone.now()).exists()
    assert Act.objects.count() == 1
    sweep()
    assert Agent.objects.filter(authority=act.authority).count() == 1  # its own account, and no other


def test_what_the_platform_itself_transmits_is_not_another_act(
    world: World,
    awarded: object,  # noqa: F811
    ministry: Ministry,
) -> None:
    made = prepared(world, awarded)  # type: ignore[arg-type]
    sent = acknowledged(made)
    sweep_service()
    assert adoption.act_of(sent.remote_id or 0, now=timezone.now()) == made
    assert list(Act.objects.all()) == [made]


def test_a_buyer_that_posts_by_its_software_finds_the_act_among_its_own(
    world: World, lea: Caller, town: Authority, ministry: Ministry
) -> None:
    Authority.objects.filter(pk=town.pk).update(organisation=world.buyer)
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    act = Act.objects.get()
    assert (act.buyer, act.sender) == (world.buyer, town)
    shown = page(world.validator).get(reverse("buyer-act", args=[act.uuid])).content.decode()
    assert "déposé par le logiciel de la collectivité" in shown
    form = {"kind": "2-1", "document": courrier()}
    page(world.controller).post(reverse("prefecture-letter", args=[act.uuid]), form)
    Transmission.objects.update(due_at=None)
    sweep()
    assert Mail.objects.filter(to=world.agent.email, subject__startswith="Courrier simple").exists()


def test_the_authority_s_own_territory_decides_whose_desk_it_is(
    world: World, lea: Caller, town: Authority, ministry: Ministry
) -> None:
    elsewhere = of_another_territory()
    Authority.objects.filter(pk=town.pk).update(organisation=world.buyer, department="030")
    pk = posted(lea)
    until(lambda: state(lea, pk)[0] == 4)
    act = Act.objects.get()
    assert act.identifier.startswith("030-")
    assert list(Act.objects.received_by(elsewhere)) == [act]
    assert not Act.objects.received_by(world.controller).exists()


def test_an_act_without_its_receipt_is_not_on_the_desk(world: World, lea: Caller) -> None:
    pk = posted(lea)
    assert adoption.act_of(pk, now=timezone.now()) is None
    assert Transaction.objects.get(pk=pk).status == 1
    assert not Act.objects.exists()


def test_an_act_prepared_here_and_never_sent_hides_no_act_of_the_software(
    world: World, service: object, pki: TestAuthority, ministry: Ministry
) -> None:
    held = pki.client("logiciel")
    agent(authority(world.buyer.siren), held)
    here = Act.objects.create(
        buyer=world.buyer, number="2026_MP_001", nature="1", classification="1.1", typology="99_DE",
        subject="Jamais parti", decided_on=date(2026, 1, 10), document_key="acts/x", document_sha256="0" * 64,
        document_size=1, created_at=timezone.now(),
    )  # fmt: skip
    sent = Transmission.objects.create(act=here)
    pk = posted(Caller(held))
    until(lambda: state(Caller(held), pk)[0] == 4)
    assert Act.objects.exclude(pk=here.pk).get().identifier == Transaction.objects.get(pk=pk).unique_id
    # One that may have left here, its answer lost, is perhaps that very act.
    Act.objects.exclude(pk=here.pk).update(authority=None, buyer=world.buyer, number="AUTRE")
    Transmission.objects.filter(pk=sent.pk).update(tried_at=timezone.now())
    assert not adoption.to_adopt(timezone.now()).exists()
    Act.objects.filter(pk=here.pk).update(nature="3")
    assert adoption.to_adopt(timezone.now()).exists()


def test_what_is_learnt_late_is_told_all_the_same(world: World, act: Act) -> None:
    """The act was received while nobody swept: the mail of that hour did not have it, the next one does."""
    news.choose_mail(world.controller, wanted=True, now=timezone.now())
    now, before = timezone.now(), timezone.now() - timedelta(hours=3)
    row = news.subscribe(world.controller, now=now)
    Subscription.objects.filter(pk=row.pk).update(mail=True, told_until=now - timedelta(hours=1))
    TransmissionStep.objects.update(at=before)
    Act.objects.update(created_at=before, adopted_at=now - timedelta(minutes=5))
    Mail.objects.all().delete()
    for _ in range(2):
        news.tell(Subscription.objects.get(pk=row.pk), now=now)
    (told,) = Mail.objects.filter(to=world.controller.email)
    assert act.number in told.body
    assert "Acquittement reçu" in told.body
