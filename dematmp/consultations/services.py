"""Verbs of a consultation: create, set the deadline, submit, validate, publish, ask, answer."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import Sum

from dematmp.accounts.models import Organisation, User
from dematmp.audit.services import append, utc_text
from dematmp.consultations.errors import (
    ConsultationError,
    CpvUnknown,
    LinkRefused,
    NotReady,
    SamePerson,
    WrongStep,
)
from dematmp.consultations.models import (
    Consultation,
    Cpv,
    Criterion,
    Deadline,
    EnvelopeKeys,
    Follower,
    Lot,
    Question,
)
from dematmp.consultations.rules import check_deadline
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant
from notices.cpv import CpvRefused, clean_cpv

_UNFOLLOW = "dematmp.consultations.unfollow"


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


@transaction.atomic
def create_consultation(
    *,
    buyer: Organisation,
    by: User,
    reference: str,
    title: str,
    object: str,
    procedure: str,
    cpv: str,
    lots: Iterable[Mapping[str, object]] = (),
    criteria: Iterable[tuple[str, int]] = (),
    estimated_value: Decimal | None = None,
    deposit_rules: str = "",
    kinds: Iterable[str] = ("candidature", "offre"),
    now: datetime,
) -> Consultation:
    """A draft. A consultation without lots has one, numbered 1, that bears its title."""
    try:
        with transaction.atomic():
            consultation = Consultation.objects.create(
                buyer=buyer,
                reference=reference,
                title=title,
                object=object,
                procedure=procedure,
                cpv=known_cpv(cpv),
                estimated_value=estimated_value,
                deposit_rules=deposit_rules,
                kinds=list(kinds),
                created_by=by,
                created_at=now,
            )
    except IntegrityError as taken:
        raise _reference_taken() from taken
    _write_lots_and_criteria(consultation, lots, criteria)
    return consultation


def _write_lots_and_criteria(
    consultation: Consultation, lots: Iterable[Mapping[str, object]], criteria: Iterable[tuple[str, int]]
) -> None:
    consultation.lots.all().delete()
    consultation.criteria.all().delete()
    for lot in list(lots) or [{"number": "1", "title": consultation.title}]:
        Lot.objects.create(consultation=consultation, **lot)
    for name, weight in criteria:
        Criterion.objects.create(consultation=consultation, name=name, weight=weight)


@transaction.atomic
def correct_consultation(
    consultation: Consultation,
    *,
    reference: str,
    title: str,
    object: str,
    procedure: str,
    cpv: str,
    lots: Iterable[Mapping[str, object]] = (),
    criteria: Iterable[tuple[str, int]] = (),
    estimated_value: Decimal | None = None,
    deposit_rules: str = "",
    kinds: Iterable[str] = ("candidature", "offre"),
) -> None:
    """Rewrite a draft. Raises WrongStep once it is submitted, or when its keys are made for other kinds."""
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    if locked.step != "draft":
        raise WrongStep(
            "Cette consultation n'est plus en préparation.",
            "Demandez au valideur de la renvoyer en préparation, puis corrigez-la.",
        )
    if locked.ceremony_sha256 and set(kinds) != set(locked.kinds):
        raise WrongStep(
            "Les clés de la commission sont faites pour les enveloppes choisies.",
            "Gardez les mêmes enveloppes, ou préparez une autre consultation.",
        )
    locked.reference, locked.title, locked.object = reference, title, object
    locked.procedure, locked.cpv, locked.kinds = procedure, known_cpv(cpv), list(kinds)
    locked.estimated_value, locked.deposit_rules = estimated_value, deposit_rules
    try:
        with transaction.atomic():
            locked.save()
    except IntegrityError as taken:
        raise _reference_taken() from taken
    _write_lots_and_criteria(locked, lots, criteria)


def _reference_taken() -> ConsultationError:
    return ConsultationError(
        "Cet acheteur a déjà une consultation de cette référence.", "Choisissez une autre référence."
    )


@transaction.atomic
def set_deadline(
    consultation: Consultation, *, at: datetime, by: User, reason: str = "", zone: str = "", now: datetime
) -> Deadline:
    """A new version of the deadline.

    Once published it can only be moved later, before it has passed (R2151-4).
    """
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    current = locked.current_deadline
    zone = zone or (current.zone if current else str(Deadline._meta.get_field("zone").default))
    check_deadline(at, zone=zone, now=now)
    if locked.published_at and current:
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
        tell_followers(
            locked, f"La date limite est reportée au {instant(at, zone)}.\nMotif : {reason}", now=now
        )
    return deadline


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
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    if locked.step != "draft":
        raise WrongStep("Cette consultation est déjà soumise à validation.")
    if missing := missing_to_submit(locked):
        raise NotReady(missing)
    locked.submitted_by, locked.submitted_at = by, now
    locked.save(update_fields=["submitted_by", "submitted_at"])


@transaction.atomic
def validate(consultation: Consultation, *, by: User, now: datetime) -> None:
    """A second person validates. Raises SamePerson or WrongStep."""
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    if locked.step != "submitted":
        raise WrongStep("Cette consultation n'attend pas de validation.")
    if by in (locked.submitted_by, locked.created_by):
        raise SamePerson("La personne qui a rédigé la consultation ne peut pas la valider.")
    locked.validated_by, locked.validated_at = by, now
    locked.save(update_fields=["validated_by", "validated_at"])


@transaction.atomic
def return_to_draft(consultation: Consultation, *, by: User, now: datetime) -> None:
    """The validator sends it back to its author."""
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    if locked.step not in ("submitted", "validated"):
        raise WrongStep("Cette consultation ne peut pas revenir en préparation.")
    locked.submitted_by = locked.submitted_at = locked.validated_by = locked.validated_at = None
    locked.save(update_fields=["submitted_by", "submitted_at", "validated_by", "validated_at"])


@transaction.atomic
def record_ceremony(
    consultation: Consultation, *, record: bytes, sha256: str, keys: Mapping[str, tuple[bytes, bytes]]
) -> None:
    """The opening room says that the keys are ready.

    Kind → (committee's, platform's). Refused once published.
    """
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    if locked.published_at:
        raise WrongStep("Les clés d'une consultation publiée ne changent pas.")
    locked.ceremony_record, locked.ceremony_sha256 = record, sha256
    locked.save(update_fields=["ceremony_record", "ceremony_sha256"])
    for kind, (committee, platform) in keys.items():
        EnvelopeKeys.objects.update_or_create(
            consultation=locked, kind=kind, defaults={"committee": committee, "platform": platform}
        )


@transaction.atomic
def publish(consultation: Consultation, *, by: User, now: datetime) -> None:
    """Open the consultation to everybody. Raises NotReady, DeadlinePast or WrongStep."""
    locked = Consultation.objects.select_for_update().get(pk=consultation.pk)
    if locked.step != "validated":
        raise WrongStep("Une consultation se publie une fois validée par une seconde personne.")
    missing = missing_to_submit(locked)
    if not locked.ceremony_sha256:
        missing.append("la cérémonie des clés de la commission, confirmée par tous ses membres")
    if missing:
        raise NotReady(missing)
    deadline = locked.current_deadline
    if deadline is None:
        raise NotReady(["la date limite"])
    check_deadline(deadline.at, zone=deadline.zone, now=now)
    locked.published_by, locked.published_at = by, now
    locked.save(update_fields=["published_by", "published_at"])
    append(
        "consultation-published",
        {
            "consultation": str(locked.uuid),
            "buyer": locked.buyer.siret,
            "reference": locked.reference,
            "title": locked.title,
            "deadline": utc_text(deadline.at),
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


def follow(consultation: Consultation, *, email: str, now: datetime) -> None:
    """Be told of changes; leaving an address twice is harmless."""
    Follower.objects.get_or_create(consultation=consultation, email=email.lower(), defaults={"since": now})


@transaction.atomic
def ask(consultation: Consultation, *, text: str, email: str = "", now: datetime) -> Question:
    """Ask the buyer a question, while the consultation is open."""
    if not consultation.is_open(now=now):
        raise WrongStep("La consultation est close : les questions ne sont plus reçues.")
    if not text.strip():
        raise NotReady(["le texte de la question"])
    return Question.objects.create(consultation=consultation, text=text.strip(), email=email, asked_at=now)


@transaction.atomic
def answer(question: Question, *, text: str, by: User, now: datetime) -> None:
    """Publish the answer to everybody at the same time, without naming who asked."""
    if not text.strip():
        raise NotReady(["le texte de la réponse"])
    changed = Question.objects.filter(pk=question.pk, answered_at=None).update(
        answer=text.strip(), answered_by=by, answered_at=now
    )
    if not changed:
        raise WrongStep("Cette question a déjà reçu une réponse.")
    tell_followers(question.consultation, "Une question a reçu une réponse.", also=question.email, now=now)


def tell_followers(consultation: Consultation, text: str, *, also: str = "", now: datetime) -> None:
    """Store one mail for each address left, and for `also`."""
    addresses = set(consultation.followers.order_by("pk").values_list("email", flat=True)) | (
        {also} if also else set()
    )
    page = f"{settings.SITE_URL}/consultations/{consultation.uuid}/"
    for address in sorted(addresses):
        store_mail(
            to=address,
            subject=f"{consultation.reference} : {consultation.title}",
            body=f"{text}\n\nConsultation {consultation.reference}, {consultation.buyer.name} : {page}\n\n"
            f"Ne plus recevoir ces messages : {page}ne-plus-suivre/{unfollow_token(consultation, address)}/",
            now=now,
        )


def unfollow_token(consultation: Consultation, email: str) -> str:
    """What lets the holder of this address, and nobody else, stop the messages of this consultation."""
    return str(signing.dumps([str(consultation.uuid), email], salt=_UNFOLLOW))


def unfollow(consultation: Consultation, *, token: str) -> None:
    """Forget an address; twice is harmless. Raises LinkRefused."""
    Follower.objects.filter(consultation=consultation, email=followed_by(consultation, token=token)).delete()


def followed_by(consultation: Consultation, *, token: str) -> str:
    """The address of an unfollow link. Raises LinkRefused."""
    try:
        uuid, email = signing.loads(token, salt=_UNFOLLOW)
    except (signing.BadSignature, ValueError, TypeError) as forged:
        raise LinkRefused("Ce lien n'est pas valable.") from forged
    if uuid != str(consultation.uuid):
        raise LinkRefused("Ce lien n'est pas valable.")
    return str(email)
