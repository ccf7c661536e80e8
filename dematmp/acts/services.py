"""Verbs.

Build the act of an award, transmit it, learn what became of it. Nothing slow inside a transaction.
"""

import hashlib
import re
import tempfile
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import BinaryIO, cast
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from dematmp.accounts.models import User
from dematmp.acts import rules, statuses
from dematmp.acts.errors import ActRefused, GatewayRefused, GatewayUnavailable, MessageRefused
from dematmp.acts.fields import Piece, Posting, Upload
from dematmp.acts.models import Act, ActIncident, Transmission, TransmissionStep
from dematmp.acts.operators import Operator
from dematmp.acts.reading import read_receipt
from dematmp.acts.telling import tell_failed
from dematmp.audit.services import append
from dematmp.awards.models import Award
from dematmp.awards.services import deliberation
from storage.stores import object_store

RETRY = timedelta(minutes=30)  # longer than the slowest post: it is looked for meanwhile, and found
# How an operator says that it has this number already.
_TAKEN = re.compile(
    r"num[ée]ro.*(?:exist|servi|utilis)|exist\w* d[ée]j|d[ée]j\w* exist", re.IGNORECASE | re.DOTALL
)
# How it says that it has no receipt of an act; any other refusal proves nothing of it.
_NO_RECEIPT = re.compile(r"(?:pas|aucun|sans)\b.*acquit", re.IGNORECASE | re.DOTALL)
# Between two readings of an operator elsewhere: acknowledgements take minutes to days.
UNCONFIRMED = "L'acte attend d'être confirmé chez l'opérateur de télétransmission."
GIVEN_UP = "Abandonné chez l'opérateur de télétransmission, avant l'envoi."
POLLS = (60, 300, 900, 3600)  # seconds


def prepare_award_act(award: Award, *, by: User, now: datetime) -> Act:
    """The act of an award, to be confirmed; the same one when asked twice. Raises ActRefused."""
    known = Act.objects.filter(award=award).first()
    if known is not None:
        return known
    consultation = award.lot.consultation
    buyer = consultation.buyer
    rules.check_identity(
        siren=buyer.siren, department=buyer.department, district=buyer.district, nature=buyer.authority_nature
    )
    subject = f"Attribution du lot {award.lot.number} : {consultation.title}"
    pdf = deliberation(award, now=now)
    key = f"acts/{award.lot.consultation.uuid}/{hashlib.sha256(pdf).hexdigest()}.pdf"
    object_store().put_stream(key, [pdf])
    try:
        with transaction.atomic():
            act = Act.objects.create(
                buyer=buyer,
                award=award,
                number=rules.act_number(consultation.reference, award.lot.number),
                nature=rules.DELIBERATION,
                classification=rules.PROCUREMENT,
                typology=rules.AWARD_TYPOLOGY,
                subject=subject[: rules.SUBJECT_CHARS],
                decided_on=award.decided_at.astimezone(ZoneInfo(settings.TIME_ZONE)).date(),
                document_key=key,
                document_sha256=hashlib.sha256(pdf).hexdigest(),
                document_size=len(pdf),
                created_by=by,
                created_at=now,
            )
            Transmission.objects.create(act=act)
            append(
                "act-prepared",
                {
                    "act": str(act.uuid),
                    "identifier": act.identifier,
                    "sha256": act.document_sha256,
                    "by": str(by.uuid),
                },
                consultation=consultation.uuid,
                now=now,
            )
    except IntegrityError as taken:
        raise ActRefused(
            "Ce numéro d'acte a déjà servi, ou l'acte de cette attribution existe déjà."
        ) from taken
    return act


def _posting(act: Act, stack: ExitStack) -> Posting:
    """The act as it is posted; its document is laid on disk, closed with the stack."""
    upload = laid(f"{act.number}.pdf", act.document_size, act.document_key, stack)
    return Posting(
        nature=act.nature,
        codes=tuple(int(code) for code in act.classification.split(".")),
        number=act.number,
        decided=act.decided_on.isoformat(),
        subject=act.subject,
        main=Piece(upload, act.typology),
        annexes=tuple(
            Piece(laid(each.name, each.size, each.key, stack), each.typology)
            for each in act.pieces.order_by("rank")
        ),
    )


def laid(name: str, size: int, key: str, stack: ExitStack) -> Upload:
    """A file of the object store on disk, to be posted; closed with the stack."""
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  (the stack closes it)
    for block in object_store().open(key):
        file.write(block)
    file.seek(0)
    return Upload(name, size, cast(BinaryIO, file))


def transmit(act_id: int, operator: Operator, *, now: datetime) -> None:
    """Post the act once.

    May run twice or be killed anywhere: a post whose answer was lost is found, not repeated.

    Raises GatewayUnavailable (tried again by the sweep); a refusal of the operator is kept as the
    transmission's end.
    """
    transmission = (
        Transmission.objects.select_related("act__buyer", "act__authority").filter(act_id=act_id).first()
    )
    if transmission is None or transmission.remote_id is not None or transmission.is_over:
        return
    if transmission.confirmed_at is None:
        return
    mine, before = Transmission.objects.filter(pk=transmission.pk), transmission.tried_at
    remote = None
    # Whose its number will be is written before anything leaves: it is looked for there and nowhere else.
    where = {"operator_url": operator.url.rstrip("/"), "operator_login": operator.login}
    if not mine.filter(tried_at=None).update(tried_at=now, **where):
        # Posted before, or being posted by another worker now: look for it, and wait before posting again.
        remote = operator.find(transmission.act.number)
        if remote is None and not mine.filter(tried_at__lt=now - RETRY).update(tried_at=now):
            return
    if remote is None:
        try:
            with ExitStack() as stack:
                remote = operator.post(_posting(transmission.act, stack))
        except GatewayUnavailable as absent:
            if not absent.reached:
                mine.update(tried_at=before)  # nothing left: the next pass posts at once
                mine.filter(tried_at=None).update(operator_url=None, operator_login="")
            raise
        except GatewayRefused as refused:
            # The post of before may have been taken late: then its number is the reason.
            remote = operator.find(transmission.act.number) if before is not None else None
            if remote is None and before is not None and _TAKEN.search(str(refused)):
                raise GatewayUnavailable(
                    f"L'opérateur dit avoir déjà ce numéro, et ne le liste pas : {refused}"
                ) from refused
            if remote is None:
                reach(transmission, rules.ERROR, detail=str(refused), now=now)
                return
    with transaction.atomic():
        changed = Transmission.objects.filter(pk=transmission.pk, remote_id=None).update(
            remote_id=remote, submitted_at=now, problem="", **where
        )
        if changed:
            TransmissionStep.objects.create(transmission=transmission, status=rules.POSTED, at=now)
            _journal(transmission, "act-transmitted", {"transaction": remote}, now=now)


