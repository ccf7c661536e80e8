"""Acts that an authority's own software posted join those of the platform once the ministry has them.

The control authority then reads, follows and writes about them like the others; the authority goes on with
its software.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from dematmp.acts import statuses
from dematmp.acts.correspondence import FOLLOWED
from dematmp.acts.models import Act, ActPiece, Transmission, TransmissionStep
from dematmp.acts.operators import is_robot
from dematmp.acts.reading import read_receipt
from dematmp.acts.rules import STATUSES, SUBJECT_CHARS
from dematmp.acts.transactions import ACT, Step, Transaction
from dematmp.audit.services import append


def to_adopt(now: datetime) -> "QuerySet[Transaction]":
    """Acts acknowledged lately, come by the service's doors, that no act of the platform shows yet."""
    shown = Act.objects.filter(authority=OuterRef("authority"), transmission__remote_id=OuterRef("pk"))
    # It left here, by a remote operator that is us; perhaps its answer was lost.
    left = Q(transmission__remote_id=OuterRef("pk")) | Q(
        transmission__remote_id=None, transmission__tried_at__isnull=False
    )
    prepared = Act.objects.filter(
        left,
        authority=None,
        number=OuterRef("number"),
        nature=OuterRef("nature"),
        decided_on=OuterRef("decided_on"),
        buyer__siret__startswith=OuterRef("authority__siren"),
    ).exclude(transmission__steps__status=statuses.ERROR)
    receipts = Step.objects.filter(transaction=OuterRef("pk"), status=statuses.ACKNOWLEDGED)
    found = Transaction.objects.filter(type=ACT, created_at__gte=now - FOLLOWED)
    found = found.exclude(agent__login="", agent__fingerprint="")
    return found.filter(Exists(receipts), ~Exists(shown), ~Exists(prepared)).order_by("pk")


def act_of(transaction_id: int, *, now: datetime) -> Act | None:
    """The act that a transaction is about; one of the service's doors is adopted, once it has its receipt.

    May run twice.
    """
    found = Transaction.objects.select_related("agent", "authority").filter(pk=transaction_id).first()
    while found is not None and found.related is not None:
        found = found.related
    if found is None or found.type != ACT:
        return None
    mine = Act.objects.filter(transmission__remote_id=found.pk)
    if is_robot(found.agent):
        known = mine.filter(buyer__siret__startswith=found.authority.siren, authority=None).first()
        return known if known is not None and known.identifier == found.unique_id else None
    known = mine.filter(authority=found.authority).first()
    return known or (_adopt(found, now) if to_adopt(now).filter(pk=found.pk).exists() else None)


def _adopt(found: Transaction, now: datetime) -> Act | None:
    main = found.files.filter(rank=1).first()
    receipt = found.last_step(statuses.ACKNOWLEDGED)
    if main is None or receipt is None or receipt.flux is None or found.decided_on is None:
        return None
    flux = bytes(receipt.flux)
    received = read_receipt(flux, identifier=found.unique_id).received
    with transaction.atomic():
        # Two workers adopt one after the other.
        Transaction.objects.select_for_update(of=("self",), no_key=True).get(pk=found.pk)
        known = Act.objects.filter(authority=found.authority, transmission__remote_id=found.pk).first()
        if known is not None:
            return known
        buyer = found.authority.organisation
        if buyer is not None and Act.objects.filter(buyer=buyer, number=found.number).exists():
            buyer = None  # the number was first prepared here and never left
        act = Act.objects.create(
            buyer=buyer,
            authority=found.authority,
            number=found.number,
            nature=found.nature,
            classification=found.classification[:20],
            typology=main.typology,
            subject=found.subject[:SUBJECT_CHARS],
            decided_on=found.decided_on,
            document_name=main.posted_name,
            document_key=main.key,
            document_sha256=main.sha256,
            document_size=main.size,
            created_at=found.created_at,
            adopted_at=now,
        )
        ActPiece.objects.bulk_create(
            ActPiece(
                act=act, rank=each.rank, name=each.posted_name, typology=each.typology,
                media_type=each.media_type, key=each.key, size=each.size, sha256=each.sha256,
            )
            for each in found.files.filter(rank__gte=2)
        )  # fmt: skip
        sent = Transmission.objects.create(
            act=act, envelope_name=found.envelope_name, message=found.message, remote_id=found.pk,
            confirmed_at=found.created_at, submitted_at=found.created_at, acknowledged_at=receipt.at,
            acknowledgement=flux, received_on=received,
        )  # fmt: skip
        steps = {step.status: step for step in found.steps.order_by("pk") if step.status in STATUSES}
        TransmissionStep.objects.bulk_create(
            TransmissionStep(transmission=sent, status=step.status, at=step.at)
            for step in sorted(steps.values(), key=lambda step: step.pk)
            if step.status not in (statuses.ERROR, statuses.CANCELLED)
        )
        record = {"act": str(act.uuid), "identifier": act.identifier, "transaction": found.pk}
        append("act-received", record, now=now)
    return act
