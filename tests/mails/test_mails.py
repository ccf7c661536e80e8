"""A mail is stored, then sent; one that cannot be sent keeps no other waiting, and waits longer each time."""

from datetime import timedelta

import pytest
from django.core import mail as outbox
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from dematmp.mails import services, tasks
from dematmp.mails.models import Mail
from deploy.services.mail import MailSink
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


@pytest.mark.parametrize(("size", "enclosed"), [(10_000, True), (100_000, False)])
def test_a_server_that_refuses_the_files_gets_the_message_without_them(
    db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, size: int, enclosed: bool
) -> None:
    """At once: an acknowledgement that waits four days behind its own files is one that nobody reads."""
    monkeypatch.setattr(services, "_attachments", lambda _: [("acte.pdf", b"a" * size, "application/pdf")])
    mail = _mail("claire@example.fr", "un")
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with MailSink(limit=50_000) as sink:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", int(sink.url.rpartition(":")[2])
        assert services.send(mail.pk, now=timezone.now())
        (received,) = sink.messages
    names = [part.get_filename() for part in received.walk() if part.get_filename()]
    text = next(part for part in received.walk() if part.get_content_type() == "text/plain")
    assert names == (["acte.pdf"] if enclosed else [])
    assert ("refusé ce message avec ses pièces" in text.get_payload(decode=True).decode()) is not enclosed  # type: ignore[union-attr]
    mail.refresh_from_db()
    assert (mail.tries, mail.last_error) == (1, "")
