"""What an answer of the ministry does to the transaction that it answers."""

import logging
from dataclasses import replace
from datetime import date, datetime, timedelta

from django.db.models import QuerySet

from dematmp.acts import messages as m
from dematmp.acts import moves, names, statuses, versions
from dematmp.acts.errors import MessageRefused
from dematmp.acts.models import Act, ActIncident
from dematmp.acts.reading import read
from dematmp.acts.transactions import ACT, CANCELLATION, CLASSIFICATION, OBSERVATIONS, PIECES, Transaction

log = logging.getLogger(__name__)
_Receipt = m.ActReceipt | m.LetterReceipt | m.CancellationReceipt
_OPEN = [statuses.WAITING, statuses.SENT]
_RECEIPT_AGAIN = timedelta(hours=1)  # and longer each time that the ministry refuses ours


def settle(message: m.Message, *, siren: str, flux: bytes, now: datetime) -> Transaction:
    """Move the transaction that a message answers. Raises MessageRefused, StatusRefused."""
    match message:
        case m.ActReceipt():
            found = _act(message.identifier)
            _receive(found, message, flux, now)
            return found
        case m.ActAnomaly():
            found = _of_number(siren, message.act.number)
            _reached(found, now)
            if found.status != statuses.SENT:
                raise MessageRefused(
                    f"Une anomalie est arrivée pour l'acte {found.number}, qui n'en attend plus."
                )
            detail = f"Acte refusé par le MI ({message.nature} : {message.detail})"
            moves.move(found.pk, statuses.ERROR, message=detail, flux=flux, now=now)
            return found
        case m.LetterReceipt():
            found = _reply(message)
            _receive(found, message, flux, now)
            return found
        case m.CancellationReceipt():
            found = _last(Transaction.objects.filter(unique_id=message.identifier, type=CANCELLATION))
            if _receive(found, message, flux, now):
                _cancelled(found, flux, message.received, now)
            return found
        case m.Classification() | m.ClassificationUnchanged():
            return _classification(message, siren, flux, now)
    raise MessageRefused(f"Le ministère n'envoie pas de message {m.kind_of(message)}.")


def named(message: m.Message, name: names.MessageName, *, siren: str) -> m.Message:
    """A message that names no act, as about that of its own name; else the latest of its SIREN and number."""
    if not isinstance(message, _Receipt | m.Letter | m.Referral) or message.identifier:
        return message
    number = message.act.number if isinstance(message, m.ActReceipt) else name.number
    rows = Transaction.objects.filter(authority__siren=siren, type=ACT)
    found = rows.filter(unique_id=name.identifier).first() if name.identifier else None
    if found is None and number:
        found = _last(rows.filter(number=number))
    return replace(message, identifier=found.unique_id) if found is not None else message


def anomaly_of_envelope(name: str, anomaly: m.EnvelopeAnomaly, flux: bytes, *, now: datetime) -> None:
    """Every transaction of the envelope ends in error; a letter whose receipt it carried stays a letter.

    Raises MessageRefused, StatusRefused.
    """
    found = list(Transaction.objects.filter(envelope_name=name))
    if not found:
        raise MessageRefused(f"L'enveloppe {name} n'est pas de cette plateforme.")
    said = f"Enveloppe rejetée par le MI ({anomaly.nature} : {anomaly.detail})"
    for each in found:
        if each.status in (statuses.RECEIVED, statuses.RECEIPT_SENT):
            _receipt_refused(each, said, flux, now)
            continue
        _reached(each, now)
        moves.move(each.pk, statuses.ERROR, message=said, flux=flux, now=now)


def _receipt_refused(letter: Transaction, said: str, flux: bytes, now: datetime) -> None:
    """Our receipt 3-2 or 4-2 has an envelope of its own: another is built, and the letter is still there."""
    said = f"Accusé de réception à refaire. {said}"
    if letter.status == statuses.RECEIPT_SENT:
        moves.move(letter.pk, statuses.RECEIVED, message=said, flux=flux, now=now)
    times = letter.steps.filter(status=statuses.RECEIVED).count()
    Transaction.objects.filter(pk=letter.pk).update(
        envelope_name="", archive_key="", archive_size=0, uncertain=False, alerted_at=None,
        due_at=now + min(_RECEIPT_AGAIN * times, timedelta(days=1)), problem=said[:300],
    )  # fmt: skip
    for act in Act.objects.filter(transmission__remote_id=letter.related_id):
        if act.identifier == letter.unique_id:
            what = "Le ministère a rejeté l'accusé de réception d'un courrier"
            ActIncident.objects.create(act=act, at=now, what=what, detail=said[:300])
    log.error("courrier %s : %s", letter.pk, said)


