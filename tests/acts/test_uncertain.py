"""What nobody knows the end of: posts answered late, replies and cancellations that are lost or fail."""

import io
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from dematmp.acts import correspondence, statuses, timeline
from dematmp.acts.errors import ActRefused, AnswerLost, GatewayRefused, GatewayUnavailable
from dematmp.acts.fields import Piece, Posting, Upload
from dematmp.acts.models import Act, PrefectureLetter, Transaction, Transmission
from dematmp.acts.operators import operator_for
from dematmp.acts.preparing import number_again
from dematmp.acts.remote import Letter, Status
from dematmp.acts.services import GIVEN_UP, RETRY, poll, transmit
from dematmp.acts.tasks import sweep, sweep_service, tell_alerts
from dematmp.awards.models import Award
from dematmp.mails.models import Mail
from deploy.ministry import Ministry
from storage.errors import ObjectMissing, StoreUnavailable
from storage.stores import object_store
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.acts.test_desk import act, written  # noqa: F401
from tests.world import World, page, pdf

SOUND = pdf()


class Elsewhere:
    """An operator elsewhere, as the port sees it: `says` are its answers to posts, in order."""

    is_remote, url, login = True, "https://ailleurs.example.fr/", "agent"

    def __init__(self, *says: Exception | int, has: Act | None = None) -> None:
        self.says, self.posts, self.known = list(says), 0, dict[str, int]()
        self.now, self.lines, self.archives = Status(3, b""), list[Letter](), dict[int, bytes]()
        sent = Transmission.objects.get(act=has) if has else None  # an act that it acknowledged
        self.receipts = {sent.remote_id: bytes(sent.acknowledgement or b"")} if sent else {}
        self.of = {number: Status(4, data) for number, data in self.receipts.items()}

    def _answer(self) -> int:
        self.posts += 1
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def post(self, made: Posting) -> int:
        return self._answer()

    def find(self, number: str) -> int | None:
        return self.known.get(number)

    def status(self, transaction: int) -> Status:
        return self.of.get(transaction, self.now)

    def receipt(self, transaction: int) -> bytes:
        return self.receipts[transaction]

    def letters(self, of: int) -> list[Letter]:
        return self.lines

    def archive(self, letter: int) -> bytes:
        return self.archives[letter]

    def cancel(self, of: int) -> int:
        return self._answer()

    def reply(self, letter: int, pieces: object, *, choice: str) -> int:
        return self._answer()


def pieces(data: bytes = SOUND) -> list[Piece]:
    return [Piece(Upload("réponse.pdf", len(data), io.BytesIO(data)), "99_DE")]


TWICE = GatewayRefused("Un acte portant le même numéro interne existe déjà dans la base de données.")


