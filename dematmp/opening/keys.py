"""The committee's keys: the ceremony, its confirmation by each member, reminders."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.keys import wrap
from dematmp.audit.services import append
from dematmp.audit.stamping import obtain_token
from dematmp.bids.receipts import record_token
from dematmp.consultations.exchanges import call
from dematmp.consultations.keys import (
    forget_ceremony,
    make_twin,
    record_ceremony,
    renew_ceremony,
)
from dematmp.consultations.models import Consultation
from dematmp.mails.models import Mail
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant
from dematmp.opening.errors import CeremonyRefused
from dematmp.opening.models import Ceremony, KeyHolder, PlatformKey, SealedShare
from signing.ceremony import MAX_KEYS, Holder, Record, parse_record, record_hash
from signing.errors import SigningError
from signing.keys import OVERHEAD_BYTES, key_hash, new_seed, public_key
from signing.sharing import MAX_HOLDERS, SHARE_BYTES

MIN_PROTECTORS = 2  # for each holder: losing one is not losing the share


def check_members(consultation: Consultation, members: Sequence[User], threshold: int) -> None:
    if not 2 <= threshold <= len(members):
        raise CeremonyRefused("Le quorum est de 2 au moins et ne dépasse pas le nombre de membres.")
    if len(members) > MAX_HOLDERS:
        raise CeremonyRefused(f"Une commission compte {MAX_HOLDERS} détenteurs au plus.")
    for user in members:
        if not user.has_role("member", consultation.buyer):
            raise CeremonyRefused(f"{user} n'est pas membre de la commission.")
        count = user.protectors.kept().count()
        if count < MIN_PROTECTORS:
            raise CeremonyRefused(
                f"{user} a {count or 'aucun'} protecteur : il en faut {MIN_PROTECTORS} par détenteur, pour "
                "qu'un oubli ou une panne n'empêche pas l'ouverture.",
                "Chaque membre crée les siens depuis sa page « Commission », puis recommencez.",
            )


@transaction.atomic
def start_ceremony(
    consultation: Consultation,
    *,
    members: Sequence[User],
    threshold: int,
    by: User,
    now: datetime,
    dealer: User | None = None,
) -> Ceremony:
    """Name the members, make the platform's halves, and the same again for the twin of the rehearsal.

    `dealer` is the member on whose machine the keys are made (the first one, unless said). Until the
    publication it may be done again: the former keys are set aside. Raises CeremonyRefused.
    """
    if dealer is not None and dealer not in members:
        raise CeremonyRefused("La personne qui répartit les parts est l'un des détenteurs.")
    if len(consultation.key_names(consultation.kinds)) > MAX_KEYS:
        raise CeremonyRefused(
            f"Une cérémonie fait {MAX_KEYS} clés au plus : il y a trop de lots pour une clé par lot.",
            "Décochez « une clé par lot » dans la consultation, puis recommencez.",
        )
    if consultation.published_at:
        raise CeremonyRefused("La consultation est publiée : ses clés ne changent plus.")
    check_members(consultation, members, threshold)
    forget_ceremony(consultation)
    for former in Ceremony.objects.filter(consultation=consultation):
        # Nothing was ever sealed to these keys: the platform's halves are wiped.
        PlatformKey.objects.filter(ceremony=former).delete()
        Ceremony.objects.filter(pk=former.pk).update(consultation=None, former_of=consultation)
    twin = make_twin(consultation, by=by, now=now)
    named = dealer or members[0]
    _make(twin, members=members, threshold=threshold, dealer=named, by=by, now=now)
    ceremony = _make(
        consultation, members=members, threshold=threshold, dealer=named, by=by, now=now, twin=twin
    )
    text = f"C'est vous qui fabriquez les clés de la consultation « {consultation.title} »."
    call(consultation, [named], text, now=now, page="commission")
    others = [user for user in members if user != named]
    text = (
        f"Vous détiendrez une part des clés de la consultation « {consultation.title} » : {named} les "
        "fabrique, puis un message vous dira de venir vérifier la vôtre."
    )
    call(consultation, others, text, now=now, page="commission")
    return ceremony


def _make(
    consultation: Consultation,
    *,
    members: Sequence[User],
    threshold: int,
    dealer: User,
    by: User,
    now: datetime,
    twin: Consultation | None = None,
) -> Ceremony:
    ceremony = Ceremony.objects.create(
        consultation=consultation,
        threshold=threshold,
        dealer=dealer,
        started_by=by,
        started_at=now,
        twin=twin,
    )
    for index, user in enumerate(members, start=1):
        holder = KeyHolder.objects.create(ceremony=ceremony, index=index, user=user)
        holder.protectors.set(user.protectors.kept())
    for kind in consultation.key_names(consultation.kinds):
        seed = new_seed()
        PlatformKey.objects.create(
            ceremony=ceremony,
            kind=kind,
            public_key=public_key(seed),
            wrapped_seed=wrap(seed, context=f"platform {ceremony.uuid} {kind}"),
        )
    append(
        "keys",
        {
            "ceremony": str(ceremony.uuid),
            "members": [str(user.uuid) for user in members],
            "threshold": threshold,
            "platform": {
                key.kind: key_hash(bytes(key.public_key)) for key in ceremony.platform_keys.order_by("kind")
            },
            "twin": str(twin.uuid) if twin else None,
            "dealer": str(dealer.uuid),
            "by": str(by.uuid),
        },
        consultation=consultation.uuid,
        subject=ceremony.uuid,
        now=now,
    )
    return ceremony


def holders_of(ceremony: Ceremony) -> list[Holder]:
    """The holders as the record names them."""
    return [
        Holder(
            holder.index,
            str(holder.user)[:200],
            str(holder.user.uuid),
            [(str(each.uuid), key_hash(bytes(each.public_key))) for each in holder.protectors.order_by("pk")],
        )
        for holder in ceremony.holders.select_related("user").order_by("index")
    ]


def consultation_of(ceremony: Ceremony) -> Consultation:
    """The consultation of these keys. Raises CeremonyRefused once they are made again."""
    found = ceremony.bearer
    if found is None:
        raise CeremonyRefused("Ces clés ont été refaites depuis.")
    return found


def _check_dealer(ceremony: Ceremony, by: User) -> None:
    """The member named for it deals; again, only who gathered a quorum's shares. Raises CeremonyRefused."""
    if ceremony.renews is None:
        # Ceremonies begun before dealers were named have none.
        if ceremony.dealer is not None and ceremony.dealer != by:
            raise CeremonyRefused(
                f"{ceremony.dealer} répartit les parts de cette consultation.",
                "Un agent de l'acheteur peut désigner une autre personne.",
            )
        return
    lent = set(ceremony.lent.values_list("holder", flat=True))
    if ceremony.dealer != by or len(lent) < ceremony.renews.threshold:
        raise CeremonyRefused(
            "Seule la personne à qui un quorum a prêté ses parts peut les répartir de nouveau.",
            "Attendez que les détenteurs actuels aient prêté leurs parts.",
        )


