"""The operator sets, lists and removes the sending windows; an act that they keep says until when."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.acts import sending, statuses, timeline, windows
from dematmp.acts.errors import MinistryUnavailable
from dematmp.acts.ministry import HttpMinistry
from dematmp.acts.models import Act, Transaction, Window
from dematmp.acts.tasks import sweep, sweep_service
from dematmp.audit.models import Entry
from deploy.ministry import Ministry
from tests.acts.service import Caller, acknowledged, posted
from tests.acts.test_acts import awarded, prepared  # noqa: F401
from tests.world import World, page

pytestmark = pytest.mark.django_db


def command(*given: str) -> str:
    out = io.StringIO()
    call_command("acts_windows", *given, stdout=out)
    return out.getvalue()


def test_windows_are_set_each_day_listed_and_removed_by_the_operator(service: Any) -> None:
    command("--from", "2027-03-27T20:00", "--to", "2027-03-27T23:30", "--mo", "500", "--days", "3")
    hours = [timezone.localtime(each.begins_at) for each in Window.objects.order_by("begins_at")]
    assert [f"{each:%d/%m %H:%M}" for each in hours] == ["27/03 20:00", "28/03 20:00", "29/03 20:00"]
    listed = command()
    assert listed.count("500.0 Mo") == 3
    first = Window.objects.order_by("begins_at").first()
    assert first is not None
    command("--remove", str(first.pk))
    assert f"{first.pk}  " not in command()
    kept = [each for each in Entry.objects.order_by("pk") if each.kind == "act-window"]
    assert len(kept) == 4, "each change is in the journal"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("--from", "2027-03-01T20:00", "--to", "2027-03-01T19:00", "--mo", "5"),
            "finit après avoir commencé",
        ),
        (("--from", "2020-03-01T20:00", "--to", "2020-03-01T21:00", "--mo", "5"), "déjà passée"),
        (("--from", "2027-03-01T20:00", "--to", "2027-03-01T21:00"), "un octet au moins"),
        (("--from", "demain", "--to", "2027-03-01T21:00", "--mo", "5"), "s'écrivent"),
        (("--from", "2027-03-01T20:00", "--to", "2027-03-01T21:00", "--mo", "5", "--days", "0"), "366 jours"),
        (("--remove", "404"), "Aucune fenêtre"),
    ],
)
def test_a_window_that_means_nothing_is_refused(service: Any, given: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        command(*given)
    assert not Window.objects.exists()


def test_the_admin_sets_and_removes_windows(service: Any) -> None:
    operator = User.objects.create_superuser("exploitant@example.fr", "secret")
    browser = Client()
    browser.force_login(operator)
    day = timezone.localdate() + timedelta(days=1)
    form = {"begins_at_0": day, "begins_at_1": "20:00", "ends_at_0": day, "ends_at_1": "23:00"}
    address = reverse("admin:acts_window_add")
    refused = browser.post(address, {**form, "rate_limit": "0"}).content.decode()
    assert "un octet au moins" in refused
    for odd in ("1e999999", "NaN", "9" * 40):
        assert browser.post(address, {**form, "rate_limit": odd}).status_code == 200
    assert browser.post(address, {**form, "rate_limit": "0.5"}).status_code == 302
    made = Window.objects.get()
    assert made.rate_limit == 512 * 1024, "in Mo, as by the command"
    shown = browser.get(reverse("admin:acts_window_change", args=[made.pk])).content.decode()
    assert 'value="0.5"' in shown
    assert f"{day:%d/%m/%Y} 20:00" in str(Window.objects.get())
    assert "Fenêtres de transmission" in browser.get(reverse("admin:index")).content.decode()
    assert (
        browser.post(reverse("admin:acts_window_delete", args=[made.pk]), {"post": "yes"}).status_code == 302
    )
    assert not Window.objects.exists()
    assert [each.kind for each in Entry.objects.order_by("pk")].count("act-window") == 2


def test_workers_that_send_together_stay_under_the_limit(lea: Caller, ministry: Ministry) -> None:
    """Each counts its bytes before it sends: here a second one comes while the first is sending."""
    first, second = posted(lea, "FEN_1"), posted(lea, "FEN_2")
    Transaction.objects.update(status=statuses.WAITING)
    now, size = timezone.now(), Transaction.objects.get(pk=first).archive_size
    both = size + Transaction.objects.get(pk=second).archive_size  # one byte short
    window = Window.objects.create(begins_at=now, ends_at=now + timedelta(hours=1), rate_limit=both)

    class Meanwhile(HttpMinistry):
        def send(self, name: str, key: str) -> None:
            sending.send(second, HttpMinistry(), now=now)
            super().send(name, key)

    sending.send(first, Meanwhile(), now=now)
    sent = Transaction.objects.filter(status=statuses.SENT)
    assert [each.pk for each in sent.order_by("pk")] == [first]
    window.refresh_from_db()
    assert window.consumed == size
    ministry.mode = "down"
    Window.objects.update(rate_limit=10**9)
    sending.send(second, HttpMinistry(), now=now + timedelta(minutes=10))
    window.refresh_from_db()
    assert window.consumed == size, "what did not leave is not counted"


def test_a_window_that_changes_keeps_what_was_taken_of_it(service: Any) -> None:
    """The form read the window, then a worker took its bytes, then the form was saved."""
    now = timezone.now()
    made = Window(begins_at=now, ends_at=now + timedelta(hours=1), rate_limit=1000)
    read = Window.objects.get(pk=windows.save(made, by="essai", now=now).pk)
    assert windows.take(900, now=now)
    read.ends_at += timedelta(hours=1)
    windows.save(read, by="essai", now=now)
    kept = Window.objects.get()
    assert (kept.consumed, kept.ends_at) == (900, read.ends_at)
    assert windows.take(900, now=now) is None


def test_bytes_given_back_to_a_window_that_counts_fewer_leave_the_act_to_the_next_try(
    lea: Caller, ministry: Ministry
) -> None:
    pk, now = posted(lea, "RENDU"), timezone.now()
    Transaction.objects.update(status=statuses.WAITING)
    Window.objects.create(begins_at=now, ends_at=now + timedelta(hours=1), rate_limit=10**9)

    class Absent(HttpMinistry):
        def send(self, name: str, key: str) -> None:
            Window.objects.update(consumed=1)
            raise MinistryUnavailable("Le ministère est absent.", reached=False)

    sending.send(pk, Absent(), now=now)
    assert Window.objects.get().consumed == 0
    left = Transaction.objects.get(pk=pk)
    assert (left.uncertain, left.tries, left.problem) == (False, 0, "Le ministère est absent.")


def test_the_state_of_an_act_that_a_window_keeps_says_when_it_leaves(lea: Caller, ministry: Ministry) -> None:
    pk, now = posted(lea, "TENU"), timezone.now()
    Transaction.objects.update(status=statuses.WAITING)
    ends = now + timedelta(hours=1)
    window = Window.objects.create(begins_at=now, ends_at=ends, rate_limit=10)
    kept = lea.get("actes_transac_get_status.php", transaction=pk)
    assert kept.content == b"OK\n2\n", "clients read every line of the body"
    assert kept["X-Reprise-Envoi"] == timezone.localtime(ends).isoformat(timespec="seconds")
    window.delete()
    assert "X-Reprise-Envoi" not in lea.get("actes_transac_get_status.php", transaction=pk)


def test_an_act_that_a_full_window_keeps_says_when_it_leaves(
    world: World,
    awarded: Any,  # noqa: F811
    ministry: Ministry,
) -> None:
    now = timezone.now()
    full = Window.objects.create(begins_at=now, ends_at=now + timedelta(hours=2), rate_limit=10)
    opens = now + timedelta(hours=1)
    Window.objects.create(begins_at=opens, ends_at=now + timedelta(hours=3), rate_limit=10**9)
    made = prepared(world, awarded)
    sweep()  # posts
    sweep_service()  # checks, then finds the window full
    sweep()
    said = timeline.situation(Act.objects.get(pk=made.pk), now=timezone.now()).next
    assert f"{timezone.localtime(opens):%H:%M:%S}" in said, said
    shown = page(world.validator).get(reverse("buyer-act", args=[made.uuid])).content.decode()
    assert "Les envois au ministère sont limités" in shown
    command("--remove", str(full.pk))
    Window.objects.all().delete()
    Transaction.objects.update(due_at=None)
    acknowledged(made)
    assert "limités" not in timeline.situation(Act.objects.get(pk=made.pk), now=timezone.now()).next
