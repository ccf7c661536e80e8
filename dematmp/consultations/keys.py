"""What the opening room says of a consultation's keys: made, dealt again, rehearsed on a twin."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.consultations.errors import WrongStep
from dematmp.consultations.models import Consultation, Deadline, EnvelopeKeys, Lot


@transaction.atomic
def record_ceremony(
    consultation: Consultation, *, record: bytes, sha256: str, keys: Mapping[str, tuple[bytes, bytes]]
) -> None:
    """The opening room says that the keys are ready.

    Key's name → (committee's, platform's). Refused once published.
    """
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.published_at:
        raise WrongStep("Les clés d'une consultation publiée ne changent pas.")
    if set(keys) != set(locked.key_names(locked.kinds)):
        raise WrongStep(
            "Les enveloppes demandées ou les lots ont changé depuis que les détenteurs ont été désignés.",
            "Désignez de nouveau les détenteurs, puis refaites la cérémonie.",
        )
    locked.envelope_keys.all().delete()
    locked.ceremony_record, locked.ceremony_sha256, locked.rehearsed_at = record, sha256, None
    locked.save(update_fields=["ceremony_record", "ceremony_sha256", "rehearsed_at"])
    for kind, (committee, platform) in keys.items():
        EnvelopeKeys.objects.update_or_create(
            consultation=locked, kind=kind, defaults={"committee": committee, "platform": platform}
        )


@transaction.atomic
def renew_ceremony(consultation: Consultation, *, record: bytes, sha256: str) -> None:
    """The same keys dealt to other holders: bids sealed under either record are accepted.

    Raises WrongStep once the opening began.
    """
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.opening_at is not None:
        raise WrongStep(
            "L'ouverture des plis a commencé : les détenteurs ne changent plus.",
            "Ouvrez avec les parts de la répartition précédente.",
        )
    locked.former_ceremonies = [*locked.former_ceremonies, locked.ceremony_sha256]
    locked.ceremony_record, locked.ceremony_sha256 = record, sha256
    locked.save(update_fields=["former_ceremonies", "ceremony_record", "ceremony_sha256"])


@transaction.atomic
def forget_ceremony(consultation: Consultation) -> None:
    """The keys are made again: nothing is left of the former ones. Raises WrongStep once published."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.published_at:
        raise WrongStep("Les clés d'une consultation publiée ne changent pas.")
    locked.envelope_keys.all().delete()
    locked.ceremony_record, locked.ceremony_sha256, locked.rehearsed_at = None, "", None
    locked.save(update_fields=["ceremony_record", "ceremony_sha256", "rehearsed_at"])


@transaction.atomic
def record_rehearsal(consultation: Consultation, *, ceremony_sha256: str, now: datetime) -> bool:
    """The opening room says that the dry run of these keys succeeded. False if they were made again."""
    return bool(
        Consultation.objects.filter(pk=consultation.pk, ceremony_sha256=ceremony_sha256).update(
            rehearsed_at=now
        )
    )


def make_twin(consultation: Consultation, *, by: User, now: datetime) -> Consultation:
    """The same consultation for its rehearsal: one lot, the same envelopes, seen by its committee only."""
    twin = Consultation.every.create(
        twin_of=consultation,
        buyer=consultation.buyer,
        reference=f"R-{uuid.uuid4().hex[:16]}",
        title=f"Répétition : {consultation.title}"[:250],
        object=consultation.object,
        procedure=consultation.procedure,
        cpv=consultation.cpv,
        kinds=consultation.kinds,
        created_by=by,
        created_at=now,
    )
    Lot.objects.create(consultation=twin, number="1", title="Répétition")
    return twin


@transaction.atomic
def receive_twin(twin: Consultation, *, until: datetime, by: User, now: datetime) -> None:
    """A twin receives its dummy bid until this instant; called again, it stops there. Never a real one."""
    locked = Consultation.every.select_for_update(no_key=True).exclude(twin_of=None).get(pk=twin.pk)
    if locked.published_at is None:
        locked.submitted_by, locked.submitted_at = locked.created_by, now
        locked.validated_by, locked.validated_at = by, now
        locked.published_by, locked.published_at = by, now
        locked.save()
    last = locked.current_deadline
    Deadline.objects.create(
        consultation=locked,
        version=(last.version if last else 0) + 1,
        at=until,
        decided_by=by,
        decided_at=now,
    )