def _follows(ceremony: Ceremony, parsed: Record) -> bool:
    """Whether a record is of this epoch: the first, or the same committee's keys dealt again."""
    former = bytes(ceremony.renews.record or b"") if ceremony.renews else b""
    twin = parse_record(former).twin if former else str(ceremony.twin.uuid) if ceremony.twin else ""
    if parsed.twin != twin:
        return False
    if parsed.epoch != ceremony.epoch or parsed.previous != (record_hash(former) if former else ""):
        return False
    if not former:
        return True
    before = parse_record(former).keys
    return {kind: keys.committee for kind, keys in before.items()} == {
        kind: keys.committee for kind, keys in parsed.keys.items()
    }


def record(
    ceremony: Ceremony, *, data: bytes, shares: Mapping[tuple[str, int, str], bytes], by: User, now: datetime
) -> None:
    """Keep the record and the sealed shares, once they match the platform's own rows.

    (key's name, index, protector's uuid) → sealed share. Raises CeremonyRefused.
    """
    consultation = consultation_of(ceremony)
    _check_dealer(ceremony, by)
    try:
        parsed = parse_record(data)
    except SigningError as refused:
        raise CeremonyRefused(str(refused)) from refused
    platform = {key.kind: bytes(key.public_key) for key in ceremony.platform_keys.order_by("kind")}
    if set(platform) != set(consultation.key_names(consultation.kinds)):
        raise CeremonyRefused(
            "Les enveloppes demandées ou les lots ont changé depuis que les détenteurs ont été désignés."
        )
    holders = holders_of(ceremony)
    wanted = {
        (kind, holder.index, protector)
        for kind in platform
        for holder in holders
        for protector, _ in holder.protectors
    }
    if (
        (parsed.ceremony, parsed.consultation, parsed.threshold)
        != (str(ceremony.uuid), str(consultation.uuid), ceremony.threshold)
        or list(parsed.holders) != holders
        or parsed.dealer != str(by.uuid)
        or not _follows(ceremony, parsed)
        or _committees(parsed) & _committees_of_pair(consultation, ceremony)
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
        for holder in locked.holders.order_by("index"):
            for protector in holder.protectors.order_by("pk"):
                for kind in platform:
                    sealed = shares[kind, holder.index, str(protector.uuid)]
                    SealedShare.objects.create(holder=holder, protector=protector, kind=kind, sealed=sealed)
        append(
            "ceremony",
            {"ceremony": str(ceremony.uuid), "sha256": record_hash(data), "by": str(by.uuid)},
            consultation=consultation.uuid,
            now=now,
        )
        if consultation.twin_of is None:
            users = [holder.user for holder in locked.holders.select_related("user").order_by("index")]
            text = f"Votre part des clés de « {consultation.title} » est prête : venez la vérifier."
            call(consultation, users, text, now=now, page="commission")


def _committees(record: Record) -> set[bytes]:
    return {keys.committee for keys in record.keys.values()}


def _committees_of_pair(consultation: Consultation, ceremony: Ceremony) -> set[bytes]:
    """Keys of the twin's ceremony, or of the real one: a rehearsal must open nothing real."""
    pair = ceremony.twin or consultation.twin_of
    other = Ceremony.objects.filter(consultation=pair).first() if pair else None
    return _committees(parse_record(bytes(other.record))) if other and other.record else set()


def lock(consultation: Consultation) -> Consultation:
    """The consultation under its lock, until the end of the transaction."""
    return Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)


