"""The ministry's mails are read: each message once, by name and content, in whatever order they come."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, QuerySet

from dematmp.acts import messages as m
from dematmp.acts import names
from dematmp.acts.arrivals import Laid, arrive, is_letter, lay
from dematmp.acts.errors import ActError, MessageRefused
from dematmp.acts.mailbox import Attachment, Box, Mail, attachments, body_of, is_multichannel
from dematmp.acts.outcomes import anomaly_of_envelope, awaits_codes, named, settle
from dematmp.acts.reading import read, read_envelope_anomaly, read_return_envelope
from dematmp.acts.transactions import ReturnedMessage, ReturnMail
from dematmp.acts.xmlio import truthful
from storage.errors import StoreUnavailable
from storage.stores import object_store

log = logging.getLogger(__name__)
_AGAIN = timedelta(days=7)
_CODES = ("7-2", "7-3")
# These are not the mail's doing: it stays where it is. Whatever else a mail raises puts it aside.
_OURS = (StoreUnavailable, OperationalError, InterfaceError)


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
    if known.done_at is None and not known.error:
        _act_upon(known, mail, now=now)
    return known


def _act_upon(known: ReturnMail, mail: Mail, *, now: datetime) -> None:
    try:
        files, laid = _opened(mail)
        with transaction.atomic():
            refused = process(known, files, laid, now=now)
            known.done_at, known.error = (None, refused[0]) if refused else (now, "")
            known.tried_at = now
            known.save(update_fields=["done_at", "error", "tried_at"])
    except _OURS:
        raise
    except ActError as refused:
        _put_aside(known, _said(refused), now)
    except Exception as broken:
        log.exception("courrier du ministère %s", known.pk)
        _put_aside(known, _said(broken), now)
    if known.error:
        log.error("courrier du ministère %s mis de côté : %s", known.pk, known.error)


def _put_aside(known: ReturnMail, reason: str, now: datetime) -> None:
    known.done_at, known.tried_at, known.error = None, now, reason
    known.save(update_fields=["done_at", "error", "tried_at"])


def _said(broken: Exception) -> str:
    """The reason, without what the mail may have put in it that no database keeps."""
    text = str(broken) or type(broken).__name__
    return text.encode(errors="replace").decode().replace("\0", "?")[:500]


def _opened(mail: Mail) -> tuple[list[Attachment], Laid | None]:
    """The files of a mail, stored when a letter is among them. None of those that only announce."""
    if is_multichannel(mail.raw):
        return [], None
    files = attachments(mail.raw)
    if not files:
        raise MessageRefused("Le courrier ne porte aucun message ACTES.")
    letters = any(is_letter(each) for each in files)
    return files, lay(mail.sha256, files, body_of(mail.raw)) if letters else None


def put_aside(now: datetime) -> QuerySet[ReturnMail]:
    """Mails of these last days that could not be acted upon: what they answer may have come since.

    Those tried the longest ago come first: none hides the others, however many there are.
    """
    rows = ReturnMail.objects.filter(done_at=None, received_at__gte=now - _AGAIN).exclude(error="")
    return rows.order_by(F("tried_at").asc(nulls_first=True), "pk")[:200]


def analyse_again(known: ReturnMail, *, now: datetime) -> None:
    """Act upon a mail that was put aside, when what it waited for is there.

    It stays aside until its consequences are committed: cut anywhere, it is analysed again later.
    """
    if known.done_at is None:
        ReturnMail.objects.filter(pk=known.pk).update(tried_at=now)
        raw = b"".join(object_store().open(known.key))
        _act_upon(known, Mail(str(known.pk), raw), now=now)


def process(known: ReturnMail, files: Sequence[Attachment], laid: Laid | None, *, now: datetime) -> list[str]:
    """Everything that a mail says, in the caller's transaction; the reasons of what could not be done.

    One message that is refused leaves nothing, and the others of its mail are acted upon. A mail without a
    file only announces. Raises MessageRefused: no message at all.
    """
    if not files:
        return []
    anomalies = [each for each in files if names.ANOMALY.fullmatch(each.name)]
    messages = [each for each in files if names.MESSAGE.fullmatch(each.name)]
    if not messages and not anomalies:
        raise MessageRefused("Le courrier ne porte aucun message ACTES.")
    carriers = _carriers(files)
    verbs: list[Callable[[], object]] = [partial(_anomaly, known, each, now) for each in anomalies]
    verbs += [partial(_one, known, each, carriers, files, laid, now) for each in messages]
    refused = []
    for verb in verbs:
        try:
            with transaction.atomic():
                verb()
        except _OURS:
            raise
        except ActError as because:
            refused.append(_said(because))
        except Exception as broken:
            log.exception("courrier du ministère %s", known.pk)
            refused.append(_said(broken))
    return refused


def _first_time(known: ReturnMail, file: Attachment) -> bool:
    """Whether this message, by name and content, was never acted upon."""
    digest = hashlib.sha256(file.data).hexdigest()
    _, created = ReturnedMessage.objects.get_or_create(
        name=file.name, sha256=digest, defaults={"mail": known}
    )
    return created


def _anomaly(known: ReturnMail, file: Attachment, now: datetime) -> None:
    found = names.ANOMALY.fullmatch(file.name)
    if _first_time(known, file):
        anomaly_of_envelope(
            found[1] if found else "", read_envelope_anomaly(file.data), truthful(file.data), now=now
        )


@dataclass(frozen=True)
class _Carriers:
    """The envelopes of a mail: the SIREN of each, and which envelope names a message."""

    of: Mapping[str, str]
    sirens: frozenset[str]
    broken: str = ""

    def siren(self, name: str, said: str) -> str:
        """Whose a message is. Raises MessageRefused: its envelope is another's, or unreadable."""
        if not self.sirens and not self.broken:
            return said
        if self.of.get(name, said if said in self.sirens else "") != said:
            raise MessageRefused(
                self.broken or "L'enveloppe et le message ne nomment pas la même collectivité."
            )
        return said


def _carriers(files: Sequence[Attachment]) -> _Carriers:
    of: dict[str, str] = {}
    sirens: set[str] = set()
    broken = ""
    for each in files:
        if names.RETURN_ENVELOPE.fullmatch(each.name):
            try:
                found = read_return_envelope(each.data)
            except MessageRefused as unread:
                broken = str(unread)
                continue
            sirens.add(found.siren)
            of |= {named.name: found.siren for named in found.messages}
    return _Carriers(of, frozenset(sirens), broken)


def _one(
    known: ReturnMail,
    file: Attachment,
    carriers: _Carriers,
    files: Sequence[Attachment],
    laid: Laid | None,
    now: datetime,
) -> None:
    said = names.read_message(file.name)
    # « Nothing changed » is the same bytes each month: it answers the request that is open, if there is one.
    if not _first_time(known, file) and not (said.kind in _CODES and awaits_codes(said.siren)):
        return
    siren = carriers.siren(file.name, said.siren)
    message = named(read(file.data), said, siren=siren)
    if isinstance(message, m.Letter | m.Referral):
        if laid is None:
            raise MessageRefused("Le nom du message n'est pas celui d'un courrier de la préfecture.")
        about = arrive(message, Attachment(file.name, truthful(file.data)), files, laid, now=now)
    else:
        about = settle(message, siren=siren, flux=truthful(file.data), now=now)
    ReturnedMessage.objects.filter(name=file.name, sha256=hashlib.sha256(file.data).hexdigest()).update(
        mail=known, transaction=about
    )
