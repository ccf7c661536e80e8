"""Is it open, who am I, which logins share my certificate, a nounce for a browser."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from dematmp.acts import identity
from dematmp.acts.errors import AccessRefused
from dematmp.acts.latin1 import encode
from dematmp.acts.subscribers import MODULES, ROLES, Agent, Authority
from dematmp.api.s2low import answers
from dematmp.api.s2low.door import (
    Call,
    Raw,
    agent_of,
    basic_of,
    certificate_of,
    door,
    json_refusal,
    open_session,
    password_bytes,
)
from dematmp.api.s2low.forms import read_form, read_query


def _open(view: Raw) -> Raw:
    """Endpoints that say themselves who may enter."""
    from django.views.decorators.csrf import csrf_exempt

    view.entry = "certificate"  # type: ignore[attr-defined]
    return csrf_exempt(view)


@door()
def test_connexion(call: Call) -> HttpResponseBase:
    return answers.text(b"OK")


@door()
def test_rgs(call: Call) -> HttpResponseBase:
    return answers.text(b"OK" if call.rgs else b"KO")


@door()
def home(call: Call) -> HttpResponseBase:
    """Where clients of before look whether the module is there."""
    return answers.text(b"OK")


@door()
def unknown(call: Call) -> HttpResponseBase:
    """Another address of the module: told as text, which clients log."""
    return answers.missing("Cette fonction n'existe pas ici.")


@door(json_refusal)
def info_connexion(call: Call) -> HttpResponseBase:
    return answers.as_json(
        {"user_info": _user(call.agent), "authority_info": authority_facts(call.agent.authority)}
    )


def _user(agent: Agent) -> dict[str, object]:
    shared = Agent.objects.active().holding(agent.fingerprint).count()
    return {
        "id": str(agent.pk),
        "name": agent.name,
        "givenname": agent.given_name,
        "email": agent.email,
        "telephone": agent.telephone,
        "login": agent.login,
        "role": agent.role,
        "status": "1" if agent.active else "0",
        "authority_id": str(agent.authority_id),
        "authority_group_id": _group(agent.authority),
        "certificate_hash": agent.fingerprint,
        "pretty_name": str(agent),
        "role_str": ROLES[agent.role],
        "nb_user_with_my_certificate": shared,
    }


def _group(authority: Authority) -> str:
    return "" if authority.group_id is None else str(authority.group_id)


def authority_facts(authority: Authority) -> dict[str, object]:
    """An authority as the API tells it."""
    return {
        "id": str(authority.pk),
        "authority_type_id": authority.nature,
        "status": "1" if authority.active else "0",
        "name": authority.name,
        "siren": authority.siren,
        "email": authority.email,
        "address": authority.address,
        "postal_code": authority.postal_code,
        "city": authority.city,
        "telephone": authority.telephone,
        "department": authority.department,
        "district": authority.district,
        "authority_group_id": _group(authority),
    }


def permissions_of(agent: Agent) -> dict[str, str]:
    """Module → permission; the acts are module 1."""
    return dict.fromkeys(MODULES, "NONE") | dict(agent.other_permissions) | {"1": agent.permission}


@_open
def get_nounce(request: HttpRequest) -> HttpResponseBase:
    """The password is known here only, from Basic: what is expected back is computed now."""
    login, _ = basic_of(request)
    try:
        if not login:
            raise AccessRefused("Un identifiant et un mot de passe sont nécessaires.")
        agent = agent_of(request, read_query(request))
        if not agent.login:
            raise AccessRefused("Ce compte n'a pas d'identifiant : un jeton ne servirait à rien.")
    except AccessRefused as refused:
        answer = answers.as_json({"status": "error", "error-message": str(refused)}, status=401)
        answer["WWW-Authenticate"] = 'Basic realm="API S2low"'
        return answer
    value = identity.issue_nounce(agent, password_bytes(request), now=timezone.now())
    return answers.as_json({"nounce": value})


@_open
def list_login(request: HttpRequest) -> HttpResponseBase:
    """One login per line, a bare line end for an account without login, nothing for who is unknown."""
    certificate = certificate_of(request)
    accounts = identity.holders(certificate) if certificate is not None else []
    return answers.text(b"".join(encode(each.login) + b"\n" for each in accounts))


@_open
def login(request: HttpRequest) -> HttpResponseBase:
    """The form of login: the account is then remembered for this certificate, an hour."""
    try:
        with read_form(request) as form:
            given = identity.Credentials(
                certificate=certificate_of(request), login=form.get("login"), password=form.get("password")
            )
            agent = identity.identify(given, now=timezone.now())
    except AccessRefused as refused:
        return answers.ko(refused)
    answer = answers.ok()
    open_session(answer, agent)
    return answer
