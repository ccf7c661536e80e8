"""The worker's side of an opening: it starts a short-lived process that unseals and exits."""

import logging
import subprocess
import sys
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from dematmp.audit.rows import each_row
from dematmp.consultations.models import Consultation
from dematmp.opening import scanning, trust_lists
from dematmp.opening.keys import remind
from dematmp.opening.left_out import tell_left_out
from dematmp.opening.models import OpeningSession
from dematmp.opening.preserving import preserve
from dematmp.opening.rehearsals import conclude, prepare, unconcluded, unprepared
from storage.antivirus import answers, current_engines
from storage.errors import StorageError

logger = logging.getLogger(__name__)


@shared_task
def unseal_session(session_id: int) -> None:
    """Run `manage.py unseal`.

    Keys and plaintexts live in that process only. May run twice; the rows say what is done.
    """
    session = OpeningSession.objects.unfinished().filter(pk=session_id).first()
    if session is None:
        return
    done = subprocess.run(
        [sys.executable, "manage.py", "unseal", str(session.uuid)],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        logger.warning("unseal %s exited %s: %s", session.uuid, done.returncode, done.stderr.strip()[-500:])


@shared_task
def prepare_twin(consultation_id: int) -> None:
    """The dummy bid of a rehearsal. May run twice."""
    twin = Consultation.every.exclude(twin_of=None).filter(pk=consultation_id).first()
    if twin is not None:
        prepare(twin)


@shared_task
def preserve_reports() -> None:
    """Tokens over the reports on signatures, and their renewal."""
    preserve(timezone.now)


@shared_task
def sweep() -> None:
    """Resume the openings and rehearsals that a lost task or a killed process left unfinished."""
    each_row(OpeningSession.objects.unfinished().order_by("?").values_list("pk", flat=True), unseal_session)
    waiting = scanning.awaiting().order_by("?").values_list("pk", flat=True)[:50]
    if waiting and answers():  # each file would wait for a daemon that is away
        each_row(waiting, scan_opened)
    each_row([twin.pk for twin in unprepared()], prepare_twin)
    tell_left_out(now=timezone.now())
    each_row(unconcluded(), lambda session: conclude(session, now=timezone.now()))


@shared_task
def scan_opened(file_id: int) -> None:
    """Scan one opened file; an antivirus or a store that does not answer leaves it for the next sweep."""
    try:
        scanning.scan_again(file_id, now=timezone.now())
    except StorageError:
        return


@shared_task
def rescan() -> None:
    """After an update of the signatures, what was opened lately is scanned again."""
    engines = current_engines()
    if engines:
        outdated = scanning.outdated(engines, now=timezone.now()).order_by("?").values_list("pk", flat=True)
        each_row(outdated[:500], scan_opened)


@shared_task
def watch_lists() -> None:
    """Say in the log that trusted lists are stale, missing or refused."""
    trust_lists.alarm(timezone.now())


@shared_task
def remind_holders() -> None:
    """Whoever holds a share of a consultation that closes within a week."""
    now = timezone.now()
    closing = (
        Consultation.objects.real().closing(now=now, within=timedelta(days=7)).select_related("ceremony")
    )
    each_row(closing, lambda consultation: remind(consultation, now=now))
