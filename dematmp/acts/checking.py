"""The archive of a posted transaction is checked before it leaves: antivirus, schema, typologies, PDFs."""

import functools
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from lxml import etree

from dematmp.acts import fields, moves, statuses, versions
from dematmp.acts import messages as m
from dematmp.acts.errors import JudgementUnfinished, MessageRefused
from dematmp.acts.package import blocks_of, members
from dematmp.acts.pdfs import judge_isolated
from dematmp.acts.reading import read, read_envelope
from dematmp.acts.sending import retry_delay
from dematmp.acts.transactions import ACT, Transaction
from dematmp.acts.xmlio import MESSAGE_BYTES, parse
from dematmp.audit.keys import authority_certificate
from storage.antivirus import State, scan
from storage.errors import StorageError
from storage.stores import object_store

_POSTED = frozenset({statuses.POSTED})
_JUDGED = 3  # times, before files that no reader finishes in time are refused


@dataclass
class _Opened:
    """An archive laid out in a folder of its own: the two XML, then the documents by name."""

    envelope: bytes = b""
    message: bytes = b""
    documents: dict[str, Path] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


def check(transaction_id: int, *, now: datetime) -> None:
    """Take a posted transaction to « waiting » or to « error »; may run twice, or be killed anywhere.

    Raises AntivirusUnavailable, StoreUnavailable: the sweep begins again.
    """
    found = _claim(transaction_id, now)
    if found is None:
        return
    with tempfile.TemporaryDirectory(prefix="dematmp-act-") as folder:
        try:
            _scan(found)
            opened = _open(found, Path(folder))
            _schema(opened)
            if not found.message_name.endswith(("-6-1_0.xml", "-7-1_0.xml")):
                _typologies(found, opened)
                _pdfs(found, opened, Path(folder), now)
        except MessageRefused as refused:
            _refuse(found, str(refused), now)
            return
        except JudgementUnfinished as unfinished:
            if found.tries + 1 >= _JUDGED:
                _refuse(found, str(unfinished), now)
                return
            # The machine may have been busy: the others go first.
            _release(found, now + retry_delay() * 2**found.tries, tries=found.tries + 1, why=str(unfinished))
            return
        except (StorageError, OSError) as absent:
            _release(found, None, tries=found.tries, why=str(absent))
            raise
    with transaction.atomic():
        said = "Acceptée par le TdT : validation OK"
        if moves.move(found.pk, statuses.WAITING, message=said, now=now, only_from=_POSTED) is not None:
            Transaction.objects.filter(pk=found.pk).update(due_at=None, tries=0, problem="")


def _claim(transaction_id: int, now: datetime) -> Transaction | None:
    """Take a transaction for this worker: the others check another one. Who dies is replaced later."""
    with transaction.atomic():
        found = (
            Transaction.objects.select_for_update(of=("self",))
            .select_related("authority")
            .filter(pk=transaction_id, status=statuses.POSTED)
            .first()
        )
        if found is None or (found.due_at is not None and found.due_at > now):
            return None
        found.due_at = now + timedelta(seconds=settings.ACTES["claim_seconds"])
        found.save(update_fields=["due_at"])
    return found


def _release(found: Transaction, due_at: datetime | None, *, tries: int, why: str) -> None:
    rows = Transaction.objects.filter(pk=found.pk, status=statuses.POSTED)
    rows.update(due_at=due_at, tries=tries, problem=why[:300])


def _refuse(found: Transaction, why: str, now: datetime) -> None:
    said = f"Enveloppe invalide : {why}"
    moves.move(found.pk, statuses.ERROR, message=said, now=now, only_from=_POSTED)


def _scan(found: Transaction) -> None:
    verdict = scan(object_store().open(found.archive_key))
    if verdict.state is State.INFECTED:
        raise MessageRefused(f"un virus a été trouvé dans l'archive ({verdict.name}).")


