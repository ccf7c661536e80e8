"""What people's signatures on opened files are worth, at the deposit's time (ETSI EN 319 102-1).

Each report is made in a bounded subprocess, from the file and, where its signature stands beside what it
signs, from the other files of the same envelope. It never rejects a bid: the committee reads it.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from django.conf import settings

from dematmp.consultations.models import SERVED
from dematmp.opening.models import OpenedEnvelope, OpenedFile
from signing.sniffing import MOST_BYTES, Kind, sniff
from signing.validation import FILE_LIMIT, unreadable, validate_isolated
from storage.stores import object_store

_BESIDE_BYTES = 1024**3  # of the files among which a detached signature finds its own, all together
_BESIDE_FILES = 200
_NAME_BYTES = 200


def kind(file: OpenedFile) -> Kind:
    """What its first bytes say; a ZIP that does not say that it holds signatures is a plain archive."""
    head = b"".join(object_store().open(file.key, 0, min(MOST_BYTES, file.size)))
    found = sniff(head)
    container = b"mimetypeapplication/vnd.etsi.asic" in head or b"META-INF/" in head
    named = PurePosixPath(file.name.lower()).suffix in (".asice", ".asics", ".sce", ".scs")
    return Kind.OTHER if found is Kind.ZIP and not (container or named) else found


def stands_beside(found: Kind) -> bool:
    """Whether what such a file signs may be another file."""
    return found in (Kind.CMS, Kind.XML)


def report(file: OpenedFile, found: Kind) -> dict[str, object] | None:
    """The report, or None for a file that bears no signature."""
    if found is Kind.OTHER:
        return None
    if file.size > FILE_LIMIT:
        return unreadable("Fichier trop volumineux pour être analysé.").as_dict()
    bid = file.opened.envelope.attempt.bid
    at: datetime = bid.received_at  # the journal's signed checkpoint proves it before any late token does
    with tempfile.TemporaryDirectory(prefix="dematmp-signature-") as folder:
        path = _bring(file, Path(folder))
        beside = [_bring(each, Path(folder)) for each in _beside(file)] if stands_beside(found) else []
        trust = [Path(each) for each in settings.SIGNATURE_TRUST]
        said = validate_isolated(path, at=at, trust=trust, beside=beside, name=file.name, online=True)
    return plain(said.as_dict())


def plain(said: object) -> dict[str, object]:
    """A report as PostgreSQL keeps it: its JSON has no U+0000, which a hostile certificate may bear."""
    return dict(json.loads(json.dumps(said).replace("\\u0000", "\\ufffd")))


def without_evidence(said: dict[str, object] | None) -> dict[str, object] | None:
    """What the minutes say of a report; the certificates that it rests on stay with the file."""
    return {name: value for name, value in said.items() if name != "evidence"} if said else said


def report_beside(row: OpenedEnvelope) -> None:
    """The signatures of an envelope that stand beside what they sign, once its files are all there.

    May run twice and be killed anywhere: each report is written by itself.
    """
    here = row.files.filter(verdict__in=SERVED, signature__isnull=True).exclude(done_at=None)
    for file in here.order_by("index"):
        found = kind(file)
        if stands_beside(found) and (said := report(file, found)) is not None:
            OpenedFile.objects.filter(pk=file.pk, signature__isnull=True).update(signature=said)


def _beside(file: OpenedFile) -> Iterator[OpenedFile]:
    """The other files of the envelope, those of the same name first, as far as the limits go."""
    others = file.opened.files.exclude(pk=file.pk).exclude(done_at=None).filter(verdict__in=SERVED)
    stem, left = PurePosixPath(file.name).stem, _BESIDE_BYTES
    ordered: Sequence[OpenedFile] = sorted(
        others, key=lambda each: (not each.name.startswith(stem), each.index)
    )
    for each in ordered[:_BESIDE_FILES]:
        if each.size <= min(left, FILE_LIMIT):
            left -= each.size
            yield each


def _bring(file: OpenedFile, folder: Path) -> Path:
    """The bytes of a file, under its own name: signatures name what they sign."""
    name = PurePosixPath(file.name).name.encode()[-_NAME_BYTES:].decode(errors="ignore") or "fichier"
    path = folder / str(file.index) / name
    path.parent.mkdir()
    with path.open("wb") as out:
        for block in object_store().open(file.key):
            out.write(block)
    return path
