"""The ministry's mails that were put aside: the operator is told once, and has them analysed again."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.acts import aside, outcomes, statuses
from dematmp.acts.errors import MessageRefused
from dematmp.acts.models import Authority, ReturnMail, Transaction
from dematmp.acts.tasks import sweep_service, tell_alerts
from dematmp.audit.models import Entry
from dematmp.mails.models import Mail
from storage.errors import StoreUnavailable
from tests.acts.returned import kept, receipt, sent, status_of
from tests.acts.service import Caller, posted

BROKEN = "La base des codes est illisible."


@pytest.fixture
def made(lea: Caller, town: Authority, monkeypatch: pytest.MonkeyPatch) -> Transaction:
    """An act whose receipt came while something here was broken; it is mended since, and the mail old."""
    found = sent(posted(lea, "DE_COTE"))
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> None:
            raise MessageRefused(BROKEN)

        broken.setattr(outcomes, "_receive", refuse)
        assert kept(receipt(found)) == BROKEN
    # Too long ago for the platform to try again by itself.
    ReturnMail.objects.update(received_at=timezone.now() - timedelta(days=30))
    return found


def command(*given: str) -> str:
    out = io.StringIO()
    call_command("acts_returns", *given, stdout=out)
    return out.getvalue()


def test_the_operator_is_told_once_by_mail(made: Transaction, settings: Any) -> None:
    tell_alerts()
    assert not Mail.objects.filter(subject__contains="mis de côté").exists(), "nobody to tell yet"
    User.objects.create_superuser("exploitant@example.fr", "secret")
    for _ in range(2):
        tell_alerts()
    (mail,) = Mail.objects.filter(subject__contains="mis de côté")
    assert mail.to == "exploitant@example.fr"
    assert BROKEN in mail.body
    assert "acts_returns --again" in mail.body
    settings.ACTES = {**settings.ACTES, "alert_mail": ["astreinte@example.fr"]}
    ReturnMail.objects.update(told_at=None)
    tell_alerts()
    assert Mail.objects.filter(to="astreinte@example.fr").count() == 1


def test_what_came_before_what_it_answers_is_not_told_at_once(made: Transaction) -> None:
    User.objects.create_superuser("exploitant@example.fr", "secret")
    now = timezone.now()
    ReturnMail.objects.update(received_at=now)
    assert aside.tell(now=now + timedelta(minutes=59)) == 0
    assert aside.tell(now=now + timedelta(minutes=60)) == 1


def test_a_mail_is_analysed_again_by_command(made: Transaction, tmp_path: Path) -> None:
    mail = ReturnMail.objects.get()
    assert BROKEN in command()
    with pytest.raises(CommandError, match="404"):
        command("404", "--again")
    command(str(mail.pk), "--copy", str(tmp_path))
    assert b"ministere.example.fr" in (tmp_path / f"{mail.pk}.eml").read_bytes()
    assert "1 traité(s), 0 encore" in command("--again")
    assert status_of(made) == statuses.ACKNOWLEDGED
    assert command() == ""
    assert [each.kind for each in Entry.objects.order_by("pk")].count("act-returns-again") == 1


def test_a_mail_is_analysed_again_by_the_admin(
    made: Transaction, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("exploitant@example.fr", "secret"))
    where = reverse("admin:acts_returnmail_changelist")
    form = {"action": "analyse_again", ACTION_CHECKBOX_NAME: [ReturnMail.objects.get().pk]}
    with monkeypatch.context() as away:

        def absent() -> None:
            raise StoreUnavailable("absent")

        away.setattr("dematmp.acts.returns.object_store", absent)
        assert "absent" in browser.post(where, form, follow=True).content.decode()
    assert status_of(made) == statuses.SENT
    assert "1 traité(s), 0 encore de côté" in browser.post(where, form, follow=True).content.decode()
    assert status_of(made) == statuses.ACKNOWLEDGED


def test_the_operator_is_told_that_the_ministry_is_silent(lea: Caller, town: Authority) -> None:
    User.objects.create_superuser("exploitant@example.fr", "secret")
    late = sent(posted(lea, "MUET"))
    now = timezone.now() - timedelta(hours=5)
    Transaction.objects.update(created_at=now)
    late.steps.update(at=now)
    for _ in range(2):
        sweep_service()
    (mail,) = Mail.objects.filter(to="exploitant@example.fr")
    assert "sans réponse du ministère" in mail.subject
    assert late.unique_id in mail.body
    assert "4 heures" in mail.body