def _open(found: Transaction, folder: Path) -> _Opened:
    with (folder / "archive").open("w+b") as whole:
        for block in object_store().open(found.archive_key):
            whole.write(block)
        whole.seek(0)
        opened = _Opened()
        for order, (name, size, content) in enumerate(members(whole)):
            if order < 2:
                if size > MESSAGE_BYTES:
                    raise MessageRefused(f"le fichier {name} dépasse 1 Mio.")
                data = content.read()
                opened.envelope, opened.message = (data, b"") if order == 0 else (opened.envelope, data)
            else:
                _lay(opened, folder / f"{order}", name, content)
    if [each.name for each in read_envelope(opened.envelope).messages] != [found.message_name]:
        raise MessageRefused("l'enveloppe n'annonce pas le message que porte l'archive.")
    _complete(opened)
    return opened


def _lay(opened: _Opened, path: Path, name: str, content: BinaryIO) -> None:
    with path.open("w+b") as file:
        for block in blocks_of(content):
            file.write(block)
        found = fields.sniff(file)
    if found not in fields.EXTENSIONS:
        raise MessageRefused(f"le format {found} du fichier {name} n'est pas permis.")
    opened.documents[name], opened.types[name] = path, found


def _complete(opened: _Opened) -> None:
    """Every file that the message names is there, and no other."""
    message = read(opened.message)
    if isinstance(message, m.Act):
        named = [message.document.name, *(each.name for each in message.annexes)]
        # `Annexes@Nombre` says how many; the schema does not tie it to the files.
        said = parse(opened.message).find("{*}Annexes")
        count = next((value for name, value in said.attrib.items() if str(name).endswith("Nombre")), "") if (
            said is not None
        ) else ""  # fmt: skip
        if count != str(len(message.annexes)):
            raise MessageRefused("le nombre d'annexes annoncé n'est pas celui des fichiers.")
    elif isinstance(message, m.Letter):
        named = [each.name for each in message.documents]
    else:
        named = []
    if sorted(named) != sorted(opened.documents):
        raise MessageRefused("les fichiers de l'archive ne sont pas ceux que cite le message.")


@functools.lru_cache(maxsize=1)
def _official(path: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))


def _schema(opened: _Opened) -> None:
    """Against the official schema where the settings give it (actesv1_1.xsd, which is not ours to ship)."""
    path = settings.ACTES["schema"]
    if not path:
        return
    schema = _official(path)
    for data in (opened.envelope, opened.message):
        if not schema.validate(parse(data)):
            raise MessageRefused(f"message non conforme au schéma : {schema.error_log}"[:300])


def _typologies(found: Transaction, opened: _Opened) -> None:
    codes = versions.codes_of(found.authority)
    for name in opened.documents:
        typology = name[:5]
        if not codes.permits(found.nature, typology):
            raise MessageRefused(
                f"la typologie {typology} n'est pas permise sur le fichier {name} pour cette nature d'acte."
            )


def _pdfs(found: Transaction, opened: _Opened, folder: Path, now: datetime) -> None:
    # Contracts bear the signatures of bidders, of anyone's authorities: intact is enough (nature 4, 1.1). So
    # do the pieces of a procurement that the control authority asks for, whatever the act they are about.
    bidders = found.classification.startswith("1.1") and (found.nature == "4" or found.type != ACT)
    trust = [Path(each) for each in settings.SIGNATURE_TRUST]
    chain = bool(trust) and not bidders
    own = folder / "plateforme.pem"  # what the platform itself seals: deliberations, minutes
    own.write_bytes(authority_certificate())
    paths = {name: path for name, path in opened.documents.items() if opened.types[name] == fields.PDF}
    verdicts = judge_isolated(list(paths.values()), at=now, trust=[*trust, own], chain=chain)
    for name, verdict in zip(paths, verdicts, strict=True):
        if "signature" in verdict.problem:
            raise MessageRefused(f"Problème sur {name} : {verdict.problem}")
        if verdict.problem:
            raise MessageRefused(f"{verdict.problem.capitalize()} dans l'archive : {name}")
