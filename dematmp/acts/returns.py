"""The ministry's mails are read: each message once, by name and content, in whatever order they come."""

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import DataError, IntegrityError, transaction
from django.db.models import QuerySet

from dematmp.acts import messages as m
from dematmp.acts import names
from dematmp.acts.arrivals import Laid, arrive, is_letter, lay
from dematmp.acts.errors import ActError, MessageRefused
from dematmp.acts.mailbox import Attachment, Box, Mail, attachments, body_of, is_multichannel
from dematmp.acts.outcomes import anomaly_of_envelope, settle
from dematmp.acts.reading import read, read_envelope_anomaly, read_return_envelope
from dematmp.acts.transactions import ReturnedMessage, ReturnMail
from dematmp.acts.xmlio import truthful
from storage.stores import object_store

log = logging.getLogger(__name__)
_AGAIN = timedelta(days=7)
# What a hostile mail draws from the mail parser or the database: it is put aside, and the others are read.
_POISON = (IntegrityError, DataError, LookupError, ValueError, TypeError, AttributeError)


def collect(box: Box, *, now: datetime) -> int:
    """Read what waits in a box; the number of mails put away. Raises MinistryUnavailable, StoreUnavailable.

    A mail leaves the box after its consequences are committed: read twice, it changes nothing.
    """
    count = 0
    for mail in box.waiting():
        keep(mail, now=now)
        box.put_away(mail)
        count += 1
    return count


def keep(mail: Mail, *, now: datetime) -> ReturnMail:
    """Store a mail, then act upon it once; what cannot be understood is kept with the reason."""
    known = ReturnMail.objects.filter(sha256=mail.sha256).first()
    if known is None:
        key = f"acts/returns/{mail.sha256}.eml"
        object_store().put(key, mail.raw)
        known, _ = ReturnMail.objects.get_or_create(
            sha256=mail.sha256, defaults={"key": key, "received_at": now}
        )
    if known.done_at is not None or known.error:
        return known
    try:
        files, laid = _opened(mail)
        with transaction.atomic():
            process(known, files, laid, now=now)
            known.done_at = now
            known.save(update_fields=["done_at"])
    except (ActError, *_POISON) as refused:
        _file_as_error(known, refused)
    return known


def _opened(mail: Mail) -> tuple[list[Attachment], Laid | None]:
    """The files of a mail, stored when a letter is among them. None of those that only announce."""
    if is_multichannel(mail.raw):
        return [], None
    files = attachments(mail.raw)
    if not files:
        raise MessageRefused("Le courrier ne porte aucun message ACTES.")
    letters = any(is_letter(each) for each in files)
    return files, lay(mail.sha256, files, body_of(mail.raw)) if letters else None


def _file_as_error(known: ReturnMail, refused: Exception) -> None:
    known.done_at = None
    known.error = (str(refused) or type(refused).__name__)[:500]
    known.save(update_fields=["done_at", "error"])
    log.error("courrier du ministère %s mis de côté : %s", known.pk, known.error)


def put_aside(now: datetime) -> QuerySet[ReturnMail]:
    """Mails of these last days that could not be acted upon: what they answer may have come since."""
    rows = ReturnMail.objects.filter(done_at=None, received_at__gte=now - _AGAIN).exclude(error="")
    return rows.order_by("pk")[:200]


def analyse_again(known: ReturnMail, *, now: datetime) -> None:
    """Act upon a mail that was put aside, when what it waited for is there."""
    if known.done_at is None:
        ReturnMail.objects.filter(pk=known.pk).update(error="")
        raw = b"".join(object_store().open(known.key))
        keep(Mail(str(known.pk), raw), now=now)


def process(known: ReturnMail, files: Sequence[Attachment], laid: Laid | None, *, now: datetime) -> None:
    """Everything that a mail says, in the caller's transaction.

    A mail without a file only announces. Raises ActError: nothing of it is then done.
    """
    if not files:
        return
    anomalies = [each for each in files if names.ANOMALY.fullmatch(each.name)]
    for each in anomalies:
        if _first_time(known, each):
            found = names.ANOMALY.fullmatch(each.name)
            anomaly_of_envelope(
                found[1] if found else "", read_envelope_anomaly(each.data), truthful(each.data), now=now
            )
    envelopes = [each for each in files if names.RETURN_ENVELOPE.fullmatch(each.name)]
    messages = [each for each in files if names.MESSAGE.fullmatch(each.name)]
    if not messages and not anomalies:
        raise MessageRefused("Le courrier ne porte aucun message ACTES.")
    siren = read_return_envelope(envelopes[0].data).siren if envelopes else ""
    for each in messages:
        if _first_time(known, each):
            _one(known, each, siren, files, laid, now)


def _first_time(known: ReturnMail, file: Attachment) -> bool:
    """Whether this message, by name and content, was never acted upon."""
    digest = hashlib.sha256(file.data).hexdigest()
    _, created = ReturnedMessage.objects.get_or_create(
        name=file.name, sha256=digest, defaults={"mail": known}
    )
    return created


def _one(
    known: ReturnMail,
    file: Attachment,
    siren: str,
    files: Sequence[Attachment],
    laid: Laid | None,
    now: datetime,
) -> None:
    said = names.read_message(file.name)
    if siren and said.siren != siren:
        raise MessageRefused("L'enveloppe et le message ne nomment pas la même collectivité.")
    message = read(file.data)
    if isinstance(message, m.Letter | m.Referral):
        if laid is None:
            raise MessageRefused("Le nom du message n'est pas celui d'un courrier de la préfecture.")
        about = arrive(message, Attachment(file.name, truthful(file.data)), files, laid, now=now)
    else:
        about = settle(message, siren=siren or said.siren, flux=truthful(file.data), now=now)
    ReturnedMessage.objects.filter(
        name=file.name, sha256=hashlib.sha256(file.data).hexdigest(), mail=known
    ).update(transaction=about)
