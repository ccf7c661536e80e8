"""A letter of the prefecture, or a referral to the court, becomes a transaction related to its act."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from dematmp.acts import fields, moves, names, statuses
from dematmp.acts import messages as m
from dematmp.acts.errors import MessageRefused
from dematmp.acts.mailbox import Attachment
from dematmp.acts.package import pack
from dematmp.acts.transactions import ACT, IncludedFile, Transaction
from storage.stores import object_store

ARCHIVE_TYPE = "application/x-gzip"
# 3-1 and 4-1 await a receipt of ours; 2-1 and 5-1 await nothing.
_AWAITED = {
    "2-1": statuses.LETTER,
    "3-1": statuses.RECEIVED,
    "4-1": statuses.RECEIVED,
    "5-1": statuses.LETTER,
}


@dataclass(frozen=True)
class Laid:
    """Where the files of a mail are: keys by name, and the archive of them all."""

    keys: Mapping[str, str]
    archive_key: str
    archive_size: int


def is_letter(file: Attachment) -> bool:
    """Whether a message, by its name, is a letter of the prefecture or a referral."""
    return names.MESSAGE.fullmatch(file.name) is not None and names.read_message(file.name).kind in _AWAITED


def lay(digest: str, files: Sequence[Attachment], body: bytes) -> Laid:
    """Store every file of a mail and their archive, before any transaction; twice gives the same objects."""
    keys = {}
    for rank, each in enumerate(files):
        keys[each.name] = f"acts/returns/{digest}/{rank}"
        object_store().put(keys[each.name], each.data)
    members = {each.name: each.data for each in files}
    if body:
        members["courrier.html"] = body
    envelope = next((name for name in members if names.RETURN_ENVELOPE.fullmatch(name)), "retour.xml")
    data = pack(members)
    key = f"acts/returns/{digest}/{settings.ACTES['trigram']}-{envelope.removesuffix('.xml')}.tar.gz"
    object_store().put(key, data)
    return Laid(keys, key, len(data))


def arrive(
    message: m.Letter | m.Referral,
    file: Attachment,
    files: Sequence[Attachment],
    laid: Laid,
    *,
    now: datetime,
) -> Transaction:
    """Keep a letter with everything its mail carried.

    Raises MessageRefused: no such act, a document missing.
    """
    kind = m.kind_of(message)
    if kind not in _AWAITED:
        raise MessageRefused(f"La préfecture n'envoie pas de message {kind}.")
    act = (
        Transaction.objects.filter(unique_id=message.identifier, type=ACT)
        .select_related("authority", "agent")
        .order_by("-holds_number", "-pk")
        .first()
    )
    if act is None:
        raise MessageRefused(f"L'acte {message.identifier} n'est pas de cette plateforme.")
    given = {each.name: each for each in files}
    missing = [each.name for each in message.documents if each.name not in given]
    if missing:
        raise MessageRefused(f"Le document {missing[0]} manque au courrier.")
    made = Transaction(
        authority=act.authority,
        agent=act.agent,
        type=kind[0],
        related=act,
        nature=act.nature,
        number=act.number,
        subject=act.subject,
        classification=act.classification,
        classification_date=act.classification_date,
        unique_id=act.unique_id,
        decided_on=message.filed if isinstance(message, m.Referral) else message.written,
        message_name=file.name,
        message=file.data,
    )
    rows = [_row(0, file, "text/xml")]
    for rank, named in enumerate(message.documents, start=1):
        found = given[named.name]
        row = _row(rank, found, fields.sniff(io.BytesIO(found.data)))
        row.key = laid.keys[found.name]
        rows.append(row)
    rows.append(_whole(len(rows), laid))
    with transaction.atomic():
        moves.begin(made, status=_AWAITED[kind], message="Reçu par le Tdt", now=now, flux=file.data)
        for row in rows:
            row.transaction = made
        # The archive that clients download is what came; the receipt of ours, when one is due, is another.
        IncludedFile.objects.bulk_create(rows)
    return made


def _row(rank: int, file: Attachment, media_type: str) -> IncludedFile:
    return IncludedFile(
        rank=rank,
        name=file.name,
        posted_name=file.name,
        media_type=media_type,
        size=len(file.data),
        sha1=hashlib.sha1(file.data, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(file.data).hexdigest(),
    )


def _whole(rank: int, laid: Laid) -> IncludedFile:
    name = laid.archive_key.rsplit("/", 1)[-1]
    return IncludedFile(
        rank=rank,
        name=name,
        posted_name=name,
        media_type=ARCHIVE_TYPE,
        size=laid.archive_size,
        key=laid.archive_key,
    )
