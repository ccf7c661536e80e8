"""Store a mail in the caller's transaction; send it later, outside any transaction."""

import smtplib
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction

from dematmp.mails.models import Mail

MAX_TRIES = 20


def store(*, to: str, subject: str, body: str, now: datetime) -> Mail:
    """Keep a mail to be sent after the commit; a lost task is found by the sweep."""
    mail = Mail.objects.create(to=to, subject=" ".join(subject.split())[:200], body=body, created_at=now)
    from dematmp.mails.tasks import send_mail

    transaction.on_commit(lambda: send_mail.delay(mail.pk), robust=True)
    return mail


def send(mail_id: int, *, now: datetime) -> bool:
    """Send one stored mail.

    True when the server took it, now or before. May run twice: a mail may then arrive twice.
    """
    mail = Mail.objects.filter(pk=mail_id).first()
    if mail is None or mail.sent_at is not None:
        return mail is not None
    try:
        EmailMessage(mail.subject, mail.body, settings.DEFAULT_FROM_EMAIL, [mail.to]).send()
    except (smtplib.SMTPException, OSError) as refused:
        Mail.objects.filter(pk=mail_id).update(tries=mail.tries + 1, last_error=str(refused)[:200])
        return False
    Mail.objects.filter(pk=mail_id, sent_at=None).update(sent_at=now, tries=mail.tries + 1, last_error="")
    return True
