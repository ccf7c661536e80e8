"""Who may enter: a bearer token, or the session of a page; what one may not see answers 404."""

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja.security import APIKeyCookie, HttpBearer
from ninja.security.base import AuthBase

from dematmp.accounts.models import ApiToken, Organisation, User
from dematmp.accounts.passes import accept_pass
from dematmp.consultations.models import Consultation
from signing.errors import PassRefused
from signing.passes import PREFIX


@dataclass(frozen=True)
class Speaker:
    """A person, and the organisation for which this request speaks."""

    user: User
    organisation: Organisation


def _speaker(user: User, organisation: Organisation, roles: tuple[str, ...]) -> Speaker | None:
    """None unless the person is active and holds one of these roles for this very organisation."""
    if not user.is_active:
        return None
    held = set(
        user.memberships.filter(organisation=organisation).order_by("pk").values_list("role", flat=True)
    )
    return Speaker(user, organisation) if not roles or held & set(roles) else None


class TokenAuth(HttpBearer):
    """A live token of a person who holds one of these roles for the token's organisation."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        self.roles = roles

    def authenticate(self, request: HttpRequest, token: str) -> Speaker | None:
        if settings.BACKUP_DEPOSIT and token.startswith(PREFIX):
            return self._of_pass(token)
        found = ApiToken.objects.matching(token)
        return _speaker(found.user, found.organisation, self.roles) if found else None

    def _of_pass(self, token: str) -> Speaker | None:
        """On the backup channel people come with a pass that the platform signed."""
        try:
            user, organisation = accept_pass(token, now=timezone.now())
        except PassRefused:
            return None
        return _speaker(user, organisation, self.roles)


class SessionAuth(APIKeyCookie):
    """The session of a page of the site, which names its organisation (X-Organisation) and its CSRF token."""

    param_name = settings.SESSION_COOKIE_NAME

    def __init__(self, *roles: str) -> None:
        super().__init__(csrf=True)
        self.roles = roles

    def __call__(self, request: HttpRequest) -> Speaker | None:
        if self.param_name not in request.COOKIES or not isinstance(request.user, User):
            return None  # an expired session is told as such (401), not as a forged request
        found: Speaker | None = super().__call__(request)
        return found

    def authenticate(self, request: HttpRequest, key: str | None) -> Speaker | None:
        try:
            wanted = uuid.UUID(request.headers.get("X-Organisation", ""))
        except ValueError:
            return None
        organisation = Organisation.objects.filter(uuid=wanted).first()
        user = request.user
        if organisation is None or not isinstance(user, User):
            return None
        return _speaker(user, organisation, self.roles)


def doors(*roles: str) -> list[AuthBase]:
    """Both doors, for people who hold one of these roles."""
    return [TokenAuth(*roles), SessionAuth(*roles)]


def bearer(request: HttpRequest) -> Speaker:
    """Who speaks."""
    speaker: Speaker = request.auth  # type: ignore[attr-defined]
    return speaker


def published(consultation: uuid.UUID) -> Consultation:
    """A published consultation, or 404."""
    found = Consultation.objects.public().filter(uuid=consultation).first()
    if found is None:
        raise Http404("Consultation inconnue.")
    return found
