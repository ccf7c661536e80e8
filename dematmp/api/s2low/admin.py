"""Accounts and authorities by the API: JSON, served as text as clients expect."""

from copy import copy

from cryptography import x509
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone

from dematmp.acts import administration, identity
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.rules import AUTHORITY_NATURES
from dematmp.acts.subscribers import ADMIN, GROUP, MODULES, ROLES, SUPER, Agent, Authority, AuthorityGroup
from dematmp.api.s2low import answers
from dematmp.api.s2low.connexion import authority_facts, permissions_of
from dematmp.api.s2low.door import Call, admin_refusal, door
from dematmp.api.s2low.forms import Form, integer

_CERTIFICATE_BYTES = 64 * 1024


def _text(value: object) -> HttpResponseBase:
    return answers.as_json(value, content_type=answers.ADMIN)


def _done(message: str, pk: int) -> HttpResponseBase:
    return _text({"status": "ok", "message": message, "id": str(pk)})


@door(admin_refusal)
def users(call: Call) -> HttpResponseBase:
    rows: QuerySet[Agent] = administration.agents_of(call.agent)
    form = call.form
    exact = {"authority": "authority_id", "role": "role", "group": "authority__group_id"}
    for name, column in exact.items():
        if form.get(name):
            rows = rows.filter(**{column: form.get(name)}) if _is_value(name, form) else rows.none()
    if form.get("name"):
        rows = rows.filter(name__icontains=form.get("name"))
    if form.get("status") in ("0", "1"):
        rows = rows.filter(active=form.get("status") == "1")
    found = list(rows.order_by("pk")[:1000])
    if form.get("certificat_status") in ("0", "1"):
        valid, now = form.get("certificat_status") == "1", timezone.now()
        found = [each for each in found if identity.is_in_force(each, now=now) == valid]
    return _text(
        [
            {
                "id": str(each.pk),
                "name": each.name,
                "givenname": each.given_name,
                "email": each.email,
                "role": each.role,
                "status": "1" if each.active else "0",
                "authority_id": str(each.authority_id),
                "authority_name": each.authority.name,
            }
            for each in found
        ]
    )


def _shown_to(call: Call, *roles: str) -> None:
    if call.agent.role not in roles:
        raise AccessRefused("Accès refusé.")


@door(admin_refusal)
def roles(call: Call) -> HttpResponseBase:
    _shown_to(call, SUPER, GROUP, ADMIN)
    return _text(ROLES)


@door(admin_refusal)
def modules(call: Call) -> HttpResponseBase:
    _shown_to(call, SUPER, GROUP, ADMIN)
    return _text([{"id": pk, "name": name, "status": "1"} for pk, name in MODULES.items()])


@door(admin_refusal)
def authority_types(call: Call) -> HttpResponseBase:
    _shown_to(call, SUPER, GROUP)
    return _text(AUTHORITY_NATURES)


@door(admin_refusal)
def groups(call: Call) -> HttpResponseBase:
    _shown_to(call, SUPER)
    rows = AuthorityGroup.objects.filter(name__icontains=call.form.get("name")).order_by("name")
    return _text(
        [{"id": str(each.pk), "name": each.name, "status": "1" if each.active else "0"} for each in rows]
    )


@door(admin_refusal)
def unknown(call: Call) -> HttpResponseBase:
    """What this administration does not do by the API: never the page of another one."""
    raise ActRefused("Cette fonction n'existe pas ici.")


def _is_value(name: str, form: Form) -> bool:
    return name == "role" or integer(form.get(name)) is not None


def _agent(call: Call, written: str) -> Agent:
    number = integer(written)
    found = administration.agents_of(call.agent).filter(pk=number).first() if number is not None else None
    if found is None:
        raise ActRefused("Utilisateur inconnu.")
    return found


@door(admin_refusal)
def user_detail(call: Call) -> HttpResponseBase:
    found = _agent(call, call.form.get("id"))
    others = Agent.objects.holding(found.fingerprint).exclude(pk=found.pk).values_list("pk", flat=True)
    der = bytes(found.certificate)
    subject = x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else ""
    return _text(
        {
            "id": str(found.pk),
            "name": found.name,
            "givenname": found.given_name,
            "login": found.login,
            "email": found.email,
            "telephone": found.telephone,
            "status": "1" if found.active else "0",
            "authority_id": str(found.authority_id),
            "authority_group_id": str(found.authority.group_id or ""),
            "role": found.role,
            "certificate": subject,
            "module": permissions_of(found),
            "other_id": [str(each) for each in others],
        }
    )


