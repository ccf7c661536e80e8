"""After the acknowledgement, from the buyer's side: the prefecture's letters, a cancellation, a reply."""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q, QuerySet

from dematmp.accounts.models import Organisation
from dematmp.acts import messages as m
from dematmp.acts import names, statuses
from dematmp.acts.classification import parsed
from dematmp.acts.errors import ActError, ActRefused, AnswerLost, GatewayUnavailable, MessageRefused
from dematmp.acts.fields import Piece
from dematmp.acts.models import Act, ActIncident, OperatorAccount, PrefectureLetter, Transmission
from dematmp.acts.operators import Operator
from dematmp.acts.package import blocks_of, members
from dematmp.acts.reading import names_act, read
from dematmp.acts.remote import Letter, Remote, Status, client_context
from dematmp.acts.rules import LETTERS
from dematmp.acts.services import reach
from dematmp.acts.sound import check_early
from dematmp.acts.telling import tell_failed, tell_letter, tell_reply
from dematmp.acts.transactions import Transaction
from dematmp.acts.xmlio import MESSAGE_BYTES
from dematmp.audit.keys import wrap
from dematmp.audit.services import append
from dematmp.consultations.models import SERVED
from storage.antivirus import scan
from storage.errors import AntivirusUnavailable, ScanFailed, StorageError
from storage.stores import object_store

# The prefect has two months from the receipt (L2131-6), that a request or an observation may extend.
FOLLOWED = timedelta(days=180)
# An answer that is only posted may still be refused by the checks, and another one sent.
_LEFT = (statuses.SENT, statuses.ACKNOWLEDGED)
EVERY, SOON = timedelta(hours=1), timedelta(minutes=5)  # SOON: while a cancellation awaits its receipt
LATELY = timedelta(days=7)  # a reply that failed is known by then
UNCERTAIN = timedelta(minutes=30)  # after which what nobody knows the end of may be made again


def to_read(now: datetime) -> "QuerySet[Act]":
    """Acknowledged acts about which the prefecture may write, not read lately."""
    due = Q(transmission__due_at=None) | Q(transmission__due_at__lte=now)
    return Act.objects.filter(due, transmission__acknowledged_at__gte=now - FOLLOWED).order_by(
        models.F("transmission__due_at").asc(nulls_first=True), "pk"
    )[:200]


def read_letters(act_id: int, operator: Operator, *, now: datetime) -> None:
    """Keep the letters that this act has at the operator, and learn whether it was cancelled.

    May run twice. Raises GatewayUnavailable, GatewayRefused, MessageRefused.
    """
    act = Act.objects.select_related("buyer", "authority", "transmission").get(pk=act_id)
    sent = act.transmission
    if sent.remote_id is None or sent.acknowledged_at is None:
        return
    # This very service costs nothing to read: those read the longest ago come first.
    asked = sent.cancellation_asked_at
    wait = SOON if asked and sent.cancelled_at is None and now - asked < LATELY else EVERY
    Transmission.objects.filter(pk=sent.pk).update(due_at=now + wait if operator.is_remote else now)
    found = same_act(act, operator)
    if found.code == statuses.ERROR and sent.status != statuses.ERROR:
        reach(sent, statuses.ERROR, detail=_reason(found), now=now)
    _not_gone(act, operator, now)
    failed: ActError | None = None  # one letter that is not given keeps back neither the others nor an end
    for each in operator.letters(sent.remote_id):
        known = act.letters.filter(Q(remote_id=each.transaction) | Q(reply_id=each.transaction))
        if known.exists():
            continue
        try:
            _keep(act, each, operator, now)
        except ActError as refused:
            failed = failed or refused
    if not operator.is_remote:
        _answered_elsewhere(act, now)
    # A cancellation may have been asked by other software, or by a call whose answer was lost.
    if sent.cancelled_at is None and found.code == statuses.CANCELLED:
        _cancelled(sent, now)
    if failed is not None:
        raise failed


