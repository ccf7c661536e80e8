"""Sending, in the worker."""

from celery import shared_task
from django.utils import timezone

from dematmp.mails.models import Mail
from dematmp.mails.services import MAX_TRIES, send


@shared_task
def send_mail(mail_id: int) -> None:
    send(mail_id, now=timezone.now())


@shared_task
def sweep() -> None:
    """Send what a lost task or a mail server left behind."""
    for mail_id in (
        Mail.objects.filter(sent_at=None, tries__lt=MAX_TRIES)
        .order_by("pk")
        .values_list("pk", flat=True)[:100]
    ):
        send(mail_id, now=timezone.now())
