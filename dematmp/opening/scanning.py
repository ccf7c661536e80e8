"""Opened files that the antivirus had not seen, or judged by older signatures: scanned from their store.

An opening never waits for the antivirus: what it could not scan is written "analyse en attente" in the
minutes and is served to nobody until it is scanned. A verdict is that of a day: after each update of the
signatures, what was opened lately is scanned again, and each change is journalled.
"""

from datetime import datetime, timedelta
from hashlib import sha256

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from dematmp.audit.services import append
from dematmp.consultations.models import SERVED
from dematmp.mails.services import store as store_mail
from dematmp.opening import signatures
from dematmp.opening.models import OpenedFile, OpeningSession
from storage.antivirus import State, Verdict, current_engines, scan
from storage.errors import ObjectMissing, ScanFailed, WorkspaceFull
from storage.stores import object_store

PATIENCE = timedelta(minutes=10)  # how long an antivirus that fails on a file is asked again


def awaiting() -> QuerySet[OpenedFile]:
    """Files of opened envelopes that no antivirus has judged."""
    return OpenedFile.objects.filter(verdict="pending", opened__state="opened").exclude(done_at=None)


def outdated(engines: list[str], *, now: datetime) -> QuerySet[OpenedFile]:
    """Files opened lately, judged by other signatures than those of now."""
    recent = now - timedelta(days=settings.RESCAN_DAYS)
    judged = OpenedFile.objects.filter(done_at__gte=recent, opened__state="opened")
    return judged.exclude(verdict="pending").exclude(engine__in=engines)


def renew(session: OpeningSession, *, now: datetime) -> int:
    """How many files of a session have a verdict of older signatures, whose new one is worth waiting for.

    They are scanned again at once. An antivirus that is away, or that fails on them for `PATIENCE`, holds no
    minutes back: their last verdict stands. Signatures that change meanwhile are waited for as long.
    """
    engines = current_engines()
    waiting = outdated(engines, now=now).filter(opened__session=session) if engines else None
    rows = OpeningSession.objects.filter(pk=session.pk)
    if waiting is None or not waiting.exists():
        rows.update(rescan_asked_at=None, rescan_by="")
        return 0
    asked = sha256("\n".join(sorted(engines)).encode()).hexdigest()
    rows.exclude(rescan_by=asked, rescan_asked_at__isnull=False).update(rescan_asked_at=now, rescan_by=asked)
    since = rows.values_list("rescan_asked_at", flat=True).get()
    if since is not None and now - since > PATIENCE:
        return 0
    from dematmp.opening.tasks import scan_opened

    for pk in waiting.order_by("pk").values_list("pk", flat=True):
        scan_opened.delay(pk)
    return waiting.count()


def scan_again(file_id: int, *, now: datetime) -> None:
    """Scan one opened file and keep the verdict. May run twice.

    Raises AntivirusUnavailable, ScanFailed, StoreUnavailable (retried by the sweep): the last verdict stands.
    """
    file = OpenedFile.objects.select_related(
        "opened__session__consultation", "opened__envelope__attempt__bid"
    ).get(pk=file_id)
    try:
        verdict = scan(object_store().open(file.key))
    except ObjectMissing:
        return  # the store's check names it
    except WorkspaceFull:
        raise  # for as long as it lasts: no fault of the file
    except ScanFailed as failed:
        if file.verdict != "pending" or (file.done_at and now - file.done_at < PATIENCE):
            raise
        verdict = Verdict(State.UNSCANNABLE, f"l'antivirus n'a pas pu l'analyser : {failed}")
    settle(file, verdict, now=now)


def settle(file: OpenedFile, verdict: Verdict, *, now: datetime) -> None:
    """Write a verdict over the last one; a change is journalled, a served file's withdrawal is told."""
    session = file.opened.session
    before, after = file.verdict, str(verdict.state)
    signature = file.signature
    if after in SERVED and signature is None:
        signature = signatures.report(file, signatures.kind(file))
    with transaction.atomic():
        changed = OpenedFile.objects.filter(pk=file.pk, verdict=before).update(
            verdict=after,
            verdict_detail=detail(verdict),
            engine=verdict.engine[:300],
            scanned_at=now,
            signature=signature,
        )
        if not changed or before == after:
            return
        append(
            "scan-verdict",
            {
                "session": str(session.uuid),
                "envelope": str(file.opened.envelope.uuid),
                "file": file.index,
                "verdict": after,
                "before": before,
            },
            consultation=session.consultation.uuid,
            now=now,
        )
        if before in SERVED and after not in SERVED:
            file.verdict = after
            _tell_holders(file, verdict, now=now)


def detail(verdict: Verdict) -> str:
    """The threat or the reason, and who says so."""
    return f"{verdict.name} {verdict.engine}".strip()[:200]


def _tell_holders(file: OpenedFile, verdict: Verdict, *, now: datetime) -> None:
    consultation = file.opened.session.consultation
    for holder in consultation.ceremony.holders.select_related("user").order_by("index"):
        store_mail(
            to=holder.user.email,
            subject=f"{consultation.reference} : un fichier ouvert n'est plus communiqué",
            body=f"Analysé de nouveau avec des signatures plus récentes, le fichier « {file.name} » de "
            f"{file.opened.envelope.attempt.bid.bidder.name} est jugé {file.get_verdict_display()} "
            f"({verdict.name}). Il n'est plus communiqué.\nSi vous l'avez téléchargé, ne l'ouvrez plus et "
            "prévenez votre service informatique.",
            now=now,
        )