def test_an_operator_that_takes_an_act_late_is_never_said_to_have_refused_it(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    """It answers nothing, then that it has this number, then lists it: one act, and no error."""
    made, there, now = prepared(world, awarded), Elsewhere(GatewayUnavailable("tard"), TWICE), timezone.now()
    with pytest.raises(GatewayUnavailable):
        transmit(made.pk, there, now=now)
    transmit(made.pk, there, now=now + RETRY / 2)  # looked for, and not posted again yet
    assert there.posts == 1
    with pytest.raises(GatewayUnavailable, match="déjà ce numéro"):
        transmit(made.pk, there, now=now + 2 * RETRY)
    sent = Transmission.objects.get(act=made)
    assert (sent.status, sent.is_over) == (None, False)
    there.known[made.number] = 42
    transmit(made.pk, there, now=now + 2 * RETRY + timedelta(minutes=1))
    sent.refresh_from_db()
    assert (sent.remote_id, sent.status, there.posts) == (42, statuses.POSTED, 2)


def test_an_operator_that_is_absent_is_asked_again_at_once(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    made, now = prepared(world, awarded), timezone.now()
    there = Elsewhere(GatewayUnavailable("absent", reached=False), 7)
    with pytest.raises(GatewayUnavailable):
        transmit(made.pk, there, now=now)
    transmit(made.pk, there, now=now + timedelta(seconds=30))
    assert Transmission.objects.get(act=made).remote_id == 7


def test_a_refusal_of_something_else_is_one_and_is_told(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    made, now = prepared(world, awarded), timezone.now()
    there = Elsewhere(GatewayUnavailable("tard"), GatewayRefused("L'objet est trop long."))
    with pytest.raises(GatewayUnavailable):
        transmit(made.pk, there, now=now)
    transmit(made.pk, there, now=now + 2 * RETRY)
    sent = Transmission.objects.get(act=made)
    assert (sent.status, sent.problem) == (statuses.ERROR, "L'objet est trop long.")
    assert Mail.objects.filter(to=world.validator.email, subject__contains="en échec").exists()
    assert number_again(made, there) == made.number


@pytest.mark.parametrize("code", [statuses.UNCONFIRMED, statuses.VALID])
def test_a_state_beyond_the_receipt_is_not_a_silence(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
    code: int,
) -> None:
    made, there = prepared(world, awarded), Elsewhere(5)
    transmit(made.pk, there, now=timezone.now())
    there.now = Status(code, b"")
    if code == statuses.UNCONFIRMED:
        poll(made.pk, there, now=timezone.now())
        said = timeline.situation(Act.objects.get(pk=made.pk), now=timezone.now()).next
        assert "d'être confirmé chez l'opérateur" in said
        return
    with pytest.raises(KeyError, match="5"):  # it is asked for the receipt
        poll(made.pk, there, now=timezone.now())


@pytest.fixture
def asked(world: World, act: Act, ministry: Ministry) -> Iterator[PrefectureLetter]:  # noqa: F811
    """The prefecture asks for pieces."""
    written(world, act, "3-1")
    yield act.letters.get()


def test_of_two_replies_at_once_one_leaves(world: World, asked: PrefectureLetter) -> None:
    mine, theirs = asked, PrefectureLetter.objects.get(pk=asked.pk)
    operator = operator_for(asked.act, now=timezone.now())
    assert operator is not None

    class Meanwhile(Elsewhere):
        def reply(self, letter: int, pieces: object, *, choice: str) -> int:
            with pytest.raises(ActRefused, match="en train de partir"):
                correspondence.reply(theirs, given, operator, choice="3", now=timezone.now())
            return self._answer()

    given = pieces()
    correspondence.reply(mine, given, Meanwhile(9, has=asked.act), choice="4", now=timezone.now())
    assert not Transaction.objects.exclude(reply="").exists()
    mine.refresh_from_db()
    assert (mine.reply_id, mine.choice) == (9, "4")


def test_letters_that_await_an_answer_are_all_named(world: World, asked: PrefectureLetter) -> None:
    written(world, asked.act, "4-1")
    said = timeline.situation(Act.objects.get(pk=asked.act_id), now=timezone.now())
    assert (said.holder, said.since) == (timeline.BUYER, asked.found_at)
    letters = "demande de pièces complémentaires, lettre d'observations"
    assert said.next == f"Des réponses sont attendues : {letters}."


def test_a_reply_that_is_refused_may_be_made_again(world: World, asked: PrefectureLetter) -> None:
    absent = GatewayUnavailable("absent", reached=False)
    there = Elsewhere(GatewayRefused("non"), absent, StoreUnavailable("plein"), 9, has=asked.act)
    for failed in (GatewayRefused, GatewayUnavailable, StoreUnavailable):
        with pytest.raises(failed):
            correspondence.reply(asked, pieces(), there, choice="4", now=timezone.now())
    correspondence.reply(asked, pieces(), there, choice="4", now=timezone.now())
    asked.refresh_from_db()
    assert asked.reply_id == 9
    with pytest.raises(ActRefused, match="refusé"):
        correspondence.reply(asked, pieces(b"%PDF-1.4\n" + b"x" * 500), there, choice="4", now=timezone.now())


def test_a_reply_whose_answer_was_lost_is_found_and_is_no_letter_of_the_prefecture(
    world: World, asked: PrefectureLetter
) -> None:
    real = operator_for(asked.act, now=timezone.now())
    assert real is not None
    Transmission.objects.update(due_at=timezone.now())
    with pytest.raises(AnswerLost, match="peut-être partie"):
        lost = Elsewhere(GatewayUnavailable("perdu"), has=asked.act)
        correspondence.reply(asked, pieces(), lost, choice="4", now=timezone.now())
    assert Transmission.objects.get(act=asked.act).due_at is None, "it is looked for at once"
    with pytest.raises(ActRefused, match="en train de partir"):
        correspondence.reply(asked, pieces(), real, choice="4", now=timezone.now())
    taken = real.reply(asked.remote_id, pieces(), choice="4")  # as the operator took it
    for _ in range(4):
        sweep_service()
    made = Transaction.objects.get(pk=taken)
    there = Elsewhere(has=asked.act)
    there.lines = [Letter("3", made.status, taken)]
    there.archives[taken] = b"".join(object_store().open(made.archive_key))
    mails = Mail.objects.filter(subject__contains="Courrier de la préfecture").count()
    correspondence.read_letters(asked.act_id, there, now=timezone.now())
    asked.refresh_from_db()
    assert (asked.reply_id, asked.choice, asked.act.letters.count()) == (taken, "4", 1)
    with pytest.raises(ObjectMissing):
        next(iter(object_store().open(f"acts/letters/{asked.act.uuid}/{taken}.tar.gz")))
    assert Mail.objects.filter(subject__contains="Courrier de la préfecture").count() == mails


def test_a_reply_or_a_cancellation_that_fails_later_is_told_and_may_be_made_again(
    world: World, asked: PrefectureLetter
) -> None:
    now, there = timezone.now(), Elsewhere(9, 10, has=asked.act)
    correspondence.reply(asked, pieces(), there, choice="4", now=now)
    there.now = Status(statuses.ERROR, "Fichier illisible".encode("latin-1"))
    correspondence.read_letters(asked.act_id, there, now=now)
    asked.refresh_from_db()
    assert (asked.reply_id, asked.replied_at, asked.problem) == (None, None, "Fichier illisible")
    shown = page(world.validator).get(reverse("buyer-act", args=[asked.act.uuid])).content.decode()
    assert "Fichier illisible" in shown
    assert "Répondre à ce courrier" in shown
    assert Mail.objects.filter(body__contains="Fichier illisible").exists()
    there.now = Status(4, b"")
    correspondence.cancel(asked.act, there, now=now)
    with pytest.raises(ActRefused, match="déjà en cours"):
        correspondence.cancel(asked.act, there, now=now)
    sent = Transmission.objects.filter(act=asked.act)
    assert sent.get().due_at is None, "its receipt is looked for at once"
    there.now = Status(3, b"")
    correspondence.read_letters(asked.act_id, there, now=now)
    assert sent.get().due_at == now + correspondence.SOON
    there.now = Status(statuses.ERROR, b"Refus")
    correspondence.read_letters(asked.act_id, there, now=now)
    shown = page(world.validator).get(reverse("buyer-act", args=[asked.act.uuid])).content.decode()
    assert shown.count("abouti : Refus") == 1
    assert "Demander l'annulation" in shown
    told = {(each.what, each.detail) for each in timeline.events(Act.objects.get(pk=asked.act_id))}
    failed = {("La réponse à la préfecture n'est pas partie", "Fichier illisible")}
    assert told >= failed | {("La demande d'annulation n'a pas abouti", "Refus")}


def test_an_operator_away_for_hours_is_told_once_to_the_buyer(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    made, now = prepared(world, awarded), timezone.now()
    correspondence.set_operator(world.buyer, url="http://127.0.0.1:9", now=now)
    waits = Mail.objects.filter(to=world.validator.email, subject__contains="attend l'opérateur")
    sweep()
    tell_alerts()
    assert Transmission.objects.get(act=made).stuck_since is not None
    assert not waits.exists()
    for hours in (5, 6):
        with time_machine.travel(now + timedelta(hours=hours), tick=False):
            sweep()
            tell_alerts()
        assert waits.count() == 1
    assert "transmettez aussi par un autre moyen" in waits.get().body
    assert next(iter(timeline.events(made))).what.endswith("ne fait plus avancer l'acte")
    there = Elsewhere(7)
    transmit(made.pk, there, now=now + timedelta(hours=7))
    there.now = Status(statuses.UNCONFIRMED, b"")
    poll(made.pk, there, now=now + timedelta(hours=8))
    assert Transmission.objects.get(act=made).problem.startswith("L'acte attend d'être confirmé")
    correspondence.forget_operator(world.buyer, now=now)


def test_a_cancellation_whose_answer_was_lost_is_learnt(world: World, asked: PrefectureLetter) -> None:
    there = Elsewhere(StoreUnavailable("plein"), GatewayUnavailable("perdu"), has=asked.act)
    for failed in (StoreUnavailable, GatewayUnavailable):  # the first gives the claim back
        with pytest.raises(failed):
            correspondence.cancel(asked.act, there, now=timezone.now())
    there.of = {number: Status(statuses.CANCELLED, b"") for number in there.receipts}
    correspondence.read_letters(asked.act_id, there, now=timezone.now())
    assert Transmission.objects.get(act=asked.act_id).cancelled_at is not None


def test_a_mark_that_a_letter_may_have_moved_is_not_an_end(world: World, asked: PrefectureLetter) -> None:
    later = timezone.now() + timedelta(days=64)
    correspondence.reply(asked, pieces(), Elsewhere(9, has=asked.act), choice="4", now=timezone.now())
    said = timeline.situation(Act.objects.get(pk=asked.act_id), now=later)
    assert (said.holder, "a pu déplacer" in said.next) == (timeline.PREFECTURE, True)
    sweep()


NO_RECEIPT = "Pas d'acquittement recu"


@pytest.mark.parametrize(
    ("seen", "said", "is_given_up"),
    [
        ((), NO_RECEIPT, True),
        ((), "Accès refusé", False),
        ((statuses.WAITING, statuses.SENT), NO_RECEIPT, False),
    ],
)
def test_an_act_closed_elsewhere_is_given_up_only_if_nothing_was_received(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
    seen: tuple[int, ...],
    said: str,
    is_given_up: bool,
) -> None:
    """Its operator's people close so what awaited its confirmation, and what was received two months ago."""
    made, now = prepared(world, awarded), timezone.now()

    class Closed(Elsewhere):
        def receipt(self, transaction: int) -> bytes:
            raise GatewayRefused(said)

    there = Closed(7)
    transmit(made.pk, there, now=now)
    for day, code in enumerate((*seen, statuses.REFUSED)):
        there.now = Status(code, b"")
        with nullcontext() if is_given_up or code in seen else pytest.raises(GatewayRefused, match=said):
            poll(made.pk, there, now=now + timedelta(days=day))
    sent = Transmission.objects.get(act=made)
    assert sent.is_over is is_given_up
    assert (sent.problem == GIVEN_UP) is is_given_up