@door(admin_refusal)
def user_edit(call: Call) -> HttpResponseBase:
    """Create or change an account; `new_id` names the one whose certificate is shared."""
    form = call.form
    if "password2" in form.fields and form.get("password") != form.get("password2"):
        raise ActRefused("Les deux mots de passe ne sont pas égaux.")
    made = _agent(call, form.get("id")) if form.get("id") else Agent()
    created = made.pk is None
    wanted = form.get("authority_id") or str(made.authority_id or call.agent.authority_id)
    authority = Authority.objects.filter(pk=number).first() if (number := integer(wanted)) else None
    if authority is None:
        raise ActRefused("Collectivité inconnue.")
    role = form.get("role") or made.role
    administration.may_give(call.agent, role, authority)
    if not created:
        administration.may_give(call.agent, made.role, made.authority)
    group = form.get("authority_group_id")
    if role == GROUP and group and group != str(authority.group_id or ""):
        raise ActRefused(
            "Un administrateur de groupe est du groupe de sa collectivité : mettez-la d'abord dans ce groupe."
        )
    made.authority, made.role = authority, role
    for name, column in (("name", "name"), ("givenname", "given_name"), ("email", "email"),
                         ("telephone", "telephone"), ("login", "login")):  # fmt: skip
        if name in form.fields:
            setattr(made, column, form.get(name))
    if form.get("status") in ("0", "1"):
        made.active = form.get("status") == "1"
    given = {each: form.get(f"perm_{each}") for each in MODULES if form.get(f"perm_{each}")}
    administration.give_permissions(made, given)
    certificate = _certificate(form)
    if form.get("new_id"):
        shared = _agent(call, form.get("new_id"))
        if not made.login or not form.get("password"):
            raise ActRefused("Un certificat partagé demande un identifiant et un mot de passe.")
        certificate = x509.load_der_x509_certificate(bytes(shared.certificate))
    administration.may_hold(call.agent, made, certificate)
    administration.save_agent(
        made,
        password=form.get("password"),
        certificate=certificate,
        by=str(call.agent),
        now=timezone.now(),
    )
    return _done("Utilisateur créé." if created else "Utilisateur modifié.", made.pk)


def _certificate(form: Form) -> x509.Certificate | None:
    files = form.uploads("certificate")
    if not files:
        return None
    data = files[0].stream.read(_CERTIFICATE_BYTES)
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as broken:
        raise ActRefused("Le certificat n'est pas lisible : PEM ou DER attendu.") from broken


@door(admin_refusal)
def authorities(call: Call) -> HttpResponseBase:
    if call.agent.role not in (SUPER, GROUP, ADMIN):
        raise AccessRefused("Accès refusé.")
    rows = Authority.objects.filter(pk__in=administration.authorities_of(call.agent)).order_by("pk")
    form = call.form
    for name, column in (("type", "nature"), ("siren", "siren")):
        if form.get(name):
            rows = rows.filter(**{column: form.get(name)})
    if form.get("name"):
        rows = rows.filter(name__icontains=form.get("name"))
    if (group := integer(form.get("group"))) is not None:
        rows = rows.filter(group_id=group)
    return _text([authority_facts(each) for each in rows[:1000]])


def _authority(call: Call, written: str) -> Authority:
    allowed = administration.authorities_of(call.agent)
    number = integer(written)
    found = Authority.objects.filter(pk=number, pk__in=allowed).first() if number is not None else None
    if found is None or call.agent.role not in (SUPER, GROUP, ADMIN):
        raise ActRefused("Collectivité inconnue.")
    return found


@door(admin_refusal)
def authority_detail(call: Call) -> HttpResponseBase:
    return _text(authority_facts(_authority(call, call.form.get("id"))))


@door(admin_refusal)
def authority_edit(call: Call) -> HttpResponseBase:
    form = call.form
    created = not form.get("id")
    if created and call.agent.role not in (SUPER, GROUP):
        raise AccessRefused("Accès refusé.")
    made = Authority() if created else _authority(call, form.get("id"))
    if created and call.agent.role == GROUP:
        made.group_id = call.agent.authority.group_id
    before = copy(made)
    columns = {"name": "name", "siren": "siren", "department": "department", "district": "district",
               "authority_type_id": "nature", "email": "email", "address": "address",
               "postal_code": "postal_code", "city": "city", "telephone": "telephone"}  # fmt: skip
    for name, column in columns.items():
        if name in form.fields:
            setattr(made, column, form.get(name))
    if form.get("status") in ("0", "1"):
        made.active = form.get("status") == "1"
    group = integer(form.get("authority_group_id"))
    if group is not None and call.agent.role == SUPER:
        made.group_id = group
    administration.may_identify(call.agent, before, made)
    administration.save_authority(made, by=str(call.agent), now=timezone.now())
    return _done("Collectivité créée." if created else "Collectivité modifiée.", made.pk)
