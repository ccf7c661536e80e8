"""Who may enter: bearer tokens of the command line; what one may not see answers 404."""

import uuid

from django.http import Http404, HttpRequest
from ninja.security import HttpBearer

from dematmp.accounts.models import ApiToken
from dematmp.consultations.models import Consultation


class TokenAuth(HttpBearer):
    """A live token of a person who holds one of these roles for the token's organisation."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        self.roles = roles

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        found = ApiToken.objects.matching(token)
        if found is None or not found.user.is_active:
            return None
        held = set(
            found.user.memberships.filter(organisation=found.organisation)
            .order_by("pk")
            .values_list("role", flat=True)
        )
        return found if not self.roles or held & set(self.roles) else None


def bearer(request: HttpRequest) -> ApiToken:
    """The token that opened this request."""
    token: ApiToken = request.auth  # type: ignore[attr-defined]
    return token


def published(consultation: uuid.UUID) -> Consultation:
    """A published consultation, or 404."""
    found = Consultation.objects.public().filter(uuid=consultation).first()
    if found is None:
        raise Http404("Consultation inconnue.")
    return found