def same_act(act: Act, operator: Operator) -> Status:
    """Where the act is at the operator, whose number was proved to be this act's.

    Raises MessageRefused for another act's: nothing is then read, asked or answered there.
    """
    number = Transmission.objects.get(act=act).remote_id or 0
    found = operator.status(number)
    data = found.detail if found.code in (statuses.ACKNOWLEDGED, statuses.CANCELLED) else b""
    said = read(data or operator.receipt(number))
    if isinstance(said, m.CancellationReceipt) and not said.identifier:
        said = read(operator.receipt(number))
    proved = said.identifier == act.identifier if isinstance(said, m.CancellationReceipt) else (
        isinstance(said, m.ActReceipt) and names_act(said, act.identifier)
    )  # fmt: skip
    if not proved:
        raise MessageRefused(
            f"La transaction {number} de l'opérateur n'est pas l'acte {act.identifier} : rien n'a été fait."
        )
    return found


def _not_gone(act: Act, operator: Operator, now: datetime) -> None:
    """Replies and cancellations that were taken, then failed: said, and may be made again."""
    for letter in act.letters.filter(reply_id__isnull=False, replied_at__gte=now - LATELY):
        found = operator.status(letter.reply_id or 0)
        if found.code == statuses.ERROR:
            _undone(act, letter, _reason(found), now=now)
    sent = act.transmission
    if sent.cancellation_id is not None and sent.cancelled_at is None:
        found = operator.status(sent.cancellation_id)
        if found.code == statuses.ERROR:
            reason = _reason(found)
            said = f"La demande d'annulation n'a pas abouti : {reason}"
            with transaction.atomic():
                rows = Transmission.objects.filter(pk=sent.pk, cancellation_id=sent.cancellation_id)
                if rows.update(cancellation_id=None, cancellation_asked_at=None, problem=said[:300]):
                    record = {"act": str(act.uuid), "identifier": act.identifier, "reason": reason[:300]}
                    append("act-cancel-failed", record, consultation=act.consultation_uuid, now=now)
                    _incident(act, "La demande d'annulation n'a pas abouti", reason, now=now)
            sent.refresh_from_db()


def _reason(found: Status) -> str:
    return found.detail.decode("latin-1").strip()


def _undone(act: Act, letter: PrefectureLetter, reason: str, *, now: datetime) -> None:
    with transaction.atomic():
        rows = PrefectureLetter.objects.filter(pk=letter.pk, reply_id=letter.reply_id)
        if rows.update(reply_id=None, replied_at=None, choice="", problem=reason[:300]):
            record = {"act": str(act.uuid), "letter": letter.kind, "reason": reason[:300]}
            append("act-reply-failed", record, consultation=act.consultation_uuid, now=now)
            _incident(act, "La réponse à la préfecture n'est pas partie", reason, now=now)


def _incident(act: Act, what: str, reason: str, *, now: datetime) -> None:
    ActIncident.objects.create(act=act, at=now, what=what, detail=reason[:300])
    tell_failed(act, f"{what}.", reason, now=now)


def _answered_elsewhere(act: Act, now: datetime) -> None:
    """Answers that the authority's own software posted: told, and journalled, when they are learnt."""
    for letter in act.letters.filter(reply_id=None):
        made = (
            Transaction.objects.filter(related=letter.remote_id, unique_id=act.identifier)
            .filter(status__in=_LEFT)
            .exclude(reply="")
            .order_by("pk")
            .first()
        )
        if made is not None:
            _replied(letter, made.pk, choice=made.reply, now=now)


def _keep(act: Act, found: Letter, operator: Operator, now: datetime) -> None:
    archive = operator.archive(found.transaction)
    message = _letter_in(archive, act.identifier)
    kind = m.kind_of(message)
    if kind not in LETTERS:  # a reply stands in the place of its letter (ours, whose answer was lost)
        letter = _answered(act, message)
        if letter is not None:
            _replied(letter, found.transaction, choice=kind[2], now=now)
        return
    key = f"acts/letters/{act.uuid}/{found.transaction}.tar.gz"
    object_store().put(key, archive)
    written = message.filed if isinstance(message, m.Referral) else message.written
    said = message.illegality if isinstance(message, m.Referral) else message.text
    with transaction.atomic():
        _, created = PrefectureLetter.objects.get_or_create(
            act=act,
            remote_id=found.transaction,
            defaults={
                "kind": kind,
                "written_on": written,
                "text": said,
                "archive_key": key,
                "documents": [each.name for each in message.documents],
                "found_at": now,
            },
        )
        if created:
            record = {"act": str(act.uuid), "identifier": act.identifier, "kind": kind}
            append("act-letter", record, consultation=act.consultation_uuid, now=now)
            tell_letter(act, kind, said, now=now)


