"""The backup channel: what the platform gives it, what it gives the platform, and who may come to it."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from django.conf import settings
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.utils import timezone
from ninja import Path, Router
from ninja.security import HttpBearer

from dematmp.accounts.passes import LASTS, issue_pass
from dematmp.api.access import bearer, doors
from dematmp.audit.services import utc_text
from dematmp.bids.models import Attempt
from dematmp.bids.offering import is_reader, offered, offered_attempt, offered_refusal, sealed_bytes
from dematmp.consultations.mirror import snapshot

router = Router(tags=["canal de secours"])
_PREFLIGHT = timedelta(minutes=10)


class ReaderAuth(HttpBearer):
    """The platform itself, by a pass of its own; nobody else, and only on the backup channel."""

    def authenticate(self, request: HttpRequest, token: str) -> bool:
        return settings.BACKUP_DEPOSIT and is_reader(token, now=timezone.now())


@router.post(
    "/channel/pass", auth=doors("bidder", "administrator"), summary="Un laissez-passer pour le secours"
)
def backup_pass(request: HttpRequest) -> dict[str, str]:
    """Where to deposit when the platform does not answer, and with what; 404 without such a channel."""
    if not settings.BACKUP_CHANNEL["url"]:
        raise Http404("Cette plateforme n'a pas de canal de secours.")
    speaker, now = bearer(request), timezone.now()
    text = issue_pass(speaker.user, speaker.organisation, now=now)
    return {"url": settings.BACKUP_CHANNEL["url"], "pass": text, "expires": utc_text(now + LASTS)}


@router.get(
    "/channel/consultations", auth=None, summary="Les consultations ouvertes, signées pour le secours"
)
def consultations(request: HttpRequest) -> dict[str, str]:
    if settings.BACKUP_DEPOSIT:
        raise Http404("Ceci est le canal de secours.")
    return snapshot(now=timezone.now())


@router.get("/channel/deposits", auth=ReaderAuth(), summary="Les dépôts reçus par le secours")
def deposits(request: HttpRequest) -> dict[str, object]:
    return offered(now=timezone.now())


@router.get(
    "/channel/attempts/{attempt}", auth=ReaderAuth(), summary="Ce que le secours sait d'une tentative"
)
def attempt(request: HttpRequest, attempt: uuid.UUID) -> dict[str, object]:
    found = Attempt.objects.filter(uuid=attempt).first()
    if found is None:
        raise Http404("Tentative inconnue.")
    return offered_attempt(found, now=timezone.now())


@router.get(
    "/channel/refusals/{index}", auth=ReaderAuth(), summary="Un envoi que le secours a refusé d'emblée"
)
def refusal(request: HttpRequest, index: Annotated[int, Path(ge=0, lt=2**63)]) -> dict[str, object]:
    found = offered_refusal(index)
    if found is None:
        raise Http404("Refus inconnu.")
    return found


@router.get(
    "/channel/objects/{envelope}/{name}", auth=ReaderAuth(), summary="Un objet scellé reçu par le secours"
)
def sealed_object(request: HttpRequest, envelope: uuid.UUID, name: str) -> HttpResponseBase:
    found = sealed_bytes(envelope, name)
    if found is None:
        raise Http404("Objet inconnu.")
    size, blocks = found
    answer = StreamingHttpResponse(blocks, content_type="application/octet-stream")
    answer["Content-Length"] = str(size)
    return answer


class Cors:
    """On the backup channel: the platform's deposit page may speak to it, without cookies, and no other."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        where = urlsplit(settings.MAIN["url"])
        self._origin = f"{where.scheme}://{where.netloc}"

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        known = request.headers.get("Origin") == self._origin
        if known and request.method == "OPTIONS" and request.path_info.startswith("/api/v1/"):
            answer: HttpResponseBase = HttpResponse(status=204)
            answer["Access-Control-Allow-Methods"] = "GET, POST, PUT"
            answer["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-Part-SHA256"
            answer["Access-Control-Max-Age"] = str(int(_PREFLIGHT.total_seconds()))
        else:
            answer = self._get_response(request)
        if known:
            answer["Access-Control-Allow-Origin"] = self._origin
            answer["Cross-Origin-Resource-Policy"] = "cross-origin"
            answer["Vary"] = "Origin"
        return answer


def unknown(request: HttpRequest, exception: Exception) -> HttpResponse:
    said = {"code": "not-found", "message": "Ceci est le canal de secours des dépôts : il n'a pas de pages."}
    return JsonResponse({**said, "next": "Revenez à la plateforme."}, status=404)


def failed(request: HttpRequest) -> HttpResponse:
    said = {"code": "http.500", "message": "Le canal de secours a rencontré un incident."}
    return JsonResponse({**said, "next": "Réessayez dans une minute : rien n'est perdu."}, status=500)
