"""Reading back: the state of a transaction, its files, its archive, its receipt, the prefecture's letters."""

import re
from datetime import date

from django.http.response import HttpResponseBase
from django.utils import timezone

from dematmp.acts import bordereau, stamp, statuses, windows
from dematmp.acts.arrivals import ARCHIVE_TYPE
from dematmp.acts.errors import ActRefused
from dematmp.acts.latin1 import to_latin1
from dematmp.acts.subscribers import Agent
from dematmp.acts.transactions import ACT, CANCELLATION, IncludedFile, Transaction
from dematmp.api.s2low import answers
from dematmp.api.s2low.door import Call, door, download_refusal, plain_refusal
from dematmp.api.s2low.forms import integer
from dematmp.api.s2low.posts import found_by
from storage.stores import object_store

NOT_YET = "Pas d'acquittement recu"
_DOWNLOAD = "/modules/actes/actes_download_file.php"
_LETTERS = frozenset("2345")


def _asked(call: Call, name: str) -> Transaction:
    """By its number or by the act's unique identifier. Raises ActRefused, AccessRefused."""
    if not call.asked(name) and call.asked("unique_id"):
        return _by_unique_id(call.agent, call.asked("unique_id"))
    return found_by(call.agent, call.asked(name))


def _by_unique_id(agent: Agent, written: str) -> Transaction:
    rows = Transaction.objects.seen_by(agent).select_related("authority", "agent", "related")
    found = rows.filter(unique_id=written, type=ACT).order_by("-holds_number", "-pk").first()
    if found is None:
        raise ActRefused("Numéro de transaction invalide.")
    return found


@door(plain_refusal)
def status(call: Call) -> HttpResponseBase:
    """`OK`, the state, then the XML that came with it; for an error, its reason glued after the XML."""
    found = _asked(call, "transaction")
    last = found.last_step(found.status)
    body = f"OK\n{found.status}\n".encode()
    if last is not None and last.flux is not None and found.status in (
        statuses.ACKNOWLEDGED, statuses.CANCELLED, statuses.ERROR
    ):  # fmt: skip
        body += bytes(last.flux)
    if found.status == statuses.ERROR and last is not None:
        body += _ascii(last.message)  # shown as raw bytes by some clients, as ISO-8859-1 by others
    answer = answers.text(body)
    opens = windows.awaited(found.pk, now=timezone.now()) if found.status == statuses.WAITING else None
    if opens is not None:  # beside the body, of which clients read every line
        answer["X-Reprise-Envoi"] = timezone.localtime(opens).isoformat(timespec="seconds")
    return answer


def _ascii(message: str) -> bytes:
    import unicodedata

    plain = unicodedata.normalize("NFKD", to_latin1(message).replace("«", '"').replace("»", '"'))
    return plain.encode("ascii", errors="ignore")


@door(plain_refusal)
def document(call: Call) -> HttpResponseBase:
    """For an act, a line for each letter about it; for anything else, where its archive is."""
    if call.asked("unique_id") and not call.asked("id"):
        found = _by_unique_id(call.agent, call.asked("unique_id"))
    else:
        found = found_by(call.agent, call.asked("id"))
    if found.type == ACT:
        return answers.text("".join(_lines(found)).encode("ascii"))
    if call.request.method == "POST":
        return _archive(found)  # a POST is never redirected
    return answers.away(f"{_DOWNLOAD}?env={found.pk}")


def _lines(act: Transaction) -> list[str]:
    lines = []
    for each in act.follow_ups.order_by("pk"):
        shown = each
        if each.type in _LETTERS:
            answer = each.follow_ups.exclude(reply="").exclude(status=statuses.ERROR).order_by("-pk").first()
            shown = answer or each
        elif each.type != CANCELLATION or each.status not in statuses.IN_FLIGHT:
            continue
        if shown.status >= 0:
            lines.append(f"{shown.type}-{shown.status}-{shown.pk}\n")
    return lines


