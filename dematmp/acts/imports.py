"""A ready-made archive of one act is taken as it is, when everything in it is the account's own."""

import hashlib
import tempfile
from datetime import datetime
from typing import BinaryIO

from django.conf import settings
from django.db import IntegrityError, transaction

from dematmp.acts import fields, moves, names, posting, statuses
from dematmp.acts import messages as m
from dematmp.acts.errors import AccessRefused, ActRefused, MessageRefused
from dematmp.acts.fields import Upload
from dematmp.acts.package import blocks_of, members
from dematmp.acts.reading import read, read_envelope
from dematmp.acts.rules import NATURES, act_identifier
from dematmp.acts.subscribers import Agent, Authority, new_key
from dematmp.acts.transactions import ACT, IncludedFile, Transaction
from dematmp.acts.xmlio import MESSAGE_BYTES
from storage.stores import object_store


def import_archive(agent: Agent, upload: Upload, *, rgs: bool, now: datetime) -> Transaction:
    """Post the act that an archive carries. Raises ActRefused, AccessRefused."""
    if not (agent.may_deposit and agent.may_transmit):
        raise AccessRefused(posting.DENIED)
    if not rgs:
        raise AccessRefused(posting.RGS_NEEDED)
    fields.check_received(upload)
    try:
        return _import(agent, upload, now)
    except MessageRefused as broken:
        raise ActRefused(f"Enveloppe invalide : {broken}") from broken


def _import(agent: Agent, upload: Upload, now: datetime) -> Transaction:
    two: list[tuple[str, bytes]] = []
    files: list[IncludedFile] = []
    upload.stream.seek(0)
    for name, size, content in members(upload.stream):
        if len(two) < 2:
            if size > MESSAGE_BYTES:
                raise MessageRefused(f"le fichier {name} dépasse 1 Mio.")
            two.append((name, content.read()))
        else:
            files.append(_document(name, len(files) + 1, content))
    if len(two) < 2 or names.ENVELOPE.fullmatch(two[0][0]) is None:
        raise MessageRefused("l'archive doit porter l'enveloppe, le message puis les documents.")
    (envelope_name, envelope), (message_name, message) = two
    if names.siren_of_envelope(envelope_name) != agent.authority.siren:
        raise MessageRefused("le nom de l'enveloppe n'est pas de cette collectivité.")
    act = _checked(agent, envelope, message_name, message, now)
    named = [act.document.name, *(each.name for each in act.annexes)]
    if [each.name for each in files] != named:
        raise MessageRefused("les fichiers de l'archive ne sont pas ceux que cite le message.")
    made = Transaction(
        authority=agent.authority, agent=agent, type=ACT, nature=act.nature, number=act.number,
        subject=act.subject[:500], classification=act.classification,
        classification_date=act.classification_date, decided_on=act.decided, paper=act.paper,
        holds_number=True, unique_id=_identifier(agent, act), message_name=message_name, message=message,
        envelope_name=envelope_name,
    )  # fmt: skip
    upload.stream.seek(0)
    made.archive_key = f"acts/{new_key()}/{names.archive(envelope_name, trigram=settings.ACTES['trigram'])}"
    made.archive_size = object_store().put_stream(made.archive_key, blocks_of(upload.stream)).size
    try:
        with transaction.atomic():
            _check_new(agent, envelope_name)
            moves.begin(made, status=statuses.POSTED, message="Dépôt initial", now=now)
            posting.save_files(made, files)
            posting.check_soon(made)
    except IntegrityError as twice:
        raise ActRefused(
            f"Un acte portant le même numéro interne {act.number} existe déjà dans la base de données."
        ) from twice
    return made


def _check_new(agent: Agent, envelope_name: str) -> None:
    """The ministry refuses an envelope by its name alone: two would fall together. Raises ActRefused."""
    Authority.objects.select_for_update(no_key=True).get(pk=agent.authority_id)  # one archive at a time
    if Transaction.objects.filter(envelope_name=envelope_name).exists():
        raise ActRefused(f"Une enveloppe du même nom a déjà été déposée : {envelope_name}.")


def _identifier(agent: Agent, act: m.Act) -> str:
    return act_identifier(
        department=agent.authority.department,
        siren=agent.authority.siren,
        decided=act.decided,
        number=act.number,
        nature=act.nature,
    )


def _checked(agent: Agent, envelope: bytes, name: str, message: bytes, now: datetime) -> m.Act:
    """The act, when the envelope is of this authority and names this message. Raises MessageRefused."""
    said, authority = read_envelope(envelope), agent.authority
    if (said.siren, said.department, said.district, said.nature) != (
        authority.siren,
        authority.department,
        authority.district,
        authority.nature,
    ):
        raise MessageRefused("l'enveloppe n'est pas de cette collectivité.")
    if [each.name for each in said.messages] != [name]:
        raise MessageRefused("l'enveloppe n'annonce pas le message que porte l'archive.")
    act = read(message)
    if not isinstance(act, m.Act) or act.nature not in NATURES or len(act.codes) < 2:
        raise MessageRefused("un message « Acte » de nature connue est attendu.")
    fields.check_number(act.number)
    fields.check_decided(act.decided.isoformat(), today=posting.today(now))
    if name != names.message(_identifier(agent, act), "1-1"):
        raise MessageRefused("le nom du message ne correspond pas à son contenu.")
    return act


def _document(name: str, rank: int, content: BinaryIO) -> IncludedFile:
    with tempfile.TemporaryFile() as file:
        sha1 = hashlib.sha1(usedforsecurity=False)
        for block in blocks_of(content):
            sha1.update(block)
            file.write(block)
        media_type = fields.sniff(file)
        if media_type not in fields.EXTENSIONS:
            raise MessageRefused(f"le format {media_type} du fichier {name} n'est pas permis.")
        key = f"acts/{new_key()}/{rank}"
        stored = object_store().put_stream(key, blocks_of(file))
    return IncludedFile(
        rank=rank, name=name, posted_name=name, media_type=media_type, size=stored.size,
        sha1=sha1.hexdigest(), sha256=stored.sha256, typology=name[:5], key=key,
    )  # fmt: skip
