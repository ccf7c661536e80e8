"""Commands: post, confirm, cancel, answer, close, ask for the classification."""

import base64
import re
from urllib.parse import quote

from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from dematmp.acts import fields, follow_ups, posting, statuses, versions
from dematmp.acts.errors import AccessRefused, ActError, ActRefused
from dematmp.acts.fields import Piece, Posting, Upload
from dematmp.acts.imports import import_archive
from dematmp.acts.subscribers import Agent
from dematmp.acts.transactions import Transaction, today_serial
from dematmp.api.s2low import answers
from dematmp.api.s2low.door import Call, certificate_of, door
from dematmp.api.s2low.forms import Form, read_query, slots

_ID = re.compile(r"[0-9]{1,15}")
_EMAIL = re.compile(r"[^@\s<>,;]{1,64}@[^@\s<>,;]{1,180}")
_ADDRESS = re.compile(r"https?://[^\x00-\x20\x7f-\x9f]*")  # no header bears a line end
_LEVELS = range(1, 6)
_SIGNATURE_BYTES = 256 * 1024
_PEM = re.compile(rb"-----BEGIN [^-]+-----(.*?)(?:-----END|\Z)", re.DOTALL)


def found_by(agent: Agent, written: str, *, missing: str = "Numéro de transaction invalide.") -> Transaction:
    """A transaction that this account may see. Raises ActRefused, AccessRefused."""
    if _ID.fullmatch(written) is None:
        raise ActRefused(missing)
    known = (
        Transaction.objects.select_related("authority", "agent", "related").filter(pk=int(written)).first()
    )
    if known is None:
        raise ActRefused(missing)
    if not Transaction.objects.seen_by(agent).filter(pk=known.pk).exists():
        raise AccessRefused(posting.DENIED)
    return known


@door()
def create(call: Call) -> HttpResponseBase:
    form = call.form
    if form.empty or call.is_api:  # an empty POST says nothing of a program: it is refused all the same
        fields.check_sizes(form.total, form.count, empty=form.empty)
    if not call.is_api:
        return answers.away()
    made = posting.post_act(call.agent, _posting(form), rgs=call.rgs, now=timezone.now())
    return answers.ok(made.pk, "")


def _posting(form: Form) -> Posting:
    codes, wrong = [], []
    for level in _LEVELS:
        written = form.get(f"classif{level}")
        if not written or (level > 2 and written == "0"):
            if level <= 2:
                wrong.append(f"classif{level}")
            continue
        if re.fullmatch(r"[0-9]{1,4}", written) is None:
            wrong.append(f"classif{level}")
            continue
        codes.append(int(written))
    return Posting(
        nature=form.get("nature_code"),
        codes=tuple(codes),
        number=form.get("number"),
        decided=form.get("decision_date"),
        subject=form.get("subject"),
        main=_main(form),
        annexes=_annexes(form),
        waiting=form.get("en_attente") not in ("", "0"),
        paper=form.get("document_papier") not in ("", "0"),
        broadcast=_broadcast(form),
        send_sources=form.get("send_sources") not in ("", "0"),
        not_integers=tuple(wrong),
    )


def _main(form: Form) -> Piece | None:
    files, signed = form.uploads("acte_pdf_file"), form.uploads("acte_pdf_file_sign")
    if not files:
        return None
    return Piece(files[0], form.get("type_acte"), _signature(signed[0]) if signed else "")


def _broadcast(form: Form) -> tuple[str, ...]:
    """Whom to tell too: clients post addresses that were typed, then left unchecked."""
    if form.get("show_broadcast_email") != "on":
        return ()
    return tuple(each for each in form.all("broadcast_email") if _EMAIL.fullmatch(each))[:50]


def _annexes(form: Form) -> tuple[Piece, ...]:
    """Each file with what stands at the same place; a place may be empty."""
    typologies = slots(form.fields, "type_pj")
    signed = slots(form.files, "acte_attachments_sign")
    return tuple(
        Piece(
            each,
            typologies.get(rank, "").strip(),
            _signature(signed[rank]) if rank in signed else "",
        )
        for rank, each in sorted(slots(form.files, "acte_attachments").items())
        if each.name or each.size
    )


def _signature(upload: Upload) -> str:
    """A detached PKCS#7 as base64, from DER or PEM. Raises ActRefused."""
    if upload.size > _SIGNATURE_BYTES:
        raise ActRefused(f"La signature {upload.name} est trop grosse.")
    data = upload.stream.read(_SIGNATURE_BYTES)
    if found := _PEM.search(data):
        return b"".join(found[1].split()).decode("ascii", errors="replace")
    return base64.b64encode(data).decode()


@door()
def cancel(call: Call) -> HttpResponseBase:
    if not call.is_api:
        return answers.away()
    if not call.form.get("id") or call.request.method != "POST":  # a link cancels nothing
        raise ActRefused("Aucune transaction n'a été spécifiée.")
    act = found_by(call.agent, call.form.get("id"))
    made = follow_ups.cancel(act, by=call.agent, now=timezone.now())
    return answers.ok(made.pk, "")


@door()
def reply(call: Call) -> HttpResponseBase:
    form = call.form
    if not call.is_api:
        return answers.away()
    fields.check_sizes(form.total, form.count, empty=form.empty)
    letter = found_by(call.agent, form.get("id"))
    main = _main(form)
    pieces = [main, *_annexes(form)] if main else []
    made = follow_ups.reply(
        letter, pieces, choice=form.get("type_envoie"), by=call.agent, rgs=call.rgs, now=timezone.now()
    )
    if read_query(call.request).get("api") not in ("", "0"):
        return answers.text(f"OK : id généré : {made.pk}".encode("latin-1"))
    return answers.ok(made.pk, "")