def _answered(act: Act, reply: m.Letter | m.Referral) -> PrefectureLetter | None:
    """The letter that a reply answers: of its kind and its date; the only one of its kind, else."""
    alike = act.letters.filter(kind=f"{m.kind_of(reply)[0]}-1")
    dated = alike.filter(written_on=reply.written) if isinstance(reply, m.Letter) else alike.none()
    rows = dated if dated.exists() or alike.count() > 1 else alike
    return rows.filter(reply_id=None).order_by("pk").first()


def _letter_in(archive: bytes, identifier: str) -> m.Letter | m.Referral:
    """The letter that an archive carries. Raises MessageRefused: none, or about another act."""
    for name, size, content in members(io.BytesIO(archive), strict=False):
        if names.MESSAGE.fullmatch(name) and size <= MESSAGE_BYTES:
            message = read(content.read())
            if isinstance(message, m.Letter | m.Referral) and names_act(message, identifier):
                return message
    raise MessageRefused("L'archive du courrier ne porte aucun message sur cet acte.")


def _check_scanned(letter: PrefectureLetter) -> None:
    """Nothing of an archive is given before an antivirus saw it, once. The letter itself never waits for it.

    Raises ActRefused, AntivirusUnavailable.
    """
    if letter.verdict == "pending":
        try:
            found = scan(object_store().open(letter.archive_key))
        except ScanFailed as failed:
            raise AntivirusUnavailable(str(failed)) from failed
        letter.verdict, letter.threat = str(found.state), found.name[:300]
        letter.save(update_fields=["verdict", "threat"])
    if letter.verdict not in SERVED:
        raise ActRefused(
            f"L'antivirus ne laisse pas passer ce courrier ({letter.threat or letter.verdict}) : demandez à "
            "la préfecture de l'envoyer encore. Son texte est sur la page de l'acte ; ses délais courent."
        )


def document(letter: PrefectureLetter, name: str) -> tuple[int, Iterator[bytes]] | None:
    """Size and bytes of a document that came with a letter; None when it names no such one.

    Raises ActRefused when the antivirus found something there, AntivirusUnavailable when it does not answer.
    """
    if name not in letter.documents:
        return None
    _check_scanned(letter)
    whole = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the answer)
    for block in object_store().open(letter.archive_key):
        whole.write(block)
    whole.seek(0)
    for found, size, content in members(whole, strict=False):
        if found == name:
            return size, blocks_of(content)
    return None


def cancel(act: Act, operator: Operator, *, now: datetime) -> None:
    """Ask for the cancellation of an acknowledged act, once.

    Raises ActRefused, AnswerLost (it may have left), GatewayUnavailable, GatewayRefused.
    """
    sent = Transmission.objects.get(act=act)
    if sent.remote_id is None or sent.acknowledged_at is None or sent.cancelled_at is not None:
        raise ActRefused("Seul un acte acquitté et non annulé s'annule.")
    same_act(act, operator)
    mine = Transmission.objects.filter(pk=sent.pk, cancellation_id=None)
    free = Q(cancellation_asked_at=None) | Q(cancellation_asked_at__lt=now - UNCERTAIN)
    if not mine.filter(free).update(cancellation_asked_at=now, problem=""):
        raise ActRefused("Une demande d'annulation est déjà en cours pour cet acte.")
    with _sending(act.pk, "La demande d'annulation", lambda: mine.update(cancellation_asked_at=None)):
        remote = operator.cancel(sent.remote_id)
    with transaction.atomic():
        if Transmission.objects.filter(pk=sent.pk, cancellation_id=None).update(
            cancellation_id=remote, cancellation_asked_at=now, due_at=None
        ):
            asked = {"act": str(act.uuid), "transaction": remote}
            append("act-cancel-asked", asked, consultation=act.consultation_uuid, now=now)


def _cancelled(sent: Transmission, now: datetime) -> None:
    with transaction.atomic():
        if Transmission.objects.filter(pk=sent.pk, cancelled_at=None).update(cancelled_at=now):
            act = sent.act
            record = {"act": str(act.uuid), "identifier": act.identifier}
            append("act-cancelled", record, consultation=act.consultation_uuid, now=now)


