"""The committee's keys: protectors, the ceremony, its confirmation by each member."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.keys import wrap
from dematmp.audit.services import append
from dematmp.bids.receipts import obtain_token, record_token
from dematmp.consultations.exchanges import call
from dematmp.consultations.models import Consultation
from dematmp.consultations.services import record_ceremony
from dematmp.mails.models import Mail
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant
from dematmp.opening.errors import CeremonyRefused
from dematmp.opening.models import Ceremony, KeyHolder, PlatformKey, Protector, SealedShare
from signing.ceremony import parse_record, record_hash
from signing.errors import SigningError
from signing.keys import OVERHEAD_BYTES, key_hash, new_seed, public_key
from signing.protectors import protector_public
from signing.sharing import MAX_HOLDERS, SHARE_BYTES


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
def start_ceremony(
    consultation: Consultation, *, members: Sequence[User], threshold: int, by: User, now: datetime
) -> Ceremony:
    """Name the members and make the platform's halves.

    Each member has a protector. Raises CeremonyRefused.
    """
    if consultation.published_at:
        raise CeremonyRefused("La consultation est publiée : ses clés ne changent plus.")
    if not 2 <= threshold <= len(members):
        raise CeremonyRefused("Le quorum est de 2 au moins et ne dépasse pas le nombre de membres.")
    if len(members) > MAX_HOLDERS:
        raise CeremonyRefused(f"Une commission compte {MAX_HOLDERS} détenteurs au plus.")
    Ceremony.objects.filter(consultation=consultation, confirmed_at=None).delete()
    if Ceremony.objects.filter(consultation=consultation).exists():
        raise CeremonyRefused("La cérémonie de cette consultation est déjà confirmée.")
    ceremony = Ceremony.objects.create(
        consultation=consultation, threshold=threshold, started_by=by, started_at=now
    )
    for index, user in enumerate(members, start=1):
        protector = user.protectors.order_by("-pk").first()
        if protector is None or not user.has_role("member", consultation.buyer):
            raise CeremonyRefused(
                f"{user} n'est pas membre de la commission ou n'a pas encore de protecteur."
            )
        KeyHolder.objects.create(ceremony=ceremony, index=index, user=user, protector=protector)
    for kind in consultation.kinds:
        seed = new_seed()
        PlatformKey.objects.create(
            ceremony=ceremony,
            kind=kind,
            public_key=public_key(seed),
            wrapped_seed=wrap(seed, context=f"platform {ceremony.uuid} {kind}"),
        )
    text = f"Vous détenez une part des clés de la consultation « {consultation.title} » : venez la vérifier."
    call(consultation, members, text, now=now, page="commission")
    append(
        "keys",
        {
            "ceremony": str(ceremony.uuid),
            "members": [str(user.uuid) for user in members],
            "threshold": threshold,
            "platform": {
                key.kind: key_hash(bytes(key.public_key)) for key in ceremony.platform_keys.order_by("kind")
            },
            "by": str(by.uuid),
        },
        consultation=consultation.uuid,
        subject=ceremony.uuid,
        now=now,
    )
    return ceremony


def record(
    ceremony: Ceremony, *, data: bytes, shares: Mapping[tuple[str, int], bytes], by: User, now: datetime
) -> None:
    """Keep the record and the sealed shares, once they match the platform's own rows.

    Raises CeremonyRefused.
    """
    try:
        parsed = parse_record(data)
    except SigningError as refused:
        raise CeremonyRefused(str(refused)) from refused
    holders = list(ceremony.holders.select_related("user", "protector").order_by("index"))
    said = [
        (each.index, each.name, each.member, each.protector, each.protector_sha256) for each in parsed.holders
    ]
    held = [
        (
            each.index,
            str(each.user)[:200],
            str(each.user.uuid),
            str(each.protector.uuid),
            key_hash(bytes(each.protector.public_key)),
        )
        for each in holders
    ]
    platform = {key.kind: bytes(key.public_key) for key in ceremony.platform_keys.order_by("kind")}
    if set(platform) != set(ceremony.consultation.kinds):
        raise CeremonyRefused(
            "Les enveloppes demandées ont changé depuis que les détenteurs ont été désignés."
        )
    wanted = {(kind, holder.index) for kind in platform for holder in holders}
    if (
        (parsed.ceremony, parsed.consultation, parsed.threshold)
        != (str(ceremony.uuid), str(ceremony.consultation.uuid), ceremony.threshold)
        or said != held
        or {kind: keys.platform for kind, keys in parsed.keys.items()} != platform
        or set(shares) != wanted
        or any(len(sealed) != SHARE_BYTES + OVERHEAD_BYTES for sealed in shares.values())
    ):
        raise CeremonyRefused("Le compte rendu ne correspond pas à la cérémonie préparée par la plateforme.")
    with transaction.atomic():
        locked = Ceremony.objects.select_for_update(no_key=True).get(pk=ceremony.pk)
        if locked.record is not None:
            if bytes(locked.record) == data:
                return
            raise CeremonyRefused("Un autre compte rendu a déjà été déposé.")
        locked.record, locked.recorded_at = data, now
        locked.save(update_fields=["record", "recorded_at"])
        for holder in holders:
            for kind in platform:
                SealedShare.objects.create(holder=holder, kind=kind, sealed=shares[kind, holder.index])
        append(
            "ceremony",
            {"ceremony": str(ceremony.uuid), "sha256": record_hash(data), "by": str(by.uuid)},
            consultation=ceremony.consultation.uuid,
            now=now,
        )


def confirm(ceremony: Ceremony, *, sha256: str, by: User, now: datetime) -> bool:
    """A member confirms the record it saw; True once all have, and the consultation then bears the keys."""
    if ceremony.record is None or record_hash(bytes(ceremony.record)) != sha256:
        raise CeremonyRefused("L'empreinte confirmée n'est pas celle du compte rendu déposé.")
    stamped = obtain_token(bytes(ceremony.record), now=now) if ceremony.token is None else None
    with transaction.atomic():
        locked = Ceremony.objects.select_for_update(no_key=True).get(pk=ceremony.pk)
        if stamped is not None and locked.token is None:
            locked.token = stamped[0].response
            record_token(stamped, of=ceremony.uuid, consultation=ceremony.consultation.uuid, now=now)
        changed = locked.holders.filter(user=by, confirmed_at=None).update(confirmed_at=now)
        if not changed and not locked.holders.filter(user=by).exists():
            raise CeremonyRefused("Vous n'êtes pas détenteur d'une part de cette cérémonie.")
        if changed:
            append(
                "ceremony-confirmed",
                {"ceremony": str(ceremony.uuid), "sha256": sha256, "by": str(by.uuid)},
                consultation=ceremony.consultation.uuid,
                now=now,
            )
        everyone = not locked.holders.filter(confirmed_at=None).exists()
        if everyone and locked.confirmed_at is None:
            locked.confirmed_at = now
            parsed = parse_record(bytes(ceremony.record))
            record_ceremony(
                locked.consultation,
                record=bytes(ceremony.record),
                sha256=sha256,
                keys={kind: (keys.committee, keys.platform) for kind, keys in parsed.keys.items()},
            )
        locked.save(update_fields=["token", "confirmed_at"])
    return everyone


@transaction.atomic
def rehearse(ceremony: Ceremony, *, sha256: str, by: User, now: datetime) -> None:
    """A member says that their share opens and matches its commitment: nothing of it left their machine."""
    if ceremony.record is None or record_hash(bytes(ceremony.record)) != sha256:
        raise CeremonyRefused("L'empreinte vérifiée n'est pas celle du compte rendu déposé.")
    if not ceremony.holders.filter(user=by).update(rehearsed_at=now):
        raise CeremonyRefused("Vous n'êtes pas détenteur d'une part de cette cérémonie.")
    append(
        "rehearsal",
        {"ceremony": str(ceremony.uuid), "sha256": sha256, "by": str(by.uuid)},
        consultation=ceremony.consultation.uuid,
        now=now,
    )


def remind(consultation: Consultation, *, now: datetime) -> int:
    """Ask each holder to check their share, a week before the deadline then the day before; how many mails.

    May run as often as one likes: the same mail is never stored twice, and an extension asks again.
    """
    deadline = consultation.deadline
    if deadline is None or deadline <= now:
        return 0
    days = 1 if deadline - now <= timedelta(days=1) else 7
    if deadline - now > timedelta(days=days):
        return 0
    subject = f"{consultation.reference} : vérifiez votre part avant le {instant(deadline)} (J-{days})"[:200]
    sent = 0
    for holder in consultation.ceremony.holders.select_related("user").order_by("index"):
        if Mail.objects.filter(to=holder.user.email, subject=subject).exists():
            continue
        store_mail(
            to=holder.user.email,
            subject=subject,
            body=f"Vous détenez une part des clés de la consultation « {consultation.title} ».\n"
            "Vérifiez en une minute que vous pourrez ouvrir les plis : une phrase oubliée se découvre ainsi "
            f"à temps.\n\n{settings.SITE_URL}/commission/{consultation.uuid}/",
            now=now,
        )
        sent += 1
    return sent
