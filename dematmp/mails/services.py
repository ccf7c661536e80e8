"""Store a mail in the caller's transaction; send it later, outside any transaction."""

import logging
import smtplib
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils.module_loading import import_string

from dematmp.mails.models import Mail

log = logging.getLogger(__name__)
MAX_TRIES = 100  # one an hour at the end: four days
_FIRST_WAIT, _LONGEST_WAIT = 15, 3600  # seconds
_WITHOUT = (
    "\n\nVotre serveur de courriel a refusé ce message avec ses pièces jointes (taille ou nature) : "
    "elles se téléchargent sur la plateforme.\n"
)


def store(
    *, to: str, subject: str, body: str, now: datetime, attached: dict[str, object] | None = None
) -> Mail:
    """Keep a mail to be sent after the commit; a lost task is found by the sweep.

    `attached` names the room that makes its files when it leaves, `app`, whose AppConfig says by whom
    (`enclosures`): given `of`, it gives rows of (name, bytes, media type). Nothing of them is kept in the
    database, which names no code: who writes there must not choose what a worker runs.
    """
    mail = Mail.objects.create(
        to=to,
        subject=" ".join(subject.split())[:200],
        body=body,
        created_at=now,
        attached=attached or {},
    )
    from dematmp.mails.tasks import send_mail

    transaction.on_commit(lambda: send_mail.delay(mail.pk), robust=True)
    return mail


def _attachments(mail: Mail) -> list[tuple[str, bytes, str]]:
    """What could not be made is left out: a mail without its files is better than none."""
    if not mail.attached:
        return []
    try:
        config: Any = apps.get_app_config(mail.attached["app"])
        made = import_string(config.enclosures)
        return list(made(mail.attached["of"]))
    except Exception:
        log.exception("courriel %s : pièces jointes", mail.pk)
        return []


def _deliver(mail: Mail) -> None:
    """Refused for good with its files (5xx, RFC 5321 §4.2.1), a message leaves at once without them.

    Raises smtplib.SMTPException, OSError, ValueError.
    """
    message = EmailMessage(mail.subject, mail.body, settings.DEFAULT_FROM_EMAIL, [mail.to])
    for name, data, kind in _attachments(mail):
        message.attach(name, data, kind)
    try:
        message.send()
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refused:
        if refused.smtp_code < 500 or not message.attachments:
            raise
        log.warning("courriel %s : refusé avec ses pièces jointes, envoyé sans elles (%r)", mail.pk, refused)
        message.attachments = []
        message.body += _WITHOUT
        message.send()


def send(mail_id: int, *, now: datetime) -> bool:
    """Send one stored mail.

    True when the server took it, now or before. May run twice: a mail may then arrive twice. What fails waits
    twice as long each time, an hour at most.
    """
    mail = Mail.objects.filter(pk=mail_id).first()
    if mail is None or mail.sent_at is not None:
        return mail is not None
    try:
        _deliver(mail)
    except (smtplib.SMTPException, OSError, ValueError) as refused:  # ValueError: an address that cannot be
        wait = timedelta(seconds=min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(mail.tries, 10)))
        Mail.objects.filter(pk=mail_id).update(
            tries=mail.tries + 1, last_error=repr(refused)[:200], due_at=now + wait
        )
        if mail.tries + 1 >= MAX_TRIES:
            log.error("courriel %s abandonné après %s essais : %r", mail_id, MAX_TRIES, refused)
        return False
    Mail.objects.filter(pk=mail_id, sent_at=None).update(sent_at=now, tries=mail.tries + 1, last_error="")
    return True
