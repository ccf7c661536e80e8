"""Pieces of the consultation file: upload, scan, download, one-click ZIP."""

import hashlib
import json
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.accounts.rules import clean_text
from dematmp.audit.services import append, utc_text
from dematmp.consultations.errors import (
    ConsultationError,
    DocumentNotServed,
    DocumentTooLarge,
    NameRefused,
    WrongStep,
)
from dematmp.consultations.exchanges import tell_followers
from dematmp.consultations.models import SERVED, Consultation, Document, DocumentVersion, Withdrawal
from dematmp.consultations.rules import check_not_empty, check_pdf, clean_name
from dematmp.consultations.services import check_not_frozen
from dematmp.mails.services import store as store_mail
from storage.antivirus import State, Verdict, scan
from storage.errors import ScanFailed, WorkspaceFull
from storage.stores import object_store
from storage.zipped import Entry, ZipOf

_HEAD_BYTES = 1024
_LINES = 1000  # of the register of downloads in one entry of the journal
_NOTE = "LISEZ-MOI - pièces en cours d'analyse.txt"
_PATIENCE = timedelta(minutes=10)  # how long an antivirus that fails on a file is asked again


class _Counted:
    """Counts, hashes and bounds a stream while it passes."""

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self.chunks, self.limit, self.size, self.digest = chunks, limit, 0, hashlib.sha256()
        self.head, self.crc32 = b"", 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.size += len(chunk)
            if self.size > self.limit:
                raise DocumentTooLarge(f"Ce fichier dépasse la limite de {self.limit} octets.")
            self.digest.update(chunk)
            self.crc32 = zlib.crc32(chunk, self.crc32)
            self.head += chunk[: max(0, _HEAD_BYTES - len(self.head))]
            yield chunk


def add_version(
    consultation: Consultation,
    *,
    title: str,
    kind: str,
    name: str,
    chunks: Iterable[bytes],
    by: User,
    now: datetime,
    document: Document | None = None,
) -> DocumentVersion:
    """Store a new piece, or a new version of `document`.

    The antivirus then decides whether it is ever served.

    Raises NameRefused, EmptyDocument, DocumentUnreadable, DocumentTooLarge, WrongStep; nothing is left
    behind.
    """
    name = clean_name(name)
    if not title.strip() or len(title) > 200:
        raise NameRefused("Donnez à la pièce un intitulé de 1 à 200 caractères.")
    check_not_frozen(consultation)
    if consultation.published_at and not consultation.is_open(now=now):
        raise WrongStep("La consultation est close : ses pièces ne changent plus.")
    key = f"documents/{consultation.uuid}/{uuid.uuid4()}"
    store = object_store()
    counted = _Counted(chunks, settings.DOCUMENT_BYTES)
    try:
        store.put_stream(key, counted)
        check_not_empty(counted.size, name)
        check_pdf(counted.head, name)
    except ConsultationError:
        store.delete(key)
        raise
    # The bytes are stored: a crash from here leaves an orphan object, never a row without its bytes.
    with transaction.atomic():
        check_not_frozen(Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk))
        if document is None:
            document = Document.objects.create(consultation=consultation, kind=kind, title=clean_text(title))
        latest = document.versions.aggregate(latest=Max("number"))["latest"] or 0
        version = DocumentVersion.objects.create(
            document=document,
            number=latest + 1,
            name=name,
            size=counted.size,
            sha256=counted.digest.hexdigest(),
            crc32=counted.crc32,
            key=key,
            uploaded_by=by,
            uploaded_at=now,
        )
        from dematmp.consultations.tasks import scan_document

        transaction.on_commit(lambda: scan_document.delay(version.pk), robust=True)
    return version


def outdated(engines: list[str], *, now: datetime) -> QuerySet[DocumentVersion]:
    """Versions sent lately, judged by other signatures than those of now."""
    recent = DocumentVersion.objects.filter(uploaded_at__gte=now - timedelta(days=settings.RESCAN_DAYS))
    return recent.exclude(verdict="pending").exclude(engine__in=engines)