@door()
def classification_fetch(call: Call) -> HttpResponseBase:
    """The same bytes until a new version comes: clients compare them one by one."""
    if not call.agent.may_read:
        raise AccessRefused(posting.DENIED)
    data = versions.held(call.agent.authority).rstrip(b"\r\n") + b"\r\n"
    answer = answers.text(data)
    answer["Content-Type"] = "text/xml;charset=iso-8859-1"
    return answer


@door()
def classification_request(call: Call) -> HttpResponseBase:
    made = follow_ups.request_classification(call.agent, now=timezone.now())
    return answers.ok(made.pk)


def _closable(agent: Agent, written: str) -> Transaction:
    """What this account sees, or what awaits a confirmation that it may give.

    Raises ActRefused, AccessRefused.
    """
    if agent.may_transmit and _ID.fullmatch(written):
        rows = Transaction.objects.select_related("authority", "agent").filter(authority=agent.authority)
        waiting = rows.filter(pk=int(written), status=statuses.UNCONFIRMED).first()
        if waiting is not None:
            return waiting
    return found_by(agent, written)


@door()
def close(call: Call) -> HttpResponseBase:
    if not call.is_api:
        return answers.away()
    asked = {"valid": statuses.VALID, "invalid": statuses.REFUSED, "sae": statuses.TO_ARCHIVE}
    status = asked.get(call.form.get("status"))
    if status is None:
        raise ActRefused("L'état demandé est inconnu : valid, invalid ou sae.")
    wanted = call.form.all("liste_id") or call.form.all("id")
    if not wanted:
        raise ActRefused("Aucune transaction n'a été spécifiée.")
    with transaction.atomic():
        for each in wanted:
            follow_ups.close(_closable(call.agent, each), status, by=call.agent, now=timezone.now())
    return answers.ok()


@door()
def env_serial(call: Call) -> HttpResponseBase:
    if not call.agent.may_deposit:
        raise AccessRefused(posting.DENIED)
    with transaction.atomic():
        serial = today_serial(call.agent.authority, posting.today(timezone.now()))
    return answers.ok(serial)


@door()
def archive_url(call: Call) -> HttpResponseBase:
    """Of old clients: a refusal that they read, where an address that is not served would be a failure."""
    raise ActRefused("L'adresse d'archivage ne se pose plus : voyez actes_sae_status.php.")


@door()
def submit(call: Call) -> HttpResponseBase:
    """A ready-made archive of one act."""
    form = call.form
    fields.check_sizes(form.total, 1, empty=form.empty)
    files = form.uploads("enveloppe")
    if not files:
        raise ActRefused("Aucune enveloppe n'a été postée.")
    made = import_archive(call.agent, files[0], rgs=call.rgs, now=timezone.now())
    return answers.ok(1, made.pk)


def _waiting(agent: Agent, written: str) -> Transaction:
    """What another account of the same authority deposited may be confirmed. Raises ActRefused."""
    rows = Transaction.objects.select_related("authority", "agent").filter(authority=agent.authority)
    found = rows.filter(pk=int(written)).first() if _ID.fullmatch(written) else None
    if found is None:
        raise ActRefused("Numéro de transaction invalide.")
    return found


def _back(form: Form, error: Exception | None) -> HttpResponseBase:
    """Go back where the client said, with the outcome in its address."""
    back = form.get("url_return")
    if _ADDRESS.fullmatch(back) is None:
        return answers.ok() if error is None else answers.ko(error)
    message = "La transaction a été postée." if error is None else str(error)
    # The message is read undecoded by some: percent-encoded UTF-8, as addresses are.
    back = back.replace("%%ERROR%%", "1" if error else "0").replace("%%MESSAGE%%", quote(message))
    return answers.away(back)


def back_refusal(request: HttpRequest, form: Form | None, error: Exception) -> HttpResponseBase:
    """Who was not recognised is in a browser too: it goes back, and the client learns of it."""
    if certificate_of(request) is None:  # anybody could make this address send people anywhere
        return answers.ko(error)
    return _back(read_query(request), error)


def _confirm(call: Call, wanted: list[str], *, skip: bool) -> HttpResponseBase:
    error: ActError | None = None
    back = call.form.get("url_return")
    if re.match("https?://", back) and _ADDRESS.fullmatch(back) is None:  # before anything is done
        raise ActRefused("L'adresse de retour porte des caractères qu'une adresse ne porte pas.")
    try:
        if not wanted:
            raise ActRefused("Aucune transaction n'a été spécifiée.")
        for each in wanted:
            try:
                made = _waiting(call.agent, each)
                posting.confirm(made, by=call.agent, rgs=call.rgs, now=timezone.now())
            except ActError:
                if not skip:
                    raise
    except ActError as refused:
        error = refused
    return _back(call.form, error)


@door(back_refusal)
def confirm(call: Call) -> HttpResponseBase:
    return _confirm(call, [each for each in [call.form.get("id")] if each], skip=False)


@door(back_refusal)
def confirm_many(call: Call) -> HttpResponseBase:
    return _confirm(call, call.form.all("id"), skip=True)
