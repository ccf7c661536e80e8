"""Verbs of a consultation: create, correct, set the deadline, submit, validate, publish."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Required, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.db.models import Sum

from dematmp.accounts.models import Organisation, User
from dematmp.accounts.rules import clean_text
from dematmp.audit.services import append, utc_text
from dematmp.consultations.errors import (
    ConsultationError,
    CpvUnknown,
    NotReady,
    SamePerson,
    WrongStep,
)
from dematmp.consultations.exchanges import call, people_of, tell_followers
from dematmp.consultations.models import (
    Consultation,
    Cpv,
    Criterion,
    Deadline,
    Lot,
    default_kinds,
)
from dematmp.consultations.rules import FROZEN, check_deadline
from dematmp.mails.words import instant
from notices.cpv import CpvRefused, clean_cpv

Postponed = Callable[[Deadline, datetime], None]
_postponed: list[Postponed] = []


def postponed(act: Postponed) -> None:
    """A room above acts in the transaction of each extension: an AppConfig.ready calls it."""
    _postponed.append(act)


def known_cpv(text: str) -> str:
    """The eight digits of a known CPV code.

    Raises CpvUnknown. Labels are checked once the nomenclature is imported.
    """
    try:
        code = clean_cpv(text)
    except CpvRefused as refused:
        raise CpvUnknown(str(refused)) from refused
    if Cpv.objects.exists() and not Cpv.objects.filter(code=code).exists():
        raise CpvUnknown(f"Le code CPV {code} n'existe pas dans la nomenclature.")
    return code


class Announced(TypedDict, total=False):
    """What a consultation announces; a draft may be rewritten with the same words."""

    reference: Required[str]
    title: Required[str]
    object: Required[str]
    procedure: Required[str]
    cpv: Required[str]
    lots: Iterable[Mapping[str, object]]
    criteria: Iterable[tuple[str, int]]
    estimated_value: Decimal | None
    deposit_rules: str
    kinds: Iterable[str]
    keys_per_lot: bool
    opening_order: str
    required_pieces: Iterable[Mapping[str, str]]
    limits: Mapping[str, int]
    fingerprint_first: bool


@transaction.atomic
def create_consultation(
    *, buyer: Organisation, by: User, now: datetime, **said: Unpack[Announced]
) -> Consultation:
    """A draft. A consultation without lots has one, numbered 1, that bears its title."""
    consultation = Consultation(buyer=buyer, created_by=by, created_at=now)
    _write(consultation, said)
    return consultation


@transaction.atomic
def correct_consultation(consultation: Consultation, **said: Unpack[Announced]) -> None:
    """Rewrite a draft. Raises WrongStep once it is submitted, or when its keys are made for other kinds."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.step != "draft":
        raise WrongStep(
            "Cette consultation n'est plus en préparation.",
            "Demandez au valideur de la renvoyer en préparation, puis corrigez-la.",
        )
    before = set(locked.key_names(locked.kinds))
    _write(locked, said)
    if locked.ceremony_sha256 and set(locked.key_names(locked.kinds)) != before:
        raise WrongStep(
            "Les clés de la commission sont faites pour les enveloppes et les lots choisis.",
            "Gardez les mêmes, ou préparez une autre consultation.",
        )