def scan_version(version_id: int, *, now: datetime) -> None:
    """Scan one version and store the verdict; it is then served, or its sender is told why not.

    May run twice, and again after an update of the signatures. Raises AntivirusUnavailable, ScanFailed,
    StoreUnavailable (retried by the sweep): the last verdict stands.
    """
    version = (
        DocumentVersion.objects.select_related("document__consultation", "uploaded_by")
        .filter(pk=version_id)
        .first()
    )
    if version is None:
        return
    before = version.verdict
    try:
        verdict = scan(object_store().open(version.key))
    except WorkspaceFull:
        raise  # for as long as it lasts: no fault of the file
    except ScanFailed as failed:
        if before != "pending" or now - version.uploaded_at < _PATIENCE:
            raise
        verdict = Verdict(State.UNSCANNABLE, f"l'antivirus n'a pas pu l'analyser : {failed}")
    with transaction.atomic():
        changed = DocumentVersion.objects.filter(pk=version_id, verdict=before).update(
            verdict=str(verdict.state),
            verdict_detail=(verdict.name or verdict.engine or "")[:200],
            engine=verdict.engine[:300],
            scanned_at=now,
        )
        if changed and before != str(verdict.state):
            version.refresh_from_db(fields=["verdict", "verdict_detail"])
            _announce(version, before=before, now=now)


def _withdraw(version: DocumentVersion, *, now: datetime) -> None:
    """A piece that companies could download is found bad by later signatures: journalled, and told to all."""
    consultation = version.document.consultation
    append(
        "document-withdrawn",
        {
            "consultation": str(consultation.uuid),
            "document": str(version.document.uuid),
            "version": version.number,
            "sha256": version.sha256,
            "verdict": version.verdict,
        },
        consultation=consultation.uuid,
        now=now,
    )
    tell_followers(
        consultation,
        f"La version {version.number} de la pièce « {version.document.title} » n'est plus proposée : "
        f"analysée de nouveau, elle est jugée {version.get_verdict_display()}. "
        "Si vous l'avez téléchargée, ne l'ouvrez plus.",
        now=now,
    )


def _announce(version: DocumentVersion, *, before: str, now: datetime) -> None:
    """Once published, a change is journalled and told to who follows; a refused file to its sender."""
    document = version.document
    consultation = document.consultation
    if not version.is_served:
        store_mail(
            to=version.uploaded_by.email,
            subject=f"{consultation.reference} : le fichier « {version.name} » n'est pas proposé",
            body=f"L'antivirus a jugé le fichier « {version.name} » {version.get_verdict_display()} "
            f"({version.verdict_detail}). Il n'est communiqué à personne"
            + (" ; la version précédente reste proposée." if document.served else ".")
            + "\nVérifiez votre poste, puis déposez une version saine.",
            now=now,
        )
        if before in SERVED and consultation.published_at:
            _withdraw(version, now=now)
    elif before not in SERVED and consultation.published_at:
        append(
            "document-version",
            {
                "consultation": str(consultation.uuid),
                "document": str(document.uuid),
                "version": version.number,
                "name": version.name,
                "sha256": version.sha256,
                "by": str(version.uploaded_by.uuid),
            },
            consultation=consultation.uuid,
            now=now,
        )
        what = "est ajoutée" if version.number == 1 else "a une nouvelle version"
        tell_followers(consultation, f"La pièce « {document.title} » {what}.", now=now)


def _not_served(version: DocumentVersion) -> DocumentNotServed:
    """Who waits is told to come back; who would wait for a refused file for ever is told that it is one."""
    if version.verdict == "pending":
        return DocumentNotServed(
            f"Le fichier « {version.name} » n'est pas servi : {version.get_verdict_display()}."
        )
    why = f" ({version.verdict_detail})" if version.verdict_detail else ""
    return DocumentNotServed(
        f"Le fichier « {version.name} » a été refusé : l'antivirus l'a jugé "
        f"{version.get_verdict_display()}{why}. Il n'est communiqué à personne.",
        "L'acheteur en a été prévenu ; une version saine paraîtra sur la page de la consultation.",
    )


def awaited(consultation: Consultation) -> list[DocumentVersion]:
    """The last versions sent that the antivirus has not judged yet: they will appear, or never."""
    last = [document.current for document in consultation.documents.order_by("pk")]
    return [version for version in last if version is not None and version.verdict == "pending"]


