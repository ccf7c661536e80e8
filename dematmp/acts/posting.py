"""An act is posted: checked in the order that clients know, stored, packed, and journalled."""

import hashlib
import re
from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, transaction

from dematmp.acts import fields, moves, names, statuses, versions
from dematmp.acts import messages as m
from dematmp.acts.envelopes import from_store, wrap
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.fields import Piece, Posting
from dematmp.acts.rules import act_identifier
from dematmp.acts.subscribers import Agent, new_key
from dematmp.acts.transactions import ACT, IncludedFile, Transaction
from dematmp.acts.writing import write
from storage.stores import object_store

RGS_NEEDED = "La télétransmission nécessite un certificat RGS."
DENIED = "Accès refusé."
_BLOCK = 1024 * 1024


def post_act(agent: Agent, posting: Posting, *, rgs: bool, now: datetime) -> Transaction:
    """A new act, posted or waiting for its confirmation; its files and its archive are stored before its row.

    `rgs` says whether the certificate presented may transmit: without it, an act may still be laid down for
    somebody who has one to confirm it. Raises ActRefused, AccessRefused.
    """
    if not agent.may_deposit:
        raise AccessRefused(DENIED)
    waits = posting.waiting or not agent.may_transmit
    if not rgs and not waits:
        raise AccessRefused(RGS_NEEDED)
    fields.check_number(posting.number)
    decided = fields.check_decided(posting.decided, today=today(now))
    _number_is_free(agent, posting.number)
    main, codes = posting.main, versions.codes_of(agent.authority)
    if main is None:
        raise ActRefused("Aucun fichier acte n'a été posté.")
    if posting.not_integers:
        raise ActRefused(f"{posting.not_integers[0]} n'est pas un entier.")
    pieces = [main, *posting.annexes]
    for each in pieces:
        fields.check_received(each.upload)
    for each in pieces:
        if not each.typology:
            fields.check_typology("", each.upload.name)
    types = [fields.check_main(main.upload, nature=posting.nature, codes=posting.codes)]
    types += [fields.check_annex(each.upload, main=types[0]) for each in posting.annexes]
    for each in pieces:
        fields.check_typology(each.typology, each.upload.name)
    fields.check_nature(posting.nature)
    subject = fields.check_subject(posting.subject)
    if len(posting.codes) < 2:
        raise ActRefused("Les deux premiers niveaux de la classification sont obligatoires.")
    made = Transaction(
        authority=agent.authority,
        agent=agent,
        type=ACT,
        nature=posting.nature,
        number=posting.number,
        subject=subject,
        classification=".".join(map(str, posting.codes)),
        classification_date=codes.version.on,
        decided_on=decided,
        paper=posting.paper,
        broadcast=list(posting.broadcast),
        send_sources=posting.send_sources,
        holds_number=True,
        unique_id=act_identifier(
            department=agent.authority.department,
            siren=agent.authority.siren,
            decided=decided,
            number=posting.number,
            nature=posting.nature,
        ),
    )
    files = store_pieces(made, pieces, types, kind="1-1")
    made.message_name = names.message(made.unique_id, "1-1")
    made.message = write(_message(made, files))
    wrap(made, [from_store(each.name, each.size, each.key) for each in files], now=now)
    # Everything is stored: a crash from here leaves objects without a row, never a row without its archive.
    try:
        with transaction.atomic():
            status = statuses.UNCONFIRMED if waits else statuses.POSTED
            said = "Dépôt dans un état d'attente" if waits else "Dépôt initial"
            moves.begin(made, status=status, message=said, now=now)
            save_files(made, files)
            check_soon(made)
    except IntegrityError as twice:
        raise ActRefused(_taken(posting.number)) from twice
    return made


def today(now: datetime) -> date:
    """The day by the legal time: it is not that of Greenwich around midnight."""
    return now.astimezone(ZoneInfo(settings.TIME_ZONE)).date()