def _write(consultation: Consultation, said: Announced) -> None:
    consultation.reference, consultation.title = clean_text(said["reference"]), clean_text(said["title"])
    consultation.object = clean_text(said["object"], lines=True)
    consultation.procedure, consultation.cpv = said["procedure"], known_cpv(said["cpv"])
    consultation.kinds = list(said.get("kinds", default_kinds()))
    consultation.keys_per_lot = said.get("keys_per_lot", False)
    consultation.estimated_value = said.get("estimated_value")
    consultation.opening_order = said.get("opening_order", "together")
    consultation.required_pieces = [
        {"kind": piece["kind"], "title": clean_text(piece["title"])}
        for piece in said.get("required_pieces", ())
        if piece["kind"] in consultation.kinds
    ]
    consultation.deposit_rules = clean_text(said.get("deposit_rules", ""), lines=True)
    consultation.limits = dict(said.get("limits", {}))
    consultation.fingerprint_first = said.get("fingerprint_first", False)
    try:
        with transaction.atomic():
            consultation.save()
    except IntegrityError as taken:
        raise ConsultationError(
            "Cet acheteur a déjà une consultation de cette référence.", "Choisissez une autre référence."
        ) from taken
    consultation.lots.all().delete()
    consultation.criteria.all().delete()
    for lot in list(said.get("lots", ())) or [{"number": "1", "title": consultation.title}]:
        title = clean_text(str(lot["title"]))
        Lot.objects.create(consultation=consultation, **{**lot, "title": title})
    for name, weight in said.get("criteria", ()):
        Criterion.objects.create(consultation=consultation, name=clean_text(name), weight=weight)


@transaction.atomic
def set_deadline(
    consultation: Consultation, *, at: datetime, by: User, reason: str = "", zone: str = "", now: datetime
) -> Deadline:
    """A new version of the deadline.

    Once published it can only be moved later, before it has passed (R2151-4).
    """
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    current = locked.current_deadline
    zone = zone or (current.zone if current else str(Deadline._meta.get_field("zone").default))
    check_deadline(at, zone=zone, now=now)
    check_not_frozen(locked)
    if locked.published_at and current:
        if locked.opening_at:
            raise WrongStep("L'ouverture des plis a commencé : la date limite ne peut plus être reportée.")
        if now > current.at:
            raise WrongStep("La date limite est passée : elle ne peut plus être reportée.")
        if at <= current.at:
            raise WrongStep(
                "Une date limite publiée ne peut être avancée.", "Choisissez une date plus tardive."
            )
        if not reason:
            raise NotReady(["le motif du report"])
    deadline = Deadline.objects.create(
        consultation=locked,
        version=(current.version if current else 0) + 1,
        at=at,
        zone=zone,
        reason=reason,
        decided_by=by,
        decided_at=now,
    )
    append(
        "deadline",
        {
            "consultation": str(locked.uuid),
            "version": deadline.version,
            "at": utc_text(at),
            "zone": zone,
            "reason": reason,
            "by": str(by.uuid),
        },
        consultation=locked.uuid,
        now=now,
    )
    if locked.published_at:
        for act in _postponed:
            act(deadline, now)
        tell_followers(
            locked, f"La date limite est reportée au {instant(at, zone)}.\nMotif : {reason}", now=now
        )
    return deadline


def _frozen() -> WrongStep:
    """What a second person validates, or has validated, does not change under their eyes."""
    return WrongStep(
        "La consultation est soumise à validation : elle ne change plus.",
        "Demandez au valideur de la renvoyer en préparation, puis corrigez-la.",
    )


def check_not_frozen(consultation: Consultation) -> None:
    """Raises WrongStep between the submission and the publication."""
    if consultation.step in ("submitted", "validated"):
        raise _frozen()


