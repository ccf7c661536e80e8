"""Reports on signatures are timestamped once made, and again before their last token weakens."""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError
from django.db.models import OuterRef, Q, QuerySet, Subquery

from dematmp.audit.models import PreservationToken
from dematmp.audit.services import utc_text
from dematmp.audit.stamping import obtain_token
from dematmp.opening.models import OpenedFile
from signing.preserving import VERSION, statement
from signing.report import LABELS

_MOST = 500  # of one pass


def to_preserve(now: datetime) -> QuerySet[OpenedFile]:
    """Files whose report has no token yet, or one that is to be renewed."""
    latest = PreservationToken.objects.filter(subject=OuterRef("uuid")).order_by("-rank").values("at")[:1]
    old = now - timedelta(days=settings.REPORT_RENEWAL_DAYS)
    found = OpenedFile.objects.filter(signature__indication__in=list(LABELS)).exclude(sha256="")
    return found.annotate(last=Subquery(latest)).filter(Q(last=None) | Q(last__lt=old)).order_by("pk")


def preserve(clock: Callable[[], datetime]) -> int:
    """Ask for the tokens that are due; how many came. May run twice; stops when nobody answers."""
    count = 0
    for file in to_preserve(clock())[:_MOST]:
        if not _stamp(file, now=clock()):
            break
        count += 1
    return count


def _stamp(file: OpenedFile, *, now: datetime) -> bool:
    known = tokens_of(file).last()
    previous = bytes(known.response) if known else None
    data = statement(sha256=file.sha256, report=file.signature or {}, previous=previous)
    stamped = obtain_token(data, now=now)
    if stamped is None:
        return False
    stamp, authority = stamped
    rank = known.rank + 1 if known else 0
    made = PreservationToken(subject=file.uuid, rank=rank, response=stamp.response, authority=authority)
    made.at = stamp.token.gen_time
    try:
        made.save()
    except IntegrityError:
        return True  # another worker renewed it meanwhile
    return True


def tokens_of(file: OpenedFile) -> QuerySet[PreservationToken]:
    return PreservationToken.objects.filter(subject=file.uuid).order_by("rank")


def kept(file: OpenedFile) -> dict[str, object]:
    """The report, its evidence and its tokens: `python -m signing check FILE --report` judges it again."""
    return {
        "v": VERSION,
        "file": {"name": file.name, "sha256": file.sha256},
        "report": file.signature,
        "tokens": [
            {
                "response": base64.b64encode(bytes(each.response)).decode(),
                "authority": each.authority,
                "time": utc_text(each.at),
            }
            for each in tokens_of(file)
        ],
    }
