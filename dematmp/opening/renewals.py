"""Other holders for the same keys, once bids are being received: a quorum deals the same secret again.

The secret is combined in the browser of one member of the new committee (the dealer), never here: the former
holders seal their shares to the dealer's ephemeral key, after comparing a code that the dealer tells them by
another way. Without that comparison whoever runs the platform could give its own key instead.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.keys import unwrap, wrap
from dematmp.audit.services import append
from dematmp.consultations.exchanges import call
from dematmp.consultations.models import Consultation
from dematmp.opening.errors import CeremonyRefused
from dematmp.opening.keys import check_members, lock
from dematmp.opening.models import Ceremony, KeyHolder, LentShare, PlatformKey
from signing.errors import KeyRefused
from signing.keys import OVERHEAD_BYTES, key_hash
from signing.sharing import SHARE_BYTES


def pending(consultation: Consultation) -> Ceremony | None:
    """The new sharing that this consultation waits for, if any."""
    return Ceremony.objects.filter(
        renews__consultation=consultation, former_of=None, confirmed_at=None
    ).first()


def former_holders(consultation: Consultation) -> list[str]:
    """Who keeps a share of an earlier sharing of these keys, and none of the present one: a stated risk."""
    former = KeyHolder.objects.filter(ceremony__former_of=consultation, ceremony__renewals__isnull=False)
    former = former.filter(ceremony__confirmed_at__isnull=False)
    former = former.exclude(user__holdings__ceremony__consultation=consultation)
    return sorted({str(holder.user) for holder in former.select_related("user").order_by("pk")})


def _receiving(consultation: Consultation, *, now: datetime) -> None:
    if not consultation.is_open(now=now) or consultation.opening_at is not None:
        raise CeremonyRefused(
            "Les détenteurs ne changent qu'entre la publication et la date limite.",
            "Avant la publication, refaites la cérémonie ; après la date limite, ouvrez avec le quorum.",
        )


@transaction.atomic
def start(
    consultation: Consultation, *, members: Sequence[User], threshold: int, by: User, now: datetime
) -> Ceremony:
    """Name the holders of the new sharing; a former one that nobody finished is set aside.

    Raises CeremonyRefused.
    """
    lock(consultation)
    _receiving(consultation, now=now)
    former = Ceremony.objects.select_for_update(no_key=True).get(consultation=consultation)
    check_members(consultation, members, threshold)
    for unfinished in former.renewals.filter(former_of=None):
        unfinished.lent.all().delete()
        Ceremony.objects.filter(pk=unfinished.pk).update(former_of=consultation)
    made = Ceremony.objects.create(
        renews=former, epoch=former.epoch + 1, threshold=threshold, started_by=by, started_at=now
    )
    for index, user in enumerate(members, start=1):
        holder = KeyHolder.objects.create(ceremony=made, index=index, user=user)
        holder.protectors.set(user.protectors.kept())
    for key in former.platform_keys.order_by("kind"):
        seed = unwrap(bytes(key.wrapped_seed), context=f"platform {former.uuid} {key.kind}")
        PlatformKey.objects.create(
            ceremony=made,
            kind=key.kind,
            public_key=key.public_key,
            wrapped_seed=wrap(seed, context=f"platform {made.uuid} {key.kind}"),
        )
    everybody = {holder.user for holder in former.holders.select_related("user").order_by("index")}
    text = f"Les détenteurs des clés de « {consultation.title} » changent : votre part est attendue."
    call(
        consultation,
        sorted(everybody | set(members), key=lambda user: user.pk),
        text,
        now=now,
        page="commission",
    )
    append(
        "keys",
        {
            "ceremony": str(made.uuid),
            "renews": str(former.uuid),
            "members": [str(user.uuid) for user in members],
            "threshold": threshold,
            "by": str(by.uuid),
        },
        consultation=consultation.uuid,
        subject=made.uuid,
        now=now,
    )
    return made


def _waiting(renewal: Ceremony) -> Ceremony:
    """The renewal under its lock, not dealt yet. Raises CeremonyRefused."""
    locked = Ceremony.objects.select_for_update(no_key=True).get(pk=renewal.pk)
    if locked.renews is None or locked.former_of is not None or locked.bearer is None:
        raise CeremonyRefused("Cette nouvelle répartition a été abandonnée ou remplacée.")
    if locked.bearer.opening_at is not None:
        raise CeremonyRefused("L'ouverture des plis a commencé : les détenteurs ne changent plus.")
    if locked.record is not None:
        raise CeremonyRefused("Les parts sont déjà réparties de nouveau.")
    return locked


@transaction.atomic
def offer_key(renewal: Ceremony, *, public: bytes, by: User, now: datetime) -> None:
    """Who deals gives the key to which the former holders seal their shares; again, it starts over.

    Raises CeremonyRefused.
    """
    locked = _waiting(renewal)
    if not locked.holders.filter(user=by).exists():
        raise CeremonyRefused("Seul un membre de la nouvelle répartition répartit les parts.")
    try:
        sha256 = key_hash(public)
    except KeyRefused as refused:
        raise CeremonyRefused(str(refused)) from refused
    locked.lent.all().delete()
    locked.dealer, locked.dealer_key = by, public
    locked.save(update_fields=["dealer", "dealer_key"])
    append(
        "dealer-key",
        {"ceremony": str(locked.uuid), "public_key": sha256, "by": str(by.uuid)},
        consultation=locked.bearer.uuid if locked.bearer else None,
        now=now,
    )


@transaction.atomic
def lend(renewal: Ceremony, *, shares: Mapping[str, bytes], dealer: str, by: User, now: datetime) -> None:
    """A former holder's shares, kind → sealed to the dealer's key, whose hash is `dealer`.

    Raises CeremonyRefused.
    """
    locked = _waiting(renewal)
    former = KeyHolder.objects.filter(ceremony=locked.renews, user=by).first()
    if former is None:
        raise CeremonyRefused("Vous n'êtes pas détenteur d'une part de la répartition actuelle.")
    if locked.dealer_key is None or key_hash(bytes(locked.dealer_key)) != dealer:
        raise CeremonyRefused(
            "La personne qui répartit a recommencé depuis.",
            "Demandez-lui son nouveau code, puis recommencez.",
        )
    kinds = set(locked.platform_keys.values_list("kind", flat=True))
    if set(shares) != kinds or any(len(each) != SHARE_BYTES + OVERHEAD_BYTES for each in shares.values()):
        raise CeremonyRefused("Il faut une part par enveloppe, scellée à la clé de qui répartit.")
    for kind, sealed in shares.items():
        LentShare.objects.update_or_create(
            ceremony=locked, holder=former, kind=kind, defaults={"sealed": sealed, "at": now}
        )
    append(
        "share-lent",
        {"ceremony": str(locked.uuid), "holder": former.index, "dealer": dealer},
        consultation=locked.bearer.uuid if locked.bearer else None,
        now=now,
    )


def lenders(renewal: Ceremony) -> list[int]:
    """Numbers of the former holders who lent their shares."""
    return sorted(set(renewal.lent.values_list("holder__index", flat=True)))


@transaction.atomic
def abandon(consultation: Consultation, *, by: User, now: datetime) -> None:
    """Leave everything as it was. Does nothing when nothing waits."""
    lock(consultation)
    found = pending(consultation)
    if found is None:
        return
    found.lent.all().delete()
    Ceremony.objects.filter(pk=found.pk, confirmed_at=None).update(former_of=consultation)
    append(
        "keys",
        {"ceremony": str(found.uuid), "abandoned": True, "by": str(by.uuid)},
        consultation=consultation.uuid,
        subject=found.uuid,
        now=now,
    )