def check_soon(made: Transaction) -> None:
    """Ask for the check after the commit; a lost task is found by the sweep."""
    if made.status != statuses.POSTED:
        return
    from dematmp.acts.tasks import check_transaction

    transaction.on_commit(lambda: check_transaction.delay(made.pk), robust=True)


def _taken(number: str) -> str:
    return (
        f"Un acte portant le même numéro interne {number} existe déjà dans la base de données : "
        "ajoutez un suffixe au numéro."
    )


def _number_is_free(agent: Agent, number: str) -> None:
    if Transaction.objects.filter(
        authority=agent.authority, number=number, type=ACT, holds_number=True
    ).exists():
        raise ActRefused(_taken(number))


def store_pieces(
    made: Transaction, pieces: list[Piece], types: list[str], *, kind: str
) -> list[IncludedFile]:
    """Write the bytes of each piece, and give their rows, not saved."""
    files = []
    for rank, (piece, media_type) in enumerate(zip(pieces, types, strict=True), start=1):
        key = f"acts/{new_key()}/{rank}"
        sha1 = hashlib.sha1(usedforsecurity=False)
        piece.upload.stream.seek(0)
        stored = object_store().put_stream(key, _hashed(piece, sha1))
        name = names.document(
            made.unique_id, kind, rank, typology=piece.typology, extension=fields.EXTENSIONS[media_type]
        )
        files.append(
            IncludedFile(
                rank=rank,
                name=name,
                posted_name=posted_name(piece.upload.name),
                media_type=media_type,
                size=stored.size,
                sha256=stored.sha256,
                sha1=sha1.hexdigest(),
                typology=piece.typology,
                signature=piece.signature,
                key=key,
            )
        )
    return files


def _hashed(piece: Piece, digest: "hashlib._Hash") -> Iterator[bytes]:
    while block := piece.upload.stream.read(_BLOCK):
        digest.update(block)
        yield block


def posted_name(name: str) -> str:
    """The client's name without folders nor characters that no screen shows."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "_", last)[-255:] or "fichier"


def save_files(made: Transaction, files: list[IncludedFile]) -> None:
    """The rows of a transaction's files, its message first."""
    message = bytes(made.message or b"")
    first = IncludedFile(
        rank=0,
        name=made.message_name,
        posted_name=made.message_name,
        media_type="text/xml",
        size=len(message),
        sha1=hashlib.sha1(message, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(message).hexdigest(),
    )
    for each in (first, *files):
        each.transaction = made
    IncludedFile.objects.bulk_create([first, *files])


def _message(made: Transaction, files: list[IncludedFile]) -> m.Act:
    if made.decided_on is None or made.classification_date is None:
        raise ActRefused("La date de la décision doit être présente.")
    return m.Act(
        number=made.number,
        nature=made.nature,
        decided=made.decided_on,
        codes=tuple(int(code) for code in made.classification.split(".")),
        subject=made.subject,
        classification_date=made.classification_date,
        document=m.File(files[0].name, files[0].signature),
        annexes=tuple(m.File(each.name, each.signature) for each in files[1:]),
        paper=made.paper,
    )


def confirm(made: Transaction, *, by: Agent, rgs: bool, now: datetime) -> None:
    """An agent who may transmit confirms what waits. Raises ActRefused, AccessRefused."""
    if not by.may_transmit or by.authority_id != made.authority_id:
        raise AccessRefused(DENIED)
    if not rgs:
        raise AccessRefused(RGS_NEEDED)
    if made.status != statuses.UNCONFIRMED:
        raise ActRefused("La transaction n'est pas en attente d'être postée.")
    with transaction.atomic():
        moved = moves.move(
            made.pk,
            statuses.POSTED,
            message=f"Postée par l'agent {by}",
            now=now,
            only_from=frozenset({statuses.UNCONFIRMED}),
        )
        if moved is not None:
            check_soon(moved)