@transaction.atomic
def begin_opening(consultation: Consultation, *, now: datetime) -> bool:
    """The opening room begins: from here the deadline never moves. False when it has not passed."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.deadline is None or now <= locked.deadline:
        return False
    Consultation.every.filter(pk=locked.pk, opening_at=None).update(opening_at=now)
    return True


def missing_to_submit(consultation: Consultation) -> list[str]:
    """What a second person needs before validating, in French; empty when all is there."""
    missing = []
    if consultation.current_deadline is None:
        missing.append("la date limite")
    if not consultation.lots.exists():
        missing.append("au moins un lot")
    total = consultation.criteria.aggregate(total=Sum("weight"))["total"]
    if total is not None and total != 100:
        missing.append(f"des critères dont les pondérations totalisent 100 % (total actuel : {total} %)")
    versions = [document.current for document in consultation.documents.order_by("pk")]
    if not any(versions):
        missing.append("au moins une pièce du dossier de consultation")
    for version in versions:
        if version is not None and not version.is_served:
            missing.append(f"un fichier sain pour « {version.name} » ({version.get_verdict_display()})")
    return missing


@transaction.atomic
def submit(consultation: Consultation, *, by: User, now: datetime) -> None:
    """Ask a second person to validate. Raises NotReady or WrongStep."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.step != "draft":
        raise WrongStep("Cette consultation est déjà soumise à validation.")
    if missing := missing_to_submit(locked):
        raise NotReady(missing)
    locked.submitted_by, locked.submitted_at = by, now
    locked.save(update_fields=["submitted_by", "submitted_at"])
    call(
        locked,
        people_of(locked.buyer, "validator").exclude(pk__in=[by.pk, locked.created_by_id]),
        f"{by} soumet la consultation « {locked.title} » à votre validation.",
        now=now,
    )


@transaction.atomic
def validate(consultation: Consultation, *, by: User, now: datetime) -> None:
    """A second person validates. Raises SamePerson or WrongStep."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.step != "submitted":
        raise WrongStep("Cette consultation n'attend pas de validation.")
    if by in (locked.submitted_by, locked.created_by):
        raise SamePerson("La personne qui a rédigé la consultation ne peut pas la valider.")
    locked.validated_by, locked.validated_at = by, now
    locked.save(update_fields=["validated_by", "validated_at"])
    if locked.submitted_by is not None:
        call(locked, [locked.submitted_by], f"{by} a validé la consultation « {locked.title} ».", now=now)


@transaction.atomic
def return_to_draft(consultation: Consultation, *, by: User, now: datetime) -> None:
    """The validator sends it back to its author."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.step not in ("submitted", "validated"):
        raise WrongStep("Cette consultation ne peut pas revenir en préparation.")
    if locked.submitted_by is not None and locked.submitted_by != by:
        call(
            locked,
            [locked.submitted_by],
            f"{by} a renvoyé la consultation « {locked.title} » en préparation.",
            now=now,
        )
    locked.submitted_by = locked.submitted_at = locked.validated_by = locked.validated_at = None
    locked.save(update_fields=["submitted_by", "submitted_at", "validated_by", "validated_at"])


@transaction.atomic
def publish(consultation: Consultation, *, by: User, now: datetime) -> None:
    """Open the consultation to everybody. Raises NotReady, DeadlinePast or WrongStep."""
    locked = Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    if locked.step != "validated":
        raise WrongStep("Une consultation se publie une fois validée par une seconde personne.")
    missing = missing_to_submit(locked)
    if set(locked.envelope_keys.values_list("kind", flat=True)) != set(locked.key_names(locked.kinds)):
        missing.append("la cérémonie des clés de la commission, confirmée par tous ses membres")
    elif locked.rehearsed_at is None:
        missing.append("la répétition de l'ouverture par la commission, sur un pli d'essai")
    if missing:
        raise NotReady(missing)
    deadline = locked.current_deadline
    if deadline is None:
        raise NotReady(["la date limite"])
    check_deadline(deadline.at, zone=deadline.zone, now=now)
    announced = {name: locked.deposit_limits[name] for name in FROZEN}
    locked.published_by, locked.published_at, locked.limits = by, now, {**locked.limits, **announced}
    locked.save(update_fields=["published_by", "published_at", "limits"])
    append(
        "consultation-published",
        {
            "consultation": str(locked.uuid),
            "buyer": locked.buyer.siret,
            "reference": locked.reference,
            "title": locked.title,
            "deadline": utc_text(deadline.at),
            "limits": announced,
            "ceremony": locked.ceremony_sha256,
            "documents": [
                {"name": version.name, "sha256": version.sha256}
                for document in locked.documents.order_by("pk")
                if (version := document.current)
            ],
            "by": str(by.uuid),
        },
        consultation=locked.uuid,
        now=now,
    )
