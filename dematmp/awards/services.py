"""Award a lot to a company whose offer was opened, and write the deliberation."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.timezone import localtime

from dematmp.accounts.models import Organisation, User
from dematmp.audit.documents import render
from dematmp.audit.sealing import seal
from dematmp.audit.services import append
from dematmp.awards.models import Award
from dematmp.consultations.models import Lot
from dematmp.opening.errors import DecisionRefused
from dematmp.opening.left_out import go_on, left_out
from dematmp.opening.models import OpenedEnvelope, OpeningSession


class AwardRefused(Exception):
    """The lot cannot be awarded so. `str()` is the French sentence."""

    code: ClassVar[str] = "award.refused"
    next: str = "Vérifiez le lot, l'entreprise et l'ouverture des plis."


def award(
    lot: Lot, *, company: Organisation, amount: Decimal, reasons: str, by: User, now: datetime
) -> Award:
    """Record the decision.

    Raises AwardRefused: the company's offer for this lot was not opened, or one that was received in time may
    still be, and nobody opened it.
    """
    opened = OpenedEnvelope.objects.filter(
        session__consultation=lot.consultation,
        envelope__attempt__bidder=company,
        envelope__lot=lot.number,
        envelope__kind="offre",
        state="opened",
        session__finished_at__isnull=False,
    )
    rejected = OpenedEnvelope.objects.filter(
        session__consultation=lot.consultation,
        envelope__attempt__bidder=company,
        envelope__lot=lot.number,
        decision="rejected",
    )
    if rejected.exists():
        raise AwardRefused(f"La commission a rejeté {company} pour le lot {lot.number}.")
    if not opened.exists():
        raise AwardRefused(f"Aucune offre ouverte de {company} pour le lot {lot.number}.")
    try:
        with transaction.atomic():
            _nobody_is_left_out(lot)
            decision = Award.objects.create(
                lot=lot, company=company, amount=amount, reasons=reasons, decided_by=by, decided_at=now
            )
            append(
                "award",
                {"lot": lot.number, "company": str(company.uuid), "amount": str(amount), "by": str(by.uuid)},
                consultation=lot.consultation.uuid,
                now=now,
            )
    except IntegrityError as twice:
        raise AwardRefused(f"Le lot {lot.number} est déjà attribué.") from twice
    return decision


@transaction.atomic
def resume(session: OpeningSession, *, by: User, now: datetime) -> OpeningSession:
    """The session goes on for what was received in time and known too late (`left_out.go_on`), where a lot
    of it is not awarded yet. Raises DecisionRefused."""
    locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)  # as `award` does
    awarded = Award.objects.filter(lot__consultation=locked.consultation).values_list(
        "lot__number", flat=True
    )
    lots = {each.lot for each in left_out(locked)}
    if lots and lots <= set(awarded):
        raise DecisionRefused("Ces lots sont déjà attribués.", "Prenez un conseil juridique.")
    go_on(locked, by=by, now=now)
    return OpeningSession.objects.get(pk=session.pk)


def _nobody_is_left_out(lot: Lot) -> None:
    """Under the lock of the session, which goes on for such an offer until its minutes are closed."""
    session = OpeningSession.objects.select_for_update(no_key=True).get(consultation=lot.consultation)
    if session.closed_at is None and any(each.lot == lot.number for each in left_out(session)):
        raise AwardRefused(
            "Une offre reçue dans les délais pour ce lot n'est pas ouverte : la commission reprend la séance."
        )


def deliberation(decision: Award, *, now: datetime) -> bytes:
    """The act of award as a tagged PDF sealed by the platform's key."""
    lot, consultation = decision.lot, decision.lot.consultation
    pdf = render(
        "deliberation",
        {
            "buyer": consultation.buyer.name,
            "reference": consultation.reference,
            "title": consultation.title,
            "object": consultation.object,
            "procedure": consultation.get_procedure_display(),
            "lot": {"number": lot.number, "title": lot.title},
            "company": {"name": decision.company.name, "siret": decision.company.siret or ""},
            "amount": f"{decision.amount:,.2f}".replace(",", " ").replace(".", ","),
            "reasons": decision.reasons,
            "date": localtime(decision.decided_at, ZoneInfo(settings.TIME_ZONE)).strftime("%d/%m/%Y"),
            "author": str(decision.decided_by),
        },
        title=f"Attribution du lot {lot.number}",
    )
    return seal(pdf, reason="Acte d'attribution", now=now)
