"""The minutes: everything that was opened, and what was not and why, as JSON and as a sealed PDF."""

import hashlib
import json
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dematmp.audit.documents import render
from dematmp.audit.sealing import seal
from dematmp.audit.services import append, utc_text
from dematmp.bids.rules import COUNTS, SUPERSEDED
from dematmp.bids.services import envelope_states
from dematmp.opening.models import OpenedEnvelope, OpeningSession
from dematmp.opening.signatures import without_evidence
from signing.ceremony import fingerprint


def minutes(session: OpeningSession, *, now: datetime) -> dict[str, object]:
    """The minutes as plain values.

    EK is written for opened envelopes only: with it anybody can open them for ever.
    """
    consultation = session.consultation
    deadline = consultation.deadline
    given = {
        share.holder.index: share.received_at
        for share in session.shares.select_related("holder").order_by("pk")
    }
    states = envelope_states(consultation)
    return {
        "v": "minutes/1",
        "session": str(session.uuid),
        "operator": settings.OPERATOR_NAME,
        "buyer": {"name": consultation.buyer.name, "siret": consultation.buyer.siret},
        "consultation": {
            "uuid": str(consultation.uuid),
            "reference": consultation.reference,
            "title": consultation.title,
            "object": consultation.object,
        },
        "deadline": utc_text(deadline) if deadline else None,
        "started": utc_text(session.started_at),
        "released": utc_text(session.released_at) if session.released_at else None,
        "finished": utc_text(now),
        "ceremony": consultation.ceremony_sha256,
        "fingerprint": fingerprint(consultation.ceremony_sha256),
        "threshold": consultation.ceremony.threshold,
        "order": consultation.opening_order,
        "releases": session.releases,
        "sealed_lots": session.sealed_lots,
        "former": former(session),
        "members": [
            {
                "index": holder.index,
                "name": str(holder.user),
                "share": utc_text(given[holder.index]) if holder.index in given else None,
            }
            for holder in consultation.ceremony.holders.select_related("user").order_by("index")
        ],
        "envelopes": [
            _envelope(row, states.get(str(row.envelope.uuid), COUNTS))
            for row in session.envelopes.select_related(
                "envelope__attempt__bidder", "envelope__attempt__bid__late_decision__by", "decided_by"
            ).order_by("envelope__attempt__bid__received_at", "pk")
        ],
    }


def _envelope(row: OpenedEnvelope, state: str) -> dict[str, object]:
    bid = row.envelope.attempt.bid
    said: dict[str, object] = {
        "envelope": str(row.envelope.uuid),
        "deposit": str(bid.uuid),
        "receipt": bid.number,
        "bidder": {"name": bid.bidder.name, "siret": bid.bidder.siret},
        "lot": row.envelope.lot,
        "kind": row.envelope.kind,
        "received": utc_text(bid.received_at),
        "state": row.state,
        "reason": row.reason,
    }
    if row.state == "opened" and state == SUPERSEDED:  # the one that replaced it was known afterwards
        said["superseded"] = True
    late = getattr(bid, "late_decision", None)
    if late is not None:
        said["late"] = {
            "decision": late.decision,
            "reason": late.reason,
            "by": str(late.by),
            "at": utc_text(late.at),
        }
    if row.decision:
        said["decision"] = {
            "decision": row.decision,
            "reason": row.decision_reason,
            "by": str(row.decided_by),
            "at": utc_text(row.decided_at) if row.decided_at else None,
        }
    if row.ek:
        said["ek"] = row.ek
    if row.state == "opened":
        said["files"] = [
            {
                "index": file.index,
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "scan": {"verdict": file.verdict, "detail": file.verdict_detail},
                "signature": without_evidence(file.signature),
                "served": file.is_served,
            }
            for file in row.files.order_by("index")
        ]
    return said


def former(session: OpeningSession) -> list[dict[str, str]]:
    """The minutes that these complete: when each was written, and its SHA-256."""
    return [
        {"finished": utc_text(each.finished_at), "minutes": hashlib.sha256(bytes(each.minutes)).hexdigest()}
        for each in session.former_minutes.order_by("pk")
    ]


def write_minutes(session: OpeningSession, *, now: datetime) -> None:
    """Keep the minutes, journal their digest, end the session and wipe its ephemeral key.

    Does nothing twice. The PDF comes after (`issue_pdf`): a fault in its making never holds the minutes back.
    """
    data = json.dumps(minutes(session, now=now), ensure_ascii=False, indent=1).encode()
    with transaction.atomic():
        locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
        if locked.finished_at is not None or locked.released_at != session.released_at:
            return
        locked.minutes, locked.finished_at, locked.wrapped_seed, locked.problem = data, now, None, ""
        locked.save(update_fields=["minutes", "finished_at", "wrapped_seed", "problem"])
        append("minutes", data, consultation=session.consultation.uuid, now=now)


def issue_pdf(session: OpeningSession, *, now: datetime) -> None:
    """The sealed PDF of the minutes that were written. Does nothing twice."""
    kept = OpeningSession.objects.filter(pk=session.pk, minutes__isnull=False, minutes_pdf=None).first()
    if kept is not None:
        pdf = sealed_pdf(kept, annex=None, now=now)
        # Not into a session that went on meanwhile: others will be its minutes.
        same = OpeningSession.objects.filter(pk=session.pk, finished_at=kept.finished_at, minutes_pdf=None)
        same.update(minutes_pdf=pdf)


def sealed_pdf(session: OpeningSession, *, annex: dict[str, object] | None, now: datetime) -> bytes:
    """The minutes as a PDF sealed by the platform, with what came after them once they are closed."""
    said = {"releases": [], "sealed_lots": [], "former": [], **json.loads(bytes(session.minutes or b""))}
    after = json.loads(json.dumps(annex)) if annex else None
    rows = [*said["envelopes"], *said["members"], *said["releases"], *said["sealed_lots"], *said["former"]]
    if after:
        rows += [after, *after["files"], *after["scans"], *after["observations"]]
    for row in rows:
        for name in ("received", "share", "at", "closed", "finished"):
            if row.get(name):
                row[name] = _local(row[name])
    for name in ("deadline", "started", "released", "finished"):
        said[f"{name}_local"] = _local(said[name]) if said[name] else ""
    title = "Procès-verbal d'ouverture des plis"
    return seal(
        render("minutes", {**said, "annex": after, "zone": settings.TIME_ZONE}, title=title),
        reason=title,
        now=now,
    )


def _local(text: str) -> str:
    moment = timezone.localtime(datetime.fromisoformat(text), ZoneInfo(settings.TIME_ZONE))
    return moment.strftime("%d/%m/%Y à %H:%M:%S")
