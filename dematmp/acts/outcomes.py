"""What an answer of the ministry does to the transaction that it answers."""

from datetime import date, datetime

from django.db.models import QuerySet

from dematmp.acts import messages as m
from dematmp.acts import moves, statuses, versions
from dematmp.acts.errors import MessageRefused
from dematmp.acts.transactions import ACT, CANCELLATION, CLASSIFICATION, OBSERVATIONS, PIECES, Transaction

_OPEN = [statuses.WAITING, statuses.SENT]


def settle(message: m.Message, *, siren: str, flux: bytes, now: datetime) -> Transaction:
    """Move the transaction that a message answers. Raises MessageRefused, StatusRefused."""
    match message:
        case m.ActReceipt():
            found = _act(message.identifier)
            _receive(found, flux, message.received, now)
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
            kind = PIECES if message.kind == "3-5" else OBSERVATIONS
            found = _last(
                Transaction.objects.filter(unique_id=message.identifier, type=kind).exclude(reply="")
            )
            _receive(found, flux, message.received, now)
            return found
        case m.CancellationReceipt():
            found = _last(Transaction.objects.filter(unique_id=message.identifier, type=CANCELLATION))
            _receive(found, flux, message.received, now)
            _cancelled(found, flux, message.received, now)
            return found
        case m.Classification() | m.ClassificationUnchanged():
            return _classification(message, siren, flux, now)
    raise MessageRefused(f"Le ministère n'envoie pas de message {m.kind_of(message)}.")


def anomaly_of_envelope(name: str, anomaly: m.EnvelopeAnomaly, flux: bytes, *, now: datetime) -> None:
    """Every transaction of the envelope ends in error. Raises MessageRefused, StatusRefused."""
    found = list(Transaction.objects.filter(envelope_name=name).exclude(status=statuses.RECEIVED))
    if not found:
        raise MessageRefused(f"L'enveloppe {name} n'est pas de cette plateforme.")
    for each in found:
        said = f"Enveloppe rejetée par le MI ({anomaly.nature} : {anomaly.detail})"
        _reached(each, now)
        moves.move(each.pk, statuses.ERROR, message=said, flux=flux, now=now)


def _reached(found: Transaction, now: datetime) -> None:
    """An answer proves the sending of which this platform does not know the end."""
    if found.status == statuses.WAITING:
        moves.move(
            found.pk, statuses.SENT, message="Transmis au MI, qui y a répondu", now=now,
            only_from=frozenset({statuses.WAITING}),
        )  # fmt: skip
        found.status = statuses.SENT
        Transaction.objects.filter(pk=found.pk).update(due_at=None, uncertain=False, problem="")


def _receive(found: Transaction, flux: bytes, received: date, now: datetime) -> None:
    _reached(found, now)
    said = f"Reçu par le MI le {received:%d/%m/%Y}"
    moves.move(found.pk, statuses.ACKNOWLEDGED, message=said, flux=flux, now=now)


def _cancelled(cancellation: Transaction, flux: bytes, received: date, now: datetime) -> None:
    if cancellation.related_id is None:
        raise MessageRefused("L'annulation ne porte sur aucun acte.")
    said = f"Acte annulé, reçu par le MI le {received:%d/%m/%Y}"
    moves.move(cancellation.related_id, statuses.CANCELLED, message=said, flux=flux, now=now)


def _classification(
    message: m.Classification | m.ClassificationUnchanged, siren: str, flux: bytes, now: datetime
) -> Transaction:
    found = _last(Transaction.objects.filter(authority__siren=siren, type=CLASSIFICATION, status__in=_OPEN))
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


def _of_number(siren: str, number: str) -> Transaction:
    return _last(Transaction.objects.filter(authority__siren=siren, number=number, type=ACT))


def _last(rows: "QuerySet[Transaction]") -> Transaction:
    """The latest submission that may be answered, else the latest. Raises MessageRefused without any."""
    rows = rows.select_related("authority", "agent").order_by("-pk")
    found = rows.filter(status__in=_OPEN).first() or rows.first()
    if found is None:
        raise MessageRefused("Ce message ne répond à aucune transaction de cette plateforme.")
    return found
