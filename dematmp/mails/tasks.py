"""Sending, in the worker."""

from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from dematmp.audit.rows import each_row
from dematmp.mails.models import Mail
from dematmp.mails.services import MAX_TRIES, send


@shared_task
def send_mail(mail_id: int) -> None:
    send(mail_id, now=timezone.now())


@shared_task
def sweep() -> None:
    """Send what a lost task or a mail server left behind."""
    now = timezone.now()
    due = Mail.objects.filter(Q(due_at=None) | Q(due_at__lte=now), sent_at=None, tries__lt=MAX_TRIES)
    each_row(due.order_by("pk").values_list("pk", flat=True)[:100], lambda pk: send(pk, now=now))