def reply(
    letter: PrefectureLetter, pieces: Sequence[Piece], operator: Operator, *, choice: str, now: datetime
) -> None:
    """Answer a letter once, whoever else does at the same time.

    Raises ActRefused, AnswerLost (it may have left), GatewayUnavailable, GatewayRefused.
    """
    for each in pieces:
        check_early(each.upload, now=now)
    mine = PrefectureLetter.objects.filter(pk=letter.pk, reply_id=None)
    if mine.filter(replied_at__lt=now - UNCERTAIN).exists():  # the one of before may have been taken
        read_letters(letter.act_id, operator, now=now)
    else:
        same_act(letter.act, operator)
    free = Q(replied_at=None) | Q(replied_at__lt=now - UNCERTAIN)
    if not mine.filter(free).update(replied_at=now, choice=choice, problem=""):
        raise ActRefused("Une réponse à ce courrier est déjà partie, ou est en train de partir.")
    with _sending(letter.act_id, "La réponse", lambda: mine.update(replied_at=None, choice="")):
        remote = operator.reply(letter.remote_id, pieces, choice=choice)
    _replied(letter, remote, choice=choice, now=now)


@contextmanager
def _sending(act_id: int, what: str, give_back: Callable[[], object]) -> Iterator[None]:
    """What surely did not leave gives its claim back; whether the rest was taken is read at once.

    Raises AnswerLost for the rest.
    """
    try:
        yield
    except (ActError, StorageError) as failed:
        if isinstance(failed, GatewayUnavailable) and failed.reached:
            Transmission.objects.filter(act_id=act_id).update(due_at=None)
            raise AnswerLost(f"{failed} {what} est peut-être partie.") from failed
        give_back()
        if isinstance(failed, GatewayUnavailable):
            failed.next = "Rien n'est parti : recommencez plus tard."
        raise


def _replied(letter: PrefectureLetter, remote: int, *, choice: str, now: datetime) -> None:
    with transaction.atomic():
        if PrefectureLetter.objects.filter(pk=letter.pk, reply_id=None).update(
            reply_id=remote, replied_at=now, choice=choice, problem=""
        ):
            record = {"act": str(letter.act.uuid), "letter": letter.kind, "transaction": remote}
            append("act-reply", record, consultation=letter.act.consultation_uuid, now=now)
            tell_reply(letter, now=now)


def set_operator(
    buyer: Organisation,
    *,
    url: str,
    login: str = "",
    password: str = "",
    p12: bytes = b"",
    p12_password: str = "",
    authority: str = "",
    now: datetime,
) -> OperatorAccount:
    """A buyer's operator elsewhere, its secrets wrapped. Raises GatewayRefused: a P12 that does not open."""
    client_context(p12, p12_password, authority)
    with transaction.atomic():
        made, _ = OperatorAccount.objects.update_or_create(
            buyer=buyer,
            defaults={
                "url": url,
                "login": login,
                "authority": authority,
                "password": _wrapped(password.encode(), buyer, "password"),
                "p12": _wrapped(p12, buyer, "p12"),
                "p12_password": _wrapped(p12_password.encode(), buyer, "p12-password"),
            },
        )
        append("act-operator", {"buyer": str(buyer.uuid), "login": login, "url": url}, now=now)
    return made


def try_operator(
    *, url: str, login: str, password: str, p12: bytes, p12_password: str, authority: str
) -> date:
    """The date of the codes that an operator gives for these credentials. Raises ActError."""
    remote = Remote(
        url=url,
        login=login,
        password=password,
        p12=p12,
        p12_password=p12_password,
        authority=authority,
        timeout=settings.S2LOW["timeout"],
    )
    return parsed(remote.classification().strip()).on


def forget_operator(buyer: Organisation, *, now: datetime) -> None:
    """The buyer's acts go again by the platform's settings."""
    with transaction.atomic():
        if OperatorAccount.objects.filter(buyer=buyer).delete()[0]:
            append("act-operator", {"buyer": str(buyer.uuid), "login": "", "url": ""}, now=now)


def _wrapped(secret: bytes, buyer: Organisation, what: str) -> bytes | None:
    return wrap(secret, context=f"operator-{what}:{buyer.uuid}") if secret else None