def _note(versions: Iterable[DocumentVersion]) -> bytes:
    """In the ZIP, what it lacks: who reads it elsewhere would take it for the whole file."""
    said = "En cours d'analyse par l'antivirus quand ce dossier a été téléchargé, donc absent d'ici :"
    lines = [f"- {each.document.title} : {each.name}, version {each.number}" for each in versions]
    return "\r\n".join([said, *lines, "Revenez à la page de la consultation.", ""]).encode()


def read(
    version: DocumentVersion,
    *,
    email: str = "",
    now: datetime,
    start: int = 0,
    length: int | None = None,
    taken: bool = True,
) -> Iterator[bytes]:
    """The bytes of one version, and a line in the register: none for what goes on with a download, nor for
    who only asks about it (HEAD) and has `taken` nothing.

    Raises DocumentNotServed when it is not clean.
    """
    if not version.is_served:
        raise _not_served(version)
    consultation = version.document.consultation
    if start == 0 and taken:
        Withdrawal.objects.create(consultation=consultation, version=version, email=email, at=now)
    return object_store().open(version.key, start, length)


def journal_withdrawals(consultation: Consultation, *, now: datetime) -> int:
    """Write in the journal the lines of the register that are not there yet; how many. May run twice."""
    with transaction.atomic():
        waiting = Withdrawal.objects.select_for_update(of=("self",)).select_related("version")
        rows = list(waiting.filter(consultation=consultation, entry=None).order_by("pk")[:_LINES])
        if not rows:
            return 0
        # No address: nobody could ever take it out of the journal.
        lines = [[utc_text(row.at), str(row.version.uuid) if row.version else None] for row in rows]
        made = append("withdrawals", {"withdrawals": lines}, consultation=consultation.uuid, now=now)
        Withdrawal.objects.filter(pk__in=[row.pk for row in rows]).update(entry=made.entry.index)
    return len(rows)


@dataclass(frozen=True)
class WholeFile:
    """The whole consultation file as one ZIP; `sha256` is that of what it is made of, pieces and names."""

    consultation: Consultation
    archive: ZipOf
    sha256: str


def whole_file(consultation: Consultation) -> WholeFile:
    """Its last served versions, as they are; a note names what the antivirus has not judged yet.

    Raises DocumentNotServed.
    """
    versions = [version for document in consultation.documents.order_by("pk") if (version := document.served)]
    if not versions:
        raise DocumentNotServed("Aucune pièce du dossier n'est encore proposée.")
    entries, names = list[Entry](), {_NOTE}
    for version in versions:
        name = version.name if version.name not in names else f"{version.document.pk}-{version.name}"
        names.add(name)
        entries.append(_entry(version, name))
    if waiting := awaited(consultation):
        note, at = _note(waiting), timezone.localtime(max(each.uploaded_at for each in waiting))
        entries.append(Entry(_NOTE, len(note), zlib.crc32(note), at, partial(_part_of, note)))
    made_of = [[each.name, each.size, each.crc32, each.modified.isoformat()] for each in entries]
    digests = json.dumps([made_of, [version.sha256 for version in versions]]).encode()
    return WholeFile(consultation, ZipOf(entries), hashlib.sha256(digests).hexdigest())


def _entry(version: DocumentVersion, name: str) -> Entry:
    if version.crc32 is None:  # received before it was kept: read once
        crc32 = 0
        for block in object_store().open(version.key):
            crc32 = zlib.crc32(block, crc32)
        version.crc32 = crc32
        version.save(update_fields=["crc32"])
    at, read = timezone.localtime(version.uploaded_at), partial(object_store().open, version.key)
    return Entry(name, version.size, version.crc32, at, read)


def _part_of(data: bytes, start: int, length: int) -> Iterator[bytes]:
    yield data[start : start + length]


def read_all(
    whole: WholeFile,
    *,
    email: str = "",
    now: datetime,
    start: int = 0,
    length: int | None = None,
    taken: bool = True,
) -> Iterator[bytes]:
    """The bytes of the ZIP, and a line in the register as for one piece (`read`)."""
    if start == 0 and taken:
        Withdrawal.objects.create(consultation=whole.consultation, version=None, email=email, at=now)
    return whole.archive.open(start, length)