def reach(transmission: Transmission, status: int, *, detail: str = "", now: datetime) -> None:
    """Write a status once, and its entry in the journal."""
    with transaction.atomic():
        locked = Transmission.objects.select_for_update(no_key=True).get(pk=transmission.pk)
        if not rules.may_follow(locked.status, status):
            return
        TransmissionStep.objects.create(transmission=locked, status=status, at=now, detail=detail[:300])
        if status == rules.ERROR and locked.acknowledged_at is not None:
            what = "L'acte, déjà acquitté, a ensuite été rejeté"
            ActIncident.objects.create(act=locked.act, at=now, what=what, detail=detail[:300])
        if status == rules.ERROR:
            Transmission.objects.filter(pk=locked.pk).update(problem=detail[:300])
            _journal(locked, "act-refused", {"reason": detail[:300]}, now=now)
            said = "L'acte n'est pas parti : il est à corriger."
            if locked.acknowledged_at is not None:
                said = "L'acte, déjà acquitté, a ensuite été rejeté : voyez avec la préfecture."
            tell_failed(locked.act, said, detail, now=now)


def _journal(transmission: Transmission, kind: str, facts: dict[str, object], *, now: datetime) -> None:
    act = transmission.act
    append(
        kind,
        {"act": str(act.uuid), "identifier": act.identifier, **facts},
        consultation=act.consultation_uuid,
        now=now,
    )


def poll(act_id: int, operator: Operator, *, now: datetime) -> None:
    """Ask the operator where the act is, and keep what it answers; less and less often while nothing changes.

    May run twice. Raises GatewayUnavailable.
    """
    transmission = (
        Transmission.objects.select_related("act__buyer", "act__authority", "act__award__lot__consultation")
        .filter(act_id=act_id)
        .first()
    )
    if transmission is None or transmission.remote_id is None or transmission.is_over:
        return
    if operator.is_remote:
        if transmission.due_at is not None and transmission.due_at > now:
            return
        wait = POLLS[min(transmission.polls, len(POLLS) - 1)]
        Transmission.objects.filter(pk=transmission.pk).update(
            polls=F("polls") + 1, due_at=now + timedelta(seconds=wait)
        )
    status = operator.status(transmission.remote_id)
    if status.code == rules.ERROR:
        reach(transmission, rules.ERROR, detail=status.detail.decode("latin-1").strip(), now=now)
    elif status.code == rules.ACKNOWLEDGED:
        _acknowledge(transmission, status.detail, operator.message(transmission.remote_id), now=now)
    elif status.code in rules.STATUSES and status.code != statuses.CANCELLED:
        reach(transmission, status.code, now=now)
    elif status.code == statuses.UNCONFIRMED:
        mine = Transmission.objects.filter(pk=transmission.pk)
        mine.update(problem=UNCONFIRMED)
        mine.filter(stuck_since=None).update(stuck_since=now)
    else:  # the operator's people went further before this platform read the acknowledgement
        try:
            data = operator.receipt(transmission.remote_id)
        except GatewayRefused as refused:
            if status.code != statuses.REFUSED or not _never_left(transmission, refused):
                raise
            reach(transmission, rules.ERROR, detail=GIVEN_UP, now=now)  # closed there before it left
            return
        _acknowledge(transmission, data, operator.message(transmission.remote_id), now=now)


def _never_left(transmission: Transmission, refused: GatewayRefused) -> bool:
    """Whether an act closed at its operator was never received: it says that it has no receipt, and it was
    never seen beyond its deposit. What was received is closed so too, two months after."""
    beyond = (rules.WAITING, rules.SENT, rules.ACKNOWLEDGED)
    return _NO_RECEIPT.search(str(refused)) is not None and not (
        transmission.steps.filter(status__in=beyond).exists()
    )


def _acknowledge(transmission: Transmission, data: bytes, message: bytes, *, now: datetime) -> None:
    try:
        received = read_receipt(data, identifier=transmission.act.identifier).received
    except MessageRefused as refused:
        Transmission.objects.filter(pk=transmission.pk).update(problem=str(refused)[:300])
        raise
    with transaction.atomic():
        changed = Transmission.objects.filter(pk=transmission.pk, acknowledged_at=None).update(
            acknowledgement=data, message=message, received_on=received, acknowledged_at=now, problem=""
        )
        if changed:
            TransmissionStep.objects.create(transmission=transmission, status=rules.ACKNOWLEDGED, at=now)
            facts: dict[str, object] = {
                "received": received.isoformat(),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            _journal(transmission, "act-acknowledged", facts, now=now)