@door(plain_refusal)
def files_list(call: Call) -> HttpResponseBase:
    if call.asked("unique_id") and not call.asked("transaction"):
        found = _by_unique_id(call.agent, call.asked("unique_id"))
    else:
        found = found_by(call.agent, call.asked("transaction"))
    _answered(found)
    rows = found.files.exclude(media_type=ARCHIVE_TYPE).order_by("rank")
    return answers.as_json([_file(each) for each in rows])


def _answered(found: Transaction) -> None:
    """Raises ActRefused until the transaction was in a state beyond the sending."""
    if not found.steps.exclude(status__in=statuses.NOT_ANSWERED).exists():
        raise ActRefused(NOT_YET)


def _file(each: IncludedFile) -> dict[str, str]:
    return {
        "id": str(each.pk),
        "name": each.name,
        "posted_filename": each.posted_name,
        "mimetype": each.media_type,
        "size": str(each.size),
        "sign": each.signature,
        "code_pj": each.typology,
    }


@door(download_refusal)
def download(call: Call) -> HttpResponseBase:
    """One file, stamped when asked, or the archive of an envelope."""
    if call.asked("env"):
        return _archive(found_by(call.agent, call.asked("env")))
    written = call.asked("file")
    rows = IncludedFile.objects.select_related("transaction__authority")
    number = integer(written)
    found = rows.filter(pk=number).first() if number is not None else None
    if found is None:
        raise ActRefused("Ce fichier n'existe pas.")
    about = found_by(call.agent, str(found.transaction_id))
    wanted = call.asked("tampon").lower() not in ("", "0", "false")
    if wanted and found.media_type == "application/pdf":
        if about.last_step(statuses.ACKNOWLEDGED) is None:
            raise ActRefused(NOT_YET)
        data = stamp.stamped(found, published=_day(call.asked("date_affichage")))
        return answers.data(data, name=found.posted_name, content_type=found.media_type)
    if found.rank == 0:
        message = bytes(about.message or b"")
        return answers.data(message, name=found.name, content_type="text/xml")
    blocks = object_store().open(found.key)
    return answers.file(blocks, name=found.posted_name, size=found.size, content_type=found.media_type)


def _day(written: str) -> date | None:
    """The day of publication to be stamped; what is no date leaves its place empty, as it does for others."""
    parts = re.split(r"[-/]", written)
    try:
        return date(*map(int, parts if "-" in written else reversed(parts)))
    except (ValueError, TypeError):
        return None


def _archive(found: Transaction) -> HttpResponseBase:
    """What was sent; for a letter, everything that came with it."""
    came = found.files.filter(media_type=ARCHIVE_TYPE).first()
    key, size = (came.key, came.size) if came else (found.archive_key, found.archive_size)
    if not key:
        raise ActRefused("Enveloppe invalide.")
    name = key.rsplit("/", 1)[-1]
    return answers.file(object_store().open(key), name=name, size=size, content_type=ARCHIVE_TYPE)


@door(plain_refusal)
def tampon(call: Call) -> HttpResponseBase:
    found = found_by(call.agent, call.asked("transaction"))
    main = found.files.filter(rank=1).first()
    if found.last_step(statuses.ACKNOWLEDGED) is None or main is None:
        raise ActRefused(NOT_YET)
    if call.request.method == "POST":
        data = stamp.stamped(main, published=None)
        return answers.data(data, name=main.posted_name, content_type=main.media_type)
    return answers.away(f"{_DOWNLOAD}?file={main.pk}&tampon=true")


@door(download_refusal)
def bordereau_pdf(call: Call) -> HttpResponseBase:
    found = found_by(call.agent, call.asked("trans_id"))
    data = bordereau.render_bordereau(found)
    return answers.data(data, name="bordereau_acquittement.pdf", content_type="application/pdf")


@door(plain_refusal)
def receipt(call: Call) -> HttpResponseBase:
    """The ARActe, byte for byte."""
    found = _asked(call, "id")
    if found.type != ACT:
        raise ActRefused("Cette transaction n'est pas celle d'un acte.")
    step = found.last_step(statuses.ACKNOWLEDGED)
    if step is None or step.flux is None:
        raise ActRefused(NOT_YET)
    answer = answers.text(bytes(step.flux))
    answer["Content-Type"] = "application/xml"
    return answer
