"""The control authority's desk on this platform: who follows an act, and the letters written about it.

A letter takes the way of those that the ministry brings: a message of the type 2-1 to 5-1, its document, and
a transaction that the buyer's own software finds too.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import Organisation, User
from dematmp.acts import arrivals, fields, moves, names, statuses, territory
from dematmp.acts import messages as m
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.fields import Upload
from dematmp.acts.files import transaction_of
from dematmp.acts.mailbox import Attachment
from dematmp.acts.models import Act
from dematmp.acts.posting import today
from dematmp.acts.rules import LETTERS
from dematmp.acts.sound import check_sound
from dematmp.acts.telling import tell_assigned
from dematmp.acts.transactions import PREFECTURE, Transaction
from dematmp.acts.writing import write, write_return_envelope
from dematmp.audit.services import append

DOCUMENT_BYTES = 20 * 1024**2
TEXT_CHARS = 2000
_OFFICES = {"IDSousPref": "SPREF", "IDPref": "PREF", "IDSGAR": "SGAR"}
_WITH_TEXT = frozenset({"3-1", "4-1", "5-1"})


def assign(act: Act, *, to: User, by: User, now: datetime) -> None:
    """Put somebody of the control authority in charge of the act, and tell them. Raises AccessRefused."""
    _in_charge(act, by)
    _in_charge(act, to)
    with transaction.atomic():
        if Act.objects.filter(pk=act.pk).exclude(controller=to).update(controller=to):
            record = {"act": str(act.uuid), "to": str(to.uuid), "by": str(by.uuid)}
            append("act-assigned", record, now=now)
            if to != by:
                tell_assigned(act, to, by, now=now)


def write_letter(act: Act, *, kind: str, text: str, document: Upload, by: User, now: datetime) -> Transaction:
    """Send a letter with its PDF. The same one twice is one letter.

    Raises AccessRefused, ActRefused; AntivirusUnavailable, StoreUnavailable (nothing was sent).
    """
    _in_charge(act, by)
    sent = _transaction_of(act)
    text = " ".join(text.split())
    if kind not in LETTERS:
        raise ActRefused("Il faut choisir la nature du courrier.")
    if kind in _WITH_TEXT and not text:
        raise ActRefused("Ce courrier dit ce qui est demandé ou reproché : le texte est obligatoire.")
    if len(text) > TEXT_CHARS:
        raise ActRefused(f"Le texte a {TEXT_CHARS} caractères au plus.")
    data = _checked(document, now=now)
    name = names.document(act.identifier, kind, 1)
    day, documents = today(now), (m.File(name),)
    message: m.Letter | m.Referral = (
        m.Referral(act.identifier, day, text, documents)
        if kind == "5-1"
        else m.Letter(kind, act.identifier, day, documents, text if kind in m.LETTER_TEXT else "")
    )
    body = write(message)
    digest = hashlib.sha256(body + data).hexdigest()
    # Its number is drawn from its content: the same letter sent twice has the same name.
    file = Attachment(names.message(act.identifier, kind, serial=int(digest[:7], 16)), body)
    files = [_envelope(act, by, file.name, int(digest[:9], 16), day), file, Attachment(name, data)]
    laid = arrivals.lay(digest, files, b"")
    with transaction.atomic():
        locked = Transaction.objects.select_for_update(no_key=True).get(pk=sent.pk)
        for known in locked.follow_ups.filter(files__key=laid.keys[name]):
            return known
        made = arrivals.arrive(message, file, files, laid, now=now)
        if made.status == statuses.RECEIVED:  # the buyer's receipt is this very platform's
            moves.move(made.pk, statuses.RECEIPT_SENT, message="Écrit sur la plateforme", now=now)
        record: dict[str, object] = {
            "act": str(act.uuid),
            "by": str(by.uuid),
            "identifier": act.identifier,
            "kind": kind,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        append("act-letter-written", record, now=now)
        from dematmp.acts.tasks import read_letters

        transaction.on_commit(lambda: read_letters.delay(act.pk), robust=True)
    return made


@dataclass(frozen=True)
class Leaving:
    """A letter that was sent and that the authority's pages do not show yet."""

    label: str
    written_on: date | None


def leaving(act: Act) -> list[Leaving]:
    """The letters that were written about an act and are being sent."""
    sent = transaction_of(act)
    if sent is None:
        return []
    rows = sent.follow_ups.filter(type__in=PREFECTURE, reply="").exclude(status=statuses.ERROR)
    unread = rows.exclude(pk__in=act.letters.values("remote_id")).order_by("-pk")
    return [Leaving(LETTERS.get(f"{each.type}-1", "Courrier"), each.decided_on) for each in unread]


def _envelope(act: Act, by: User, message: str, serial: int, day: date) -> Attachment:
    """What the ministry's mail would carry first: its name is that of the archive that clients download."""
    sender = act.sender
    office = territory.office(_prefecture(act, by), district=sender.district)
    place = f"{sender.department}{sender.district}" if office == "IDSousPref" else sender.department
    name = names.return_envelope(
        application=settings.ACTES["application"],
        authority=f"{_OFFICES[office]}{place}",
        siren=sender.siren,
        day=day,
        serial=serial,
    )
    carried = m.ReturnEnvelope(
        office,
        sender.department,
        sender.district,
        m.Referent("Préfecture"),
        (m.File(message),),
        sender.siren,
    )
    return Attachment(name, write_return_envelope(carried))


def _prefecture(act: Act, by: User) -> Organisation:
    """For which of their prefectures this person received the act, the nearest first."""
    mine = territory.prefectures_of(by)
    mine.sort(key=lambda each: (each.department in territory.REGIONS, each.district in territory.WHOLE))
    return next(each for each in mine if Act.objects.received_at(each).filter(pk=act.pk).exists())


def _in_charge(act: Act, by: User) -> None:
    if not Act.objects.received_by(by).filter(pk=act.pk).exists():
        raise AccessRefused("Cet acte n'est pas du ressort de votre préfecture.")


def _transaction_of(act: Act) -> Transaction:
    found = transaction_of(act)
    if found is None:
        raise ActRefused(
            "Cet acte est passé par un autre opérateur : le courrier part de votre application habituelle."
        )
    if found.status == statuses.CANCELLED:
        raise ActRefused("Cet acte est annulé.")
    return found


def _checked(document: Upload, *, now: datetime) -> bytes:
    """The bytes of a PDF that can be read and carries no virus. Raises ActRefused."""
    fields.check_received(document)
    if document.size > DOCUMENT_BYTES:
        raise ActRefused(f"Le courrier pèse {DOCUMENT_BYTES // 1024**2} Mo au plus.")
    if fields.sniff(document.stream) != fields.PDF:
        raise ActRefused(f"Le fichier {document.name} n'est pas un PDF.")
    check_sound(document, now=now)
    return document.stream.read()
