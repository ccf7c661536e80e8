"""After the minutes: what the committee decides of kept files, observes, closes and signs.

The minutes themselves never change; what comes after is their annex, in the closed minutes.
"""

import hashlib
import json
import tempfile
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import User
from dematmp.accounts.rules import clean_text
from dematmp.audit.services import append, utc_text
from dematmp.opening import scanning
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.minutes import sealed_pdf
from dematmp.opening.models import FILE_DECISIONS, MinutesSignature, Observation, OpenedFile, OpeningSession
from dematmp.opening.signatures import plain, without_evidence
from signing.validation import validate_isolated

SIGNED_PDF_BYTES = 20 * 1024 * 1024


def _open(session: OpeningSession) -> OpeningSession:
    """The session under its lock, opened and not closed yet. Raises DecisionRefused."""
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
    if locked.finished_at is None or locked.minutes_pdf is None:
        raise DecisionRefused("Le procès-verbal n'est pas encore écrit.")
    if locked.closed_at is not None:
        raise DecisionRefused("Le procès-verbal est clos : il ne change plus.")
    return locked


@transaction.atomic
def decide_file(file: OpenedFile, *, decision: str, reason: str, by: User, now: datetime) -> None:
    """Say what the committee does of a file that the antivirus kept. May be changed until the closing."""
    session = _open(file.opened.session)
    reason = clean_text(reason, lines=True)[:1000]
    if not file.is_kept or decision not in FILE_DECISIONS:
        raise DecisionRefused("Cette décision ne porte que sur un fichier infecté ou non analysable.")
    if not reason:
        raise DecisionRefused("Une décision a un motif.", "Écrivez-le en une phrase.")
    OpenedFile.objects.filter(pk=file.pk).update(
        decision=decision, decision_reason=reason, decided_by=by, decided_at=now
    )
    append(
        "file-decision",
        {
            "session": str(session.uuid),
            "envelope": str(file.opened.envelope.uuid),
            "file": file.index,
            "decision": decision,
            "reason": reason,
            "by": str(by.uuid),
        },
        consultation=session.consultation.uuid,
        now=now,
    )


@transaction.atomic
def observe(session: OpeningSession, *, text: str, by: User, now: datetime) -> Observation:
    """Write a member's observation."""
    locked, text = _open(session), clean_text(text, lines=True)
    if not text:
        raise DecisionRefused("L'observation est vide.", "Écrivez-la, puis recommencez.")
    made = Observation.objects.create(session=locked, user=by, text=text[:4000], at=now)
    append(
        "observation",
        {"session": str(locked.uuid), "text": made.text, "by": str(by.uuid)},
        consultation=locked.consultation.uuid,
        now=now,
    )
    return made


def undecided(session: OpeningSession) -> list[OpenedFile]:
    """Kept files of which the committee has not decided yet."""
    kept = OpenedFile.objects.filter(
        opened__session=session, opened__state="opened", verdict__in=("infected", "unscannable"), decision=""
    )
    return list(kept.select_related("opened__envelope__attempt__bidder").order_by("pk"))


def unscanned(session: OpeningSession) -> int:
    """How many files of opened envelopes no antivirus has judged."""
    return scanning.awaiting().filter(opened__session=session).count()


def annex(session: OpeningSession, *, by: User, now: datetime) -> dict[str, object]:
    """What came after the minutes, as plain values."""
    files = OpenedFile.objects.filter(opened__session=session).exclude(decision="")
    return {
        "v": "minutes-annex/1",
        "session": str(session.uuid),
        "minutes": hashlib.sha256(bytes(session.minutes or b"")).hexdigest(),
        "closed": utc_text(now),
        "by": str(by),
        "files": [
            {
                "envelope": str(file.opened.envelope.uuid),
                "bidder": file.opened.envelope.attempt.bidder.name,
                "index": file.index,
                "name": file.name,
                "verdict": file.verdict,
                "decision": file.decision,
                "words": FILE_DECISIONS[file.decision],
                "reason": file.decision_reason,
                "by": str(file.decided_by),
                "at": utc_text(file.decided_at) if file.decided_at else None,
            }
            for file in files.select_related("opened__envelope__attempt__bidder", "decided_by").order_by("pk")
        ],
        # Judged after the minutes: the antivirus was away, or its signatures changed.
        "scans": [
            {
                "envelope": str(file.opened.envelope.uuid),
                "bidder": file.opened.envelope.attempt.bidder.name,
                "index": file.index,
                "name": file.name,
                "verdict": file.verdict,
                "detail": file.verdict_detail,
                "signature": without_evidence(file.signature),
                "at": utc_text(file.scanned_at) if file.scanned_at else None,
            }
            for file in OpenedFile.objects.filter(
                opened__session=session, opened__state="opened", scanned_at__gt=session.finished_at
            )
            .select_related("opened__envelope__attempt__bidder")
            .order_by("pk")
        ],
        "observations": [
            {"by": str(each.user), "text": each.text, "at": utc_text(each.at)}
            for each in session.observations.select_related("user").order_by("at", "pk")
        ],
    }