def _reached(found: Transaction, now: datetime) -> None:
    """An answer proves the sending of which this platform does not know the end."""
    if found.status == statuses.WAITING:
        moves.move(
            found.pk, statuses.SENT, message="Transmis au MI, qui y a répondu", now=now,
            only_from=frozenset({statuses.WAITING}),
        )  # fmt: skip
        found.status = statuses.SENT
        Transaction.objects.filter(pk=found.pk).update(due_at=None, uncertain=False, problem="")


def _receive(found: Transaction, message: _Receipt, flux: bytes, now: datetime) -> bool:
    """False when this receipt, under whatever name, was there already: it says the same."""
    if found.status not in _OPEN:
        step = found.last_step(statuses.ACKNOWLEDGED)
        if step is not None and step.flux is not None and _same(read(bytes(step.flux)), message):
            return False
    _reached(found, now)
    said = f"Reçu par le MI le {message.received:%d/%m/%Y}"
    moves.move(found.pk, statuses.ACKNOWLEDGED, message=said, flux=flux, now=now)
    return True


def _same(known: m.Message, message: _Receipt) -> bool:
    if isinstance(known, _Receipt) and not known.identifier:
        known = replace(known, identifier=message.identifier)
    return known == message


def _cancelled(cancellation: Transaction, flux: bytes, received: date, now: datetime) -> None:
    if cancellation.related_id is None:
        raise MessageRefused("L'annulation ne porte sur aucun acte.")
    said = f"Acte annulé, reçu par le MI le {received:%d/%m/%Y}"
    moves.move(cancellation.related_id, statuses.CANCELLED, message=said, flux=flux, now=now)


def awaits_codes(siren: str) -> bool:
    """Whether a request for the classification is still without an answer."""
    return _requests(siren).exists()


def _requests(siren: str) -> "QuerySet[Transaction]":
    return Transaction.objects.filter(authority__siren=siren, type=CLASSIFICATION, status__in=_OPEN)


def _classification(
    message: m.Classification | m.ClassificationUnchanged, siren: str, flux: bytes, now: datetime
) -> Transaction:
    found = _last(_requests(siren))
    if isinstance(message, m.Classification):
        versions.keep(found.authority, flux, now=now)
        said = f"Classification du {message.on:%d/%m/%Y} reçue"
    else:
        said = f"Classification du {message.on:%d/%m/%Y} toujours en vigueur"
    _reached(found, now)
    moves.move(found.pk, statuses.ACKNOWLEDGED, message=said, flux=flux, now=now)
    return found


def _act(identifier: str) -> Transaction:
    return _last(Transaction.objects.filter(unique_id=identifier, type=ACT))


def _reply(receipt: m.LetterReceipt) -> Transaction:
    """The answer to the letter of that date; the only one of its kind, when no letter is of that date."""
    kind = PIECES if receipt.kind == "3-5" else OBSERVATIONS
    rows = Transaction.objects.filter(unique_id=receipt.identifier, type=kind).exclude(reply="")
    dated = rows.filter(decided_on=receipt.written)
    if not dated.exists() and rows.values("related").distinct().count() > 1:
        raise MessageRefused(
            f"Aucune réponse à un courrier du {receipt.written:%d/%m/%Y} n'est partie d'ici."
        )
    return _last(dated if dated.exists() else rows)


def _of_number(siren: str, number: str) -> Transaction:
    return _last(Transaction.objects.filter(authority__siren=siren, number=number, type=ACT))


def _last(rows: "QuerySet[Transaction]") -> Transaction:
    """The latest submission that may be answered, else the latest. Raises MessageRefused without any."""
    rows = rows.select_related("authority", "agent").order_by("-pk")
    found = rows.filter(status__in=_OPEN).first() or rows.first()
    if found is None:
        raise MessageRefused("Ce message ne répond à aucune transaction de cette plateforme.")
    return found
