"""A member's protectors: enrolled, declared lost, given a share that another one keeps."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.services import append
from dematmp.opening.errors import CeremonyRefused
from dematmp.opening.keys import check_record, consultation_of
from dematmp.opening.models import Ceremony, KeyHolder, Protector, SealedShare
from signing.ceremony import MAX_PROTECTORS
from signing.errors import SigningError
from signing.keys import OVERHEAD_BYTES, key_hash
from signing.protectors import protector_public
from signing.sharing import SHARE_BYTES


@transaction.atomic
def add_protector(
    user: User, *, label: str, kind: str, public: bytes, wrapped: bytes | None = None, now: datetime
) -> Protector:
    """Enrol the public key of a protector, with its seed under the passphrase if it is to be kept here.

    Raises CeremonyRefused.
    """
    try:
        key_hash(public)
        if wrapped is not None and protector_public(wrapped) != public:
            raise CeremonyRefused("Ce protecteur n'est pas celui de cette clé.")
    except SigningError as refused:
        raise CeremonyRefused(str(refused)) from refused
    known = user.protectors.kept()
    if len(known) >= MAX_PROTECTORS:
        raise CeremonyRefused(f"{MAX_PROTECTORS} protecteurs au plus : déclarez perdu celui qui l'est.")
    if Protector.objects.filter(public_key=public).exclude(pk__in=known).exists() or any(
        bytes(each.public_key) == public for each in known
    ):
        raise CeremonyRefused("Ce protecteur est déjà enregistré.")
    made = Protector.objects.create(
        user=user, label=label[:100], kind=kind, public_key=public, wrapped=wrapped, created_at=now
    )
    append(
        "keys",
        {"protector": str(made.uuid), "member": str(user.uuid), "public_key": key_hash(public)},
        subject=made.uuid,
        now=now,
    )
    return made


@transaction.atomic
def lose_protector(protector: Protector, *, now: datetime) -> None:
    """Its owner says that it is lost: no later ceremony seals to it. Raises CeremonyRefused for the last."""
    user = User.objects.select_for_update(no_key=True).get(pk=protector.user.pk)
    others = user.protectors.kept().exclude(pk=protector.pk)
    if not others.exists():
        raise CeremonyRefused(
            "C'est votre dernier protecteur.", "Créez-en un autre, puis déclarez celui-ci perdu."
        )
    waiting = KeyHolder.objects.filter(user=user, ceremony__consultation__isnull=False, shares__isnull=False)
    waiting = waiting.filter(ceremony__consultation__twin_of=None)
    waiting = waiting.exclude(ceremony__consultation__opening_session__finished_at__isnull=False)
    stranded = waiting.exclude(shares__protector__in=others).select_related("ceremony__consultation").first()
    if stranded is not None:
        raise CeremonyRefused(
            f"Aucun de vos autres protecteurs ne garde votre part de « {stranded.ceremony.consultation} ».",
            "Sur la page de cette consultation, gardez aussi votre part avec un autre protecteur d'abord.",
        )
    if Protector.objects.filter(pk=protector.pk, lost_at=None).update(lost_at=now):
        append(
            "keys",
            {"protector": str(protector.uuid), "member": str(protector.user.uuid), "lost": True},
            subject=protector.uuid,
            now=now,
        )


@transaction.atomic
def seal_again(
    ceremony: Ceremony,
    *,
    shares: Mapping[tuple[str, str], bytes],
    sha256: str,
    by: User,
    now: datetime,
) -> None:
    """A member's shares, opened with one protector in their browser and sealed there to another of theirs.

    (key's name, protector's uuid) → sealed share. A lost protector is thus not a lost share. Raises
    CeremonyRefused.
    """
    check_record(ceremony, sha256)
    holder = ceremony.holders.filter(user=by).first()
    if holder is None:
        raise CeremonyRefused("Vous n'êtes pas détenteur d'une part de cette cérémonie.")
    consultation = consultation_of(ceremony)
    mine = {str(each.uuid): each for each in by.protectors.kept()}
    protectors = {protector for _, protector in shares}
    names = consultation.key_names(consultation.kinds)
    if (
        not protectors <= set(mine)
        or set(shares) != {(kind, protector) for kind in names for protector in protectors}
        or any(len(sealed) != SHARE_BYTES + OVERHEAD_BYTES for sealed in shares.values())
    ):
        raise CeremonyRefused("Il faut une part par enveloppe, scellée à l'un de vos protecteurs.")
    for (kind, protector), sealed in shares.items():
        SealedShare.objects.get_or_create(
            holder=holder, protector=mine[protector], kind=kind, defaults={"sealed": sealed}
        )
    for protector in sorted(protectors):
        holder.protectors.add(mine[protector])
        append(
            "share-resealed",
            {"ceremony": str(ceremony.uuid), "holder": holder.index, "protector": protector},
            consultation=consultation.uuid,
            now=now,
        )
