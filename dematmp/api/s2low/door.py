"""Who may enter: a certificate that the front verified, then an account of the service."""

import base64
import binascii
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from urllib.parse import unquote

from cryptography import x509
from django.conf import settings
from django.core import signing
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from dematmp.acts import identity
from dematmp.acts.errors import ActError
from dematmp.acts.latin1 import decode
from dematmp.acts.rgs import is_rgs
from dematmp.acts.subscribers import Agent
from dematmp.api.s2low import answers
from dematmp.api.s2low.forms import Form, read_form, read_query
from storage.errors import StorageError

log = logging.getLogger(__name__)
COOKIE = "PHPSESSID"  # the name that clients look for in the answer of login.php
_SESSION = 3600  # seconds
_SECRET, _CERTIFICATE, _VERDICT = "HTTP_X_FRONT_SECRET", "HTTP_X_CLIENT_CERT", "HTTP_X_CLIENT_VERIFY"


@dataclass(frozen=True)
class Call:
    """One request: who speaks, with which certificate, and what they sent."""

    request: HttpRequest
    form: Form
    agent: Agent
    certificate: x509.Certificate | None

    def asked(self, name: str, default: str = "") -> str:
        """A field of a read: the query's first. Some clients post again the body of their last command."""
        return read_query(self.request).get(name) or self.form.get(name, default)

    @property
    def is_api(self) -> bool:
        """Whether a program speaks: `api=1` in the query or the body."""
        return self.form.get("api") not in ("", "0")

    @property
    def rgs(self) -> bool:
        return is_rgs(self.certificate, now=timezone.now())


View = Callable[[Call], HttpResponseBase]
Raw = Callable[..., HttpResponseBase]
Refusal = Callable[[HttpRequest, Form | None, Exception], HttpResponseBase]


def certificate_of(request: HttpRequest) -> x509.Certificate | None:
    """The client's certificate, believed only from a front that proves itself by a secret."""
    secret = settings.ACTES["front_secret"]
    given = str(request.META.get(_SECRET, ""))
    if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
        return None
    if request.META.get(_VERDICT) != "SUCCESS":
        return None
    try:
        return x509.load_pem_x509_certificate(unquote(str(request.META.get(_CERTIFICATE, ""))).encode())
    except ValueError:
        return None


def basic_of(request: HttpRequest) -> tuple[str, str]:
    """Login and password of HTTP Basic, in UTF-8 or ISO-8859-1; empty when there is none."""
    login, _, password = decode(_basic(request)).partition(":")
    return login, password


def password_bytes(request: HttpRequest) -> bytes:
    """The password of HTTP Basic in the client's own encoding, of which it will compute a digest."""
    return _basic(request).partition(b":")[2]


def _basic(request: HttpRequest) -> bytes:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return b""


def credentials(request: HttpRequest, form: Form) -> identity.Credentials:
    """What a request brings to be known by."""
    certificate = certificate_of(request)
    login, password = basic_of(request)
    if form.get("nounce") and not login:  # who says both is known by the password
        return identity.Credentials(
            certificate=certificate,
            login=form.get("login"),
            nounce=form.get("nounce"),
            digest=form.get("hash"),
        )
    return identity.Credentials(certificate=certificate, login=login, password=password)


def agent_of(request: HttpRequest, form: Form) -> Agent:
    """The account that speaks. Raises AccessRefused."""
    given = credentials(request, form)
    if not given.login and not given.nounce:
        known = _session(request, given.certificate)
        if known is not None:
            return known
    return identity.identify(given, now=timezone.now())


def _session(request: HttpRequest, certificate: x509.Certificate | None) -> Agent | None:
    """The account chosen by the form of login, for the same certificate only."""
    if certificate is None or COOKIE not in request.COOKIES:
        return None
    try:
        chosen = int(str(request.get_signed_cookie(COOKIE, salt=COOKIE, max_age=_SESSION)))
    except (signing.BadSignature, ValueError):
        return None
    return next((each for each in identity.holders(certificate) if each.pk == chosen), None)


def open_session(answer: HttpResponseBase, agent: Agent) -> None:
    answer.set_signed_cookie(
        COOKIE, str(agent.pk), salt=COOKIE, max_age=_SESSION, secure=True, httponly=True, samesite="Strict"
    )


def text_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    return answers.ko(error)


def plain_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    """The endpoints that read back print their refusals without escaping them."""
    return answers.plain_ko(error)


def download_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    """302 to the root, as clients expect; a POST is never redirected: some would wait for its body."""
    return answers.away() if request.method != "POST" else answers.ko(error)


def json_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    return answers.as_json({"status": "error", "error-message": str(error)})


def admin_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    """The administration's endpoints serve JSON as plain text, refusals included."""
    return answers.as_json({"status": "error", "error-message": str(error)}, content_type=answers.ADMIN)


def archive_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    return answers.as_json({"error": str(error)}, status=400)


def door(refusal: Refusal = text_refusal) -> Callable[[View], Raw]:
    """Known accounts only; every refusal, and our own faults, are answered in the endpoint's own way."""

    def decorate(view: View) -> Raw:
        @wraps(view)
        def entered(request: HttpRequest) -> HttpResponseBase:
            form: Form | None = None
            try:
                # Who speaks first: nobody unknown makes this server read a body.
                query = read_query(request)
                agent = agent_of(request, query)
                with read_form(request) as form:
                    return view(Call(request, form, agent, certificate_of(request)))
            except (ActError, StorageError, OSError) as refused:
                return refusal(request, form, _said(refused))
            except (Http404, PermissionDenied, SuspiciousOperation):
                raise  # Django's own answers
            except Exception:
                # Clients read KO and its reason; a page of error 500 is a failure of the network to them.
                log.exception("télétransmission : %s", request.path)
                return refusal(request, form, ActError("Erreur interne du service : réessayez plus tard."))

        entered.entry = "certificate"  # type: ignore[attr-defined]
        return csrf_exempt(entered)

    return decorate


def _said(error: Exception) -> Exception:
    if isinstance(error, OSError):
        return ActError("La demande n'a pas été reçue en entier.")
    return error