def check_record(ceremony: Ceremony, sha256: str) -> bytes:
    """The bytes of the record whose hash this is. Raises CeremonyRefused."""
    data = bytes(ceremony.record or b"")
    if not data or record_hash(data) != sha256:
        raise CeremonyRefused("L'empreinte annoncée n'est pas celle du compte rendu déposé.")
    return data


def _note_checked(ceremony: Ceremony, by: User, protector: str, *, now: datetime) -> None:
    """This member's shares opened with this protector."""
    shares = SealedShare.objects.filter(holder__ceremony=ceremony, holder__user=by)
    (shares.filter(protector__uuid=protector) if protector else shares.none()).update(checked_at=now)


def confirm(ceremony: Ceremony, *, sha256: str, by: User, now: datetime, protector: str = "") -> bool:
    """A member confirms the record it saw; True once all have, and the consultation then bears the keys."""
    data = check_record(ceremony, sha256)
    consultation = consultation_of(ceremony)
    stamped = obtain_token(data, now=now) if ceremony.token is None else None
    with transaction.atomic():
        # The consultation is locked before its ceremonies, everywhere: two verbs never wait for each other.
        lock(consultation)
        locked = Ceremony.objects.select_for_update(no_key=True).get(pk=ceremony.pk)
        if stamped is not None and locked.token is None:
            locked.token = stamped[0].response
            record_token(stamped, of=ceremony.uuid, consultation=consultation.uuid, now=now)
        if locked.former_of is not None:
            raise CeremonyRefused("Cette répartition a été abandonnée ou remplacée.")
        changed = locked.holders.filter(user=by, confirmed_at=None).update(confirmed_at=now)
        if not changed and not locked.holders.filter(user=by).exists():
            raise CeremonyRefused("Vous n'êtes pas détenteur d'une part de cette cérémonie.")
        if changed:
            append(
                "ceremony-confirmed",
                {"ceremony": str(ceremony.uuid), "sha256": sha256, "by": str(by.uuid)},
                consultation=consultation.uuid,
                now=now,
            )
        _note_checked(locked, by, protector, now=now)
        everyone = not locked.holders.filter(confirmed_at=None).exists()
        if everyone and locked.confirmed_at is None:
            locked.confirmed_at = now
            if locked.renews is not None:
                _replace(locked.renews, locked, data=data, sha256=sha256, now=now)
                locked.consultation = consultation
            else:
                parsed = parse_record(data)
                record_ceremony(
                    consultation,
                    record=data,
                    sha256=sha256,
                    keys={kind: (keys.committee, keys.platform) for kind, keys in parsed.keys.items()},
                )
            if consultation.twin_of_id is not None:
                from dematmp.opening.tasks import prepare_twin

                transaction.on_commit(lambda: prepare_twin.delay(consultation.pk), robust=True)
        locked.save(update_fields=["token", "confirmed_at", "consultation"])
    return everyone


def _replace(former: Ceremony, ceremony: Ceremony, *, data: bytes, sha256: str, now: datetime) -> None:
    """The same keys, dealt again, take the place of the former shares. Raises once the opening began."""
    consultation = consultation_of(former)
    renew_ceremony(consultation, record=data, sha256=sha256)
    Ceremony.objects.filter(pk=former.pk).update(consultation=None, former_of=consultation)
    ceremony.lent.all().delete()
    append(
        "ceremony-renewed",
        {"ceremony": str(ceremony.uuid), "former": str(former.uuid), "sha256": sha256},
        consultation=consultation.uuid,
        now=now,
    )


@transaction.atomic
def rehearse(ceremony: Ceremony, *, sha256: str, by: User, now: datetime, protector: str = "") -> None:
    """A member says that their share opens and matches its commitment: nothing of it left their machine."""
    check_record(ceremony, sha256)
    if not ceremony.holders.filter(user=by).update(rehearsed_at=now):
        raise CeremonyRefused("Vous n'êtes pas détenteur d'une part de cette cérémonie.")
    _note_checked(ceremony, by, protector, now=now)
    append(
        "rehearsal",
        {"ceremony": str(ceremony.uuid), "sha256": sha256, "by": str(by.uuid)},
        consultation=consultation_of(ceremony).uuid,
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
