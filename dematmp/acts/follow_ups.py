"""What follows an act: cancel it, answer the prefecture's letter, ask for the classification, close it."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, transaction

from dematmp.acts import fields, moves, names, statuses, versions
from dematmp.acts import messages as m
from dematmp.acts.envelopes import from_store, wrap
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.fields import Piece
from dematmp.acts.posting import DENIED, RGS_NEEDED, check_soon, save_files, store_pieces, today
from dematmp.acts.rules import control_end
from dematmp.acts.subscribers import Agent
from dematmp.acts.transactions import (
    ACT,
    CANCELLATION,
    CLASSIFICATION,
    LETTER,
    OBSERVATIONS,
    PIECES,
    IncludedFile,
    Transaction,
)
from dematmp.acts.writing import write

# (type of the letter, type_envoie) → message
REPLIES = {
    (PIECES, "4"): "3-4",
    (PIECES, "3"): "3-3",
    (OBSERVATIONS, "4"): "4-4",
    (OBSERVATIONS, "3"): "4-3",
}


def _transmits(agent: Agent, made: Transaction | None = None) -> None:
    if not agent.may_transmit or (made is not None and made.authority_id != agent.authority_id):
        raise AccessRefused(DENIED)


def cancel(act: Transaction, *, by: Agent, now: datetime) -> Transaction:
    """Ask the ministry to cancel an act that it acknowledged. Raises ActRefused, AccessRefused."""
    if act.type != ACT:
        raise ActRefused(
            "Ce type de transaction ne peut pas être annulé : seule une transmission d'acte l'est."
        )
    _transmits(by, act)
    pending = act.follow_ups.filter(type=CANCELLATION, status__in=statuses.IN_FLIGHT)
    if pending.exists():
        raise ActRefused("Une demande d'annulation est déjà en cours pour cet acte.")
    if act.status != statuses.ACKNOWLEDGED:
        raise ActRefused("L'acte n'est pas dans l'état « Acquittement reçu » : il ne peut pas être annulé.")
    made = _about(act, CANCELLATION, by)
    made.message_name = names.message(act.unique_id, "6-1")
    made.message = write(m.Cancellation(act.unique_id))
    wrap(made, [], now=now)
    try:
        with transaction.atomic():
            moves.begin(made, status=statuses.POSTED, message="Demande d'annulation", now=now)
            save_files(made, [])
            check_soon(made)
    except IntegrityError as twice:
        raise ActRefused("Une demande d'annulation est déjà en cours pour cet acte.") from twice
    return made


def _about(related: Transaction, kind: str, by: Agent) -> Transaction:
    """A transaction that quotes another one."""
    return Transaction(
        authority=related.authority,
        agent=by,
        type=kind,
        related=related,
        nature=related.nature,
        number=related.number,
        subject=related.subject,
        classification=related.classification,
        classification_date=related.classification_date,
        decided_on=related.decided_on,
        unique_id=related.unique_id,
    )


def reply(
    letter: Transaction,
    pieces: Sequence[Piece],
    *,
    choice: str,
    by: Agent,
    rgs: bool,
    now: datetime,
) -> Transaction:
    """Answer a letter of the prefecture, once (3-3 or 3-4, not both): another one is for one that failed.

    `choice` is S2LOW's `type_envoie`. Raises ActRefused, AccessRefused.
    """
    if letter.type not in (LETTER, PIECES, OBSERVATIONS) or letter.reply or letter.decided_on is None:
        raise ActRefused("Cette transaction n'est pas un document de la préfecture auquel on répond.")
    if not by.may_deposit or letter.authority_id != by.authority_id:
        raise AccessRefused(DENIED)
    if not rgs:
        raise AccessRefused(RGS_NEEDED)
    if letter.type == LETTER:
        kind, choice = "2-2", "2"
    else:
        if (letter.type, choice) not in REPLIES:
            raise ActRefused("Il faut choisir un type de réponse : 4 (envoi) ou 3 (refus).")
        kind = REPLIES[letter.type, choice]
    if letter.status not in (statuses.RECEIVED, statuses.RECEIPT_SENT, statuses.LETTER):
        raise ActRefused("Ce document de la préfecture n'attend pas de réponse.")
    _unanswered(letter)
    if not pieces:
        raise ActRefused("Aucun fichier acte n'a été posté.")
    if kind != "3-4" and len(pieces) > 1:
        raise ActRefused("Cette réponse ne porte qu'un document.")
    for each in pieces:
        fields.check_received(each.upload)
        fields.check_typology(each.typology, each.upload.name)
    types = [fields.check_annex(each.upload, main=fields.PDF) for each in pieces]
    made = _about(letter, letter.type, by)
    made.reply = choice
    files = store_pieces(made, list(pieces), types, kind=kind)
    made.message_name = names.message(made.unique_id, kind)
    documents = tuple(m.File(each.name) for each in files)
    made.message = write(m.Letter(kind, made.unique_id, letter.decided_on, documents))
    wrap(made, [from_store(each.name, each.size, each.key) for each in files], now=now)
    with transaction.atomic():
        # Of two answers at once, the second finds the first.
        _unanswered(Transaction.objects.select_for_update(of=("self",), no_key=True).get(pk=letter.pk))
        moves.begin(made, status=statuses.POSTED, message="Dépôt initial", now=now)
        save_files(made, files)
        check_soon(made)
    return made


def _unanswered(letter: Transaction) -> None:
    """Raises ActRefused when an answer that did not fail is there."""
    answers = letter.follow_ups.exclude(reply="").exclude(status=statuses.ERROR)
    if (first := answers.order_by("pk").first()) is not None:
        raise ActRefused(
            f"Ce document de la préfecture a déjà une réponse (transaction {first.pk}) : une autre ne part "
            "que si elle échoue."
        )


def request_classification(agent: Agent, *, now: datetime) -> Transaction:
    """Ask the ministry for the codes in force; once a day while the last one waits. Raises ActRefused."""
    _transmits(agent)
    authority = agent.authority
    day = now.astimezone(ZoneInfo(settings.TIME_ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    waiting = Transaction.objects.filter(
        authority=authority, type=CLASSIFICATION, created_at__gte=day, status__in=statuses.IN_FLIGHT
    )
    if waiting.exists():
        raise ActRefused("Une demande de classification a déjà été faite aujourd'hui.")
    received = authority.classifications.exists()
    made = Transaction(authority=authority, agent=agent, type=CLASSIFICATION)
    made.message_name = names.classification_message(department=authority.department, siren=authority.siren)
    # The shipped version was never received from the ministry: everything is then asked for.
    made.message = write(m.ClassificationRequest(versions.held_date(authority) if received else None))
    wrap(made, [], now=now)
    with transaction.atomic():
        moves.begin(made, status=statuses.POSTED, message="Dépôt initial", now=now)
        save_files(made, [])
        check_soon(made)
    return made


def give_up(act: Transaction, *, by: Agent, now: datetime) -> Transaction:
    """Close (6) a deposit that awaits its confirmation: it never leaves, and its number may serve again.

    By who deposited it, or who may transmit it. Raises AccessRefused, ActRefused.
    """
    owns = by.may_deposit and act.agent_id == by.pk
    if act.authority_id != by.authority_id or not (owns or by.may_transmit):
        raise AccessRefused(DENIED)
    waits = frozenset({statuses.UNCONFIRMED})
    moved = moves.move(act.pk, statuses.REFUSED, message=f"Abandon par {by}", now=now, only_from=waits)
    if moved is None:
        raise ActRefused("La transaction n'est pas en attente d'être postée : elle ne s'abandonne plus.")
    return moved


def close(act: Transaction, status: int, *, by: Agent, now: datetime) -> None:
    """Close an act, well (5) or not (6), two months after its receipt; or give it to the archives (19).

    One that awaits its confirmation is given up at once. Raises AccessRefused, ActRefused, StatusRefused.
    """
    if act.status == statuses.UNCONFIRMED and status == statuses.REFUSED:
        give_up(act, by=by, now=now)
        return
    _transmits(by, act)
    if act.type != ACT:
        raise ActRefused("Seule une transmission d'acte se clôt.")
    receipt = act.last_step(statuses.ACKNOWLEDGED)
    if receipt is None:
        raise ActRefused("Pas d'acquittement reçu.")
    after = control_end(today(receipt.at))
    if status != statuses.TO_ARCHIVE and today(now) < after and not settings.ACTES["close_early"]:
        raise ActRefused("Un acte se clôt deux mois après son acquittement, au plus tôt.")
    moves.move(act.pk, status, message=f"Clôture par {by}", now=now)


def document_of(made: Transaction) -> IncludedFile | None:
    """The main document of a transaction."""
    return made.files.filter(rank=1).first()
