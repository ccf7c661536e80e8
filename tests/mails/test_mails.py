"""A mail is stored, then sent; one that cannot be sent keeps no other waiting, and waits longer each time."""

from datetime import timedelta

import pytest
from django.core import mail as outbox
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.mails import services, tasks
from dematmp.mails.models import Mail
from tests.world import World

LONG = "a@" + "é" * 60 + ".fr"


def _mail(to: str, subject: str) -> Mail:
    return Mail.objects.create(to=to, subject=subject, body="Bonjour", created_at=timezone.now())


def test_an_address_that_no_server_can_write_keeps_no_other_mail_waiting(db: None) -> None:
    broken, good = _mail(LONG, "un"), _mail("claire@example.fr", "deux")
    tasks.sweep()
    assert [each.subject for each in outbox.outbox] == ["deux"]
    broken.refresh_from_db()
    good.refresh_from_db()
    assert (broken.tries, good.sent_at is not None) == (1, True)


def test_a_failure_waits_twice_as_long_each_time_and_an_hour_at_most(db: None) -> None:
    broken, now = _mail(LONG, "un"), timezone.now()
    waits = []
    for _ in range(12):
        services.send(broken.pk, now=now)
        broken.refresh_from_db()
        assert broken.due_at is not None
        waits.append(broken.due_at - now)
    assert waits[:3] == [timedelta(seconds=seconds) for seconds in (15, 30, 60)]
    assert max(waits) == timedelta(hours=1)
    assert services.MAX_TRIES * timedelta(hours=1) > timedelta(days=3)


@pytest.mark.parametrize("email", [LONG, "a" * 250 + "@example.fr", "a" * 300 + "@" + "b" * 20 + ".fr"])
def test_such_an_address_is_refused_at_the_door(world: World, client: Client, email: str) -> None:
    consultation = world.publish()
    for name, field in (("follow", {}), ("ask", {"text": "Une visite ?"})):
        answer = client.post(
            reverse(name, kwargs={"consultation": consultation.uuid}), {**field, "email": email}
        )
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "attached",
    [
        {"by": "builtins.print", "of": "lu"},
        {"app": "mails", "of": 1},
        {"app": "inconnue", "of": 1},
        {"app": "acts", "of": -1},
    ],
)
def test_what_the_database_says_chooses_no_code_and_holds_no_mail_back(
    db: None, attached: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever writes in the database must not run what they like where the platform's keys are."""
    mail = _mail("claire@example.fr", "un")
    Mail.objects.filter(pk=mail.pk).update(attached=attached)
    assert services.send(mail.pk, now=timezone.now())
    (sent,) = outbox.outbox
    assert sent.attachments == []
    assert "lu" not in capsys.readouterr().out.split()