def close(session: OpeningSession, *, by: User, now: datetime) -> None:
    """Close the minutes: their annex is written, sealed with them in one PDF, and nothing changes any more.

    Twice is harmless. Raises DecisionRefused while a kept file is not decided, or scanned again by newer
    signatures.
    """
    unclosed = session.finished_at is not None and session.closed_at is None
    if unclosed and (old := scanning.renew(session, now=now)):
        raise DecisionRefused(
            f"{old} fichier(s) ont été jugés par des signatures antérieures : l'antivirus les revoit.",
            "Recommencez dans une minute ; après dix minutes, le dernier verdict vaut.",
        )
    with transaction.atomic():
        locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
        if locked.closed_at is not None:
            return
        _open(locked)
        if waiting := unscanned(locked):
            raise DecisionRefused(
                f"{waiting} fichier(s) ouvert(s) attendent encore l'antivirus.",
                "Ils sont analysés dès qu'il répond ; s'il reste muet, prévenez l'exploitant du site.",
            )
        if missing := undecided(locked):
            raise DecisionRefused(
                f"La commission n'a pas décidé de {len(missing)} fichier(s) gardé(s) par l'antivirus.",
                "Décidez de chacun, puis clôturez le procès-verbal.",
            )
        said = annex(locked, by=by, now=now)
        data = json.dumps(said, ensure_ascii=False, indent=1).encode()
        locked.annex, locked.closed_by, locked.closed_at = data, by, now
        # A second of typesetting under this session's own lock: nobody else waits for it.
        locked.closed_pdf = sealed_pdf(locked, annex=said, now=now)
        locked.save(update_fields=["annex", "closed_by", "closed_at", "closed_pdf"])
        append(
            "minutes-closed",
            {
                "session": str(locked.uuid),
                "annex": hashlib.sha256(data).hexdigest(),
                "pdf": closed_sha256(locked),
                "by": str(by.uuid),
            },
            consultation=locked.consultation.uuid,
            now=now,
        )


def closed_sha256(session: OpeningSession) -> str:
    """Lower-hex SHA-256 of the closed PDF: what members sign."""
    return hashlib.sha256(bytes(session.closed_pdf or b"")).hexdigest()


def sign(
    session: OpeningSession, *, sha256: str, by: User, now: datetime, pdf: bytes | None = None
) -> MinutesSignature:
    """A member signs the closed minutes: confirms their digest, or brings them back signed (PAdES).

    A signed PDF is the closed PDF and what its signature added after it. Twice is harmless: the first one
    stands. Raises DecisionRefused.
    """
    known = MinutesSignature.objects.filter(session=session, user=by).first()
    if known is not None:
        return known
    fresh = OpeningSession.objects.get(pk=session.pk)
    if fresh.closed_at is None:
        raise DecisionRefused("Le procès-verbal n'est pas encore clos.")
    if sha256 != closed_sha256(fresh):
        raise DecisionRefused("L'empreinte confirmée n'est pas celle du procès-verbal clos.")
    report = _report(fresh, pdf, now=now) if pdf is not None else None
    if pdf is not None and any(bytes(each.pdf or b"") == pdf for each in fresh.signatures.all()):
        raise DecisionRefused("Ce fichier est déjà la signature d'un autre membre.")
    with transaction.atomic():
        made, created = MinutesSignature.objects.get_or_create(
            session=fresh,
            user=by,
            defaults={"at": now, "sha256": sha256, "pdf": pdf, "report": report},
        )
        if created:
            append(
                "minutes-signed",
                {
                    "session": str(fresh.uuid),
                    "pdf": sha256,
                    "signed": hashlib.sha256(pdf).hexdigest() if pdf else None,
                    "by": str(by.uuid),
                },
                consultation=fresh.consultation.uuid,
                now=now,
            )
    return made


def _report(session: OpeningSession, pdf: bytes, *, now: datetime) -> dict[str, object]:
    """What the signature that a member added is worth. Raises DecisionRefused when there is none."""
    original = bytes(session.closed_pdf or b"")
    if len(pdf) > SIGNED_PDF_BYTES:
        raise DecisionRefused("Ce fichier dépasse 20 Mo.")
    if len(pdf) <= len(original) or not pdf.startswith(original):
        raise DecisionRefused(
            "Ce fichier n'est pas le procès-verbal clos, complété d'une signature.",
            "Téléchargez le procès-verbal clos, signez ce fichier sans le réimprimer, puis envoyez-le.",
        )
    with tempfile.TemporaryDirectory(prefix="dematmp-signature-") as folder:
        path = Path(folder) / "document.pdf"
        path.write_bytes(pdf)
        trust = [Path(each) for each in settings.SIGNATURE_TRUST]
        report = validate_isolated(path, at=now, trust=trust, online=True).as_dict()
    said = plain(report)
    signatures = said.get("signatures")
    # The platform's own seal is the first one; the member's comes after.
    if not isinstance(signatures, list) or len(signatures) < 2:
        raise DecisionRefused("Ce fichier ne porte pas d'autre signature que le cachet de la plateforme.")
    return said
