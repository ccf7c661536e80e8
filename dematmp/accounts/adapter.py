"""What django-allauth asks of the platform: mails are stored, then sent like every other mail."""

from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from dematmp.mails.rules import is_deliverable
from dematmp.mails.services import store


class StoredMailAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Confirmation and reset mails outlive a mail server that is down."""

    def clean_email(self, email: str) -> str:
        """Refuse an address that no mail can reach: nobody confirms it, and robots live under .invalid."""
        address = str(super().clean_email(email))
        if not is_deliverable(address):
            raise ValidationError("Cette adresse ne peut pas recevoir de courriel : vérifiez-la.")
        return address

    def send_mail(self, template_prefix: str, email: str, context: dict[str, object]) -> None:
        site = {"name": settings.SITE_NAME, "domain": urlsplit(settings.SITE_URL).netloc}
        message = self.render_mail(template_prefix, email, {**context, "current_site": site})
        store(to=email, subject=message.subject.strip(), body=message.body, now=timezone.now())
