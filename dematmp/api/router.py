"""The JSON door: who may enter, fetch through what they may see, call a verb, answer in French."""

import logging

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from dematmp.accounts.errors import AccountError
from dematmp.api.bidder import router as bidder
from dematmp.api.channel import router as channel
from dematmp.api.committee import router as committee
from dematmp.api.public import router as public
from dematmp.api.renewals import router as renewals
from dematmp.audit.errors import AuditError
from dematmp.bids.errors import BidError
from dematmp.bids.evidence import note_refusal
from dematmp.consultations.errors import ConsultationError
from dematmp.opening.errors import OpeningError
from storage.errors import StorageError

log = logging.getLogger(__name__)
api = NinjaAPI(title="dematmp", version="1", docs_url="/docs", urls_namespace="api")
api.add_router("/v1", public)
api.add_router("/v1", bidder)
api.add_router("/v1", channel)
if not settings.BACKUP_DEPOSIT:
    api.add_router("/v1", committee)
    api.add_router("/v1", renewals)


def _keep(request: HttpRequest, code: str, message: str) -> None:
    """What an attempt is refused is evidence of what its company met."""
    if (attempt := getattr(request, "attempt", None)) is not None:
        note_refusal(attempt, code=code, message=message, now=timezone.now())


def _answer(
    request: HttpRequest, status: int, code: str, message: str, next_step: str, **facts: object
) -> HttpResponse:
    return api.create_response(
        request, {"code": code, "message": message, "next": next_step, **facts}, status=status
    )


@api.exception_handler(BidError)
def bid_refused(request: HttpRequest, error: BidError) -> HttpResponse:
    _keep(request, error.code, str(error))
    return _answer(request, error.status, error.code, str(error), error.next, **error.facts)


@api.exception_handler(OpeningError)
def opening_refused(request: HttpRequest, error: OpeningError) -> HttpResponse:
    return _answer(request, error.status, error.code, str(error), error.next, **error.facts)


@api.exception_handler(ConsultationError)
def consultation_refused(request: HttpRequest, error: ConsultationError) -> HttpResponse:
    return _answer(request, 409, error.code, str(error), error.next)


@api.exception_handler(AccountError)
def account_refused(request: HttpRequest, error: AccountError) -> HttpResponse:
    return _answer(request, 400, error.code, str(error), "Corrigez puis recommencez.")


@api.exception_handler(StorageError)
def storage_failed(request: HttpRequest, error: StorageError) -> HttpResponse:
    _keep(request, error.code, str(error))
    return _answer(
        request,
        503,
        error.code,
        str(error),
        "Réessayez dans une minute : rien de ce qui est reçu n'est perdu.",
    )


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def database_failed(request: HttpRequest, error: Exception) -> HttpResponse:
    """Down, starting, or without room: what was committed stands, and each call may be made again."""
    log.error("base de données : %s", error)
    return _answer(
        request,
        503,
        "platform.database",
        "La base de données de la plateforme ne répond pas.",
        "Réessayez dans une minute : rien de ce qui est reçu n'est perdu.",
    )


@api.exception_handler(AuditError)
def audit_failed(request: HttpRequest, error: AuditError) -> HttpResponse:
    return _answer(request, 503, error.code, str(error), "Prévenez l'exploitant de la plateforme.")


@api.exception_handler(AuthenticationError)
def not_signed_in(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return _answer(
        request,
        401,
        "access.required",
        "Votre session a expiré, ou ce jeton n'ouvre pas cet accès.",
        "Reconnectez-vous ou vérifiez le jeton, puis recommencez : ce qui est déjà reçu est conservé.",
    )


@api.exception_handler(HttpError)
def forged(request: HttpRequest, error: HttpError) -> HttpResponse:
    return _answer(
        request,
        error.status_code,
        "access.page-expired",
        "Cette page est trop ancienne pour être crue.",
        "Rechargez-la, puis recommencez : ce qui est déjà reçu est conservé.",
    )


@api.exception_handler(Http404)
def unknown(request: HttpRequest, error: Http404) -> HttpResponse:
    return _answer(
        request,
        404,
        "not-found",
        str(error) or "Introuvable, ou votre compte n'y donne pas accès.",
        "Vérifiez l'identifiant et l'organisation pour laquelle vous agissez.",
    )


@api.exception_handler(ValidationError)
def badly_formed(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = ["/".join(str(part) for part in each["loc"]) for each in error.errors]
    return _answer(
        request,
        422,
        "request.malformed",
        "La demande n'a pas la forme attendue : " + ", ".join(fields),
        "Consultez /api/docs.",
    )
