"""Operators elsewhere, real servers, that redirect or list nothing: what is known, and what is told of it."""

from contextlib import nullcontext
from datetime import timedelta

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from dematmp.acts import correspondence, statuses
from dematmp.acts.errors import GatewayRefused, GatewayUnavailable
from dematmp.acts.models import PrefectureLetter, Transmission
from dematmp.acts.operators import operator_for
from dematmp.acts.remote import Letter, Remote, Status
from dematmp.acts.services import GIVEN_UP, poll, transmit
from dematmp.acts.tasks import sweep, tell_alerts
from dematmp.awards.models import Award
from dematmp.mails.models import Mail
from deploy.ministry import Ministry
from storage.stores import object_store
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.acts.test_desk import act  # noqa: F401
from tests.acts.test_uncertain import NO_RECEIPT, SOUND, Elsewhere, asked  # noqa: F401
from tests.fronts import answering_paths
from tests.world import World, page


@pytest.mark.parametrize(
    ("stamp", "is_given_up"),
    [(NO_RECEIPT, True), ("Accès refusé", False), ("", False)],
)
def test_a_s2low_that_redirects_for_a_receipt_that_it_has_not_is_asked_for_the_stamp(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
    stamp: str,
    is_given_up: bool,
) -> None:
    """It redirects for what may not be seen too; only a refused stamp says that there is no receipt."""
    made, now = prepared(world, awarded), timezone.now()
    says: dict[str, bytes | str] = {
        "status": b"OK\n6\n",
        "ARActe": "/modules/actes/index.php",
        "tampon": f"KO\n{stamp}".encode("latin-1") if stamp else "actes_download_file.php?file=1",
    }
    transmit(made.pk, Elsewhere(7), now=now)
    with answering_paths(lambda path: next(says[each] for each in says if f"get_{each}" in path)) as url:
        expected = GatewayRefused if stamp else GatewayUnavailable
        with nullcontext() if is_given_up else pytest.raises(expected):
            poll(made.pk, Remote(url=url), now=now)
    sent = Transmission.objects.get(act=made)
    assert (sent.is_over, sent.problem == GIVEN_UP) == (is_given_up, is_given_up)


def test_a_letter_that_is_not_given_keeps_back_neither_the_others_nor_a_cancellation(
    asked: PrefectureLetter,  # noqa: F811
) -> None:
    about, now, number = asked.act, timezone.now(), asked.remote_id

    class Purged(Elsewhere):
        def archive(self, letter: int) -> bytes:
            if letter not in self.archives:
                raise GatewayUnavailable("L'opérateur n'a pas donné l'archive du courrier.")
            return super().archive(letter)

    there = Purged(has=about)
    there.of = {each: Status(statuses.CANCELLED, b"") for each in there.receipts}
    there.archives[number] = b"".join(object_store().open(asked.archive_key))
    there.lines = [Letter("2", 21, 900), Letter("3", 8, number)]
    asked.delete()
    with pytest.raises(GatewayUnavailable, match="l'archive du courrier"):
        correspondence.read_letters(about.pk, there, now=now)
    assert [each.remote_id for each in about.letters.all()] == [number]
    assert Transmission.objects.get(act=about).cancelled_at is not None


def test_an_operator_that_lists_nothing_of_what_it_was_posted_is_told_after_hours(
    world: World,
    awarded: Award,  # noqa: F811
    ministry: Ministry,
) -> None:
    """Each look-up that finds nothing is no news: what keeps the act, and since when, stays said."""
    made, now = prepared(world, awarded), timezone.now()
    says: dict[str, bytes | str] = {"transac_create": "/accueil", "list_actes": b'{"transactions":[]}'}
    with answering_paths(lambda path: next(says[each] for each in says if each in path)) as url:
        correspondence.set_operator(world.buyer, url=url, now=now)
        for minutes in (0, 5, 300, 305):
            with time_machine.travel(now + timedelta(minutes=minutes), tick=False):
                sweep()
                tell_alerts()
                assert "302" in Transmission.objects.get(act=made).problem
        correspondence.forget_operator(world.buyer, now=now)
    assert Mail.objects.filter(to=world.validator.email, subject__contains="attend l'opérateur").count() == 1


def test_who_answers_is_told_that_an_answer_without_news_may_have_left(
    world: World,
    asked: PrefectureLetter,  # noqa: F811
) -> None:
    about, now = asked.act, timezone.now()
    here = operator_for(about, now=now)
    assert here is not None
    says: dict[str, bytes | str] = {
        "get_status": b"OK\n4\n" + bytes(about.transmission.acknowledgement or b""),
        "classification_fetch": here.classification(),
        "reponse_create": "/index.php",
    }
    with answering_paths(lambda path: next(says[each] for each in says if each in path)) as url:
        correspondence.set_operator(world.buyer, url=url, now=now)
        Transmission.objects.filter(act=about).update(operator_url=url)
        answer = page(world.validator).post(
            reverse("buyer-act-answer", args=[about.uuid, asked.pk]),
            {"choice": "4", "documents": SimpleUploadedFile("rapport.pdf", SOUND)},
            follow=True,
        )
        correspondence.forget_operator(world.buyer, now=now)
    shown = answer.content.decode()
    assert answer.redirect_chain
    assert "La réponse est peut-être partie" in shown
    assert "réessaie" not in shown
