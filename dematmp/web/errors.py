"""Errors that a page shows, in one place: a code, a French sentence, the next step."""

import sys
from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from dematmp.accounts.errors import AccountError
from dematmp.acts.errors import ActError
from dematmp.audit.errors import AuditError
from dematmp.awards.contracts import ContractRefused
from dematmp.awards.services import AwardRefused
from dematmp.bids.errors import BidError
from dematmp.consultations.errors import ConsultationError
from dematmp.opening.errors import OpeningError
from storage.errors import StorageError

REFUSALS = (AccountError, ActError, AwardRefused, BidError, ConsultationError, ContractRefused, OpeningError)
FAILURES = (AuditError, StorageError)
# The field of a form that a refusal is about.
_FIELDS = {
    "account.organisation-exists": "siret",
    "account.siret-refused": "siret",
    "award.refused": "company",
    "consultation.cpv-unknown": "cpv",
    "consultation.deadline-midnight": "time",
    "consultation.deadline-past": "date",
    "document.empty": "file",
    "document.name-refused": "file",
    "document.too-large": "file",
    "document.unreadable": "file",
}
_FIX = "Corrigez puis recommencez."
_WAIT = "Réessayez dans une minute ; si cela dure, prévenez l'exploitant de la plateforme. Rien n'est perdu."


def problem(
    request: HttpRequest, *, status: int, code: str, title: str, message: str, next: str
) -> HttpResponse:
    """The page of a refusal or of a failure."""
    context = {"code": code, "title": title, "message": message, "next": next}
    return render(request, "errors/problem.html", context, status=status)


def explain(form: BaseForm, error: Exception) -> None:
    """Write a refusal of the domain on its field, else at the head of the form: nothing typed is lost."""
    step, code = getattr(error, "next", _FIX), getattr(error, "code", "error")
    field, said = getattr(error, "field", ""), getattr(error, "plain", "") or error
    if field and field in form.fields:
        form.add_error(field, str(error))
        return
    named = _FIELDS.get(code, "")
    form.add_error(named if named in form.fields else None, f"{said} {step} (code : {code})")


class DomainErrors:
    """Middleware: a typed refusal that no view caught becomes its page, never a 500."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, REFUSALS):
            status = max(400, getattr(error, "status", 409))
            step = getattr(error, "next", _FIX)
            return problem(
                request,
                status=status,
                code=error.code,
                title="Demande refusée",
                message=getattr(error, "plain", "") or str(error),
                next=step,
            )
        if isinstance(error, FAILURES):
            title = "Service momentanément indisponible"
            return problem(request, status=503, code=error.code, title=title, message=str(error), next=_WAIT)
        return None


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """An expired session loses nothing: the page says so and how to go on."""
    return problem(
        request,
        status=403,
        code="web.session-expired",
        title="Votre session a expiré",
        message=(
            "Le formulaire n'a pas été envoyé : votre session a expiré ou la page "
            "était ouverte depuis longtemps."
        ),
        next=(
            "Ne rechargez pas : copiez d'abord ce que vous aviez écrit (bouton Précédent), reconnectez-vous "
            "dans un autre onglet, puis envoyez."
        ),
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: the request itself is malformed or too large."""
    return problem(
        request,
        status=400,
        code="web.bad-request",
        title="Demande illisible",
        message="Votre navigateur a envoyé une demande que la plateforme ne peut pas lire.",
        next="Revenez à la page précédente et recommencez.",
    )


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403 is only for what the visitor may see but not do now."""
    return problem(
        request,
        status=403,
        code="web.forbidden",
        title="Action non autorisée",
        message="Votre rôle ne permet pas cette action.",
        next="Demandez à une personne de votre organisation qui en a le rôle.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, also for what one may not see."""
    return problem(
        request,
        status=404,
        code="web.not-found",
        title="Page introuvable",
        message="Cette page n'existe pas, ou votre compte n'y donne pas accès.",
        next="Vérifiez l'adresse, connectez-vous avec le bon compte, ou revenez à l'accueil.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """500: a fault of ours; 503 when the database does not answer, or has no room. No query here."""
    if isinstance(sys.exception(), OperationalError | InterfaceError):
        context = {
            "title": "Base de données indisponible",
            "code": "platform.database",
            "contact": settings.CONTACT,
        }
        return render(request, "errors/500.html", context, status=503)
    return render(request, "errors/500.html", {"contact": settings.CONTACT}, status=500)
