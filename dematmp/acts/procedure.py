"""The procedure behind the act of an award or of its contract: its public file, its minutes once sent."""

from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.models import Act
from dematmp.audit.services import append
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpeningSession

MINUTES, ANNEX = "proces-verbal.pdf", "proces-verbal-annexe.json"
NAMES = {MINUTES: "application/pdf", ANNEX: "application/json"}


def of(act: Act) -> Consultation | None:
    """The consultation that led to this act."""
    return act.about.lot.consultation if act.about else None


def decision(act: Act, *, seen_by: User) -> Act | None:
    """The act of the award whose contract this one transmits, once the control authority received it."""
    if act.contract_of is None:
        return None
    return Act.objects.received_by(seen_by).filter(award=act.contract_of).first()


def minutes(act: Act) -> OpeningSession | None:
    """The opening whose minutes are closed."""
    found = of(act)
    if found is None:
        return None
    return OpeningSession.objects.filter(consultation=found, closed_pdf__isnull=False).first()


def share(act: Act, *, by: User, now: datetime) -> None:
    """Let the control authority read the minutes; once. Raises AccessRefused, ActRefused."""
    if not act.is_validated_by(by):
        raise AccessRefused("Seul un valideur de l'acheteur communique le dossier de la procédure.")
    session = minutes(act)
    if session is None:
        raise ActRefused("Le procès-verbal d'ouverture n'est pas clos : la commission doit d'abord le clore.")
    with transaction.atomic():
        if Act.objects.filter(pk=act.pk, procedure_sent_at=None).update(procedure_sent_at=now):
            record = {
                "act": str(act.uuid),
                "by": str(by.uuid),
                "consultation": str(session.consultation.uuid),
            }
            append("act-procedure-sent", record, consultation=session.consultation.uuid, now=now)


def read(act: Act, name: str) -> tuple[bytes, str] | None:
    """(bytes, media type) of what was sent of the procedure; None before."""
    session = minutes(act) if act.procedure_sent_at else None
    data = {MINUTES: session.closed_pdf, ANNEX: session.annex}.get(name) if session else None
    return (bytes(data), NAMES[name]) if data is not None else None
