"""Finalise a deposit.

One transaction with its journal entry and its receipt. Then stamp it and seal its receipt.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from dematmp.accounts.models import User
from dematmp.audit.services import append, canonical, utc_text
from dematmp.bids import fingerprints, presence
from dematmp.bids import preflight as checks
from dematmp.bids.assembly import ObjectsLost, Unfinished, complete_objects, parts_of, sealed_objects
from dematmp.bids.attempts import check_sizes
from dematmp.bids.channel_attempts import ChannelAttempt
from dematmp.bids.errors import BeingRecorded, DigestMismatch, Incomplete, StoreAway, TooLate, Withdrawn
from dematmp.bids.models import Attempt, Bid, SealedObject
from dematmp.bids.receipts import mentions
from dematmp.bids.rules import COUNTS, Candidate, is_late, states
from dematmp.bids.start_refusals import StartRefusal
from dematmp.consultations.models import Consultation
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant
from signing.header import header_hash
from storage.errors import StoreUnavailable


def finalise(
    attempt: Attempt,
    *,
    digests: Mapping[tuple[uuid.UUID, str], str],
    preflight: Sequence[checks.Said] = (),
    by: User,
    now: datetime,
    within: float | None = None,
) -> Bid:
    """The deposit is made at `now`, the server's receive time, or when its last part was received if later.

    A request whose body is held back while the parts arrive is thus no way to be on time. The same bid comes
    back when it is called again.

    `digests` are the composite SHA-256 that the client computed, by (envelope, object name); `preflight` is
    what it said of the files before it sealed them, empty when it checked nothing.
    Raises Incomplete, DigestMismatch, PreflightRefused, Withdrawn; BeingRecorded when the store is not done
    with its objects `within` so many seconds: called again, or left to the sweep, it goes on, received at
    `now`.
    """
    if (done := Bid.objects.filter(attempt=attempt).first()) is not None:
        if done.withdrawn_at is not None:
            raise Withdrawn(
                f"Ce dépôt, reçu le {instant(done.received_at)} (accusé {done.number}), a été retiré le "
                f"{instant(done.withdrawn_at)} : il ne compte plus.",
                number=done.number,
                received=utc_text(done.received_at),
                withdrawn=utc_text(done.withdrawn_at),
            )
        return done
    sealed = sealed_objects(attempt)
    _check_complete(sealed)
    _check_limits(attempt, sealed)
    _check_digests(sealed, digests)
    fingerprints.check(attempt, digests)
    said = checks.summary(preflight, files=_files(sealed))
    now = max([now, *(part.received_at for each in sealed for part in each.parts.all() if part.received_at)])
    open_still = Attempt.objects.filter(pk=attempt.pk, finalised_at=None, destroyed_at=None)
    if not open_still.update(finalised_at=now, finalised_by=by, preflight=said):
        attempt.refresh_from_db()
        if attempt.finalised_at is None:  # its parts were effaced, long after it was abandoned
            raise _lost(attempt, sealed_objects(attempt), now=now)
    # The instant is kept: after a crash from here the sweep makes this deposit, received at that instant.
    return complete(attempt, now=now, within=within)


def complete(attempt: Attempt, *, now: datetime, within: float | None = None) -> Bid:
    """Make the bid of an attempt whose finalisation was received. May run twice and be killed anywhere.

    Raises Incomplete when the store lost acknowledged bytes: the parts are then asked for again;
    BeingRecorded; StoreAway when the store does not answer, or is not done with what it was killed in.
    """
    sealed = sealed_objects(attempt)
    try:
        complete_objects(sealed, now=now, within=within)
    except StoreUnavailable as away:
        attempt.refresh_from_db(fields=["finalised_at"])
        at = attempt.finalised_at or now
        raise StoreAway(
            f"Finalisation reçue le {instant(at)} : le stockage ne répond pas, l'accusé portera cette heure.",
            received=utc_text(at),
        ) from away
    except Unfinished as going:
        attempt.refresh_from_db(fields=["finalised_at"])
        at = attempt.finalised_at or now
        raise BeingRecorded(
            f"Finalisation reçue le {instant(at)} : encore {going.left} objet(s) sur {len(sealed)} à ranger.",
            left=going.left,
            received=utc_text(at),
        ) from going
    except ObjectsLost as lost:
        raise _lost(attempt, lost.sealed, now=now) from lost
    # Every byte is in the store: a crash from here is finished by the next run.
    with transaction.atomic():
        locked = Attempt.objects.select_for_update(no_key=True).get(pk=attempt.pk)
        if (done := Bid.objects.filter(attempt=attempt).first()) is not None:
            return done
        if locked.finalised_at is None or locked.finalised_by is None:
            raise Incomplete("Ce dépôt n'a pas été finalisé.")
        return _record(locked, sealed, by=locked.finalised_by, now=locked.finalised_at)


def _files(sealed: list[SealedObject]) -> dict[uuid.UUID, int]:
    """Files of each envelope: its objects but the list (0.cob) and the closing record (t.cob)."""
    counts: dict[uuid.UUID, int] = {}
    for each in sealed:
        counts[each.envelope.uuid] = counts.get(each.envelope.uuid, -2) + 1
    return counts


def _lost(attempt: Attempt, gone: list[SealedObject], *, now: datetime) -> Incomplete:
    """Bytes that were acknowledged are no more in the store: journalled, and asked for again.

    The other objects of the deposit keep their parts. What was sent again since `gone` was read is not gone.
    Raises StoreUnavailable when it is not the store of the deposits that answers.
    """
    presence.check()
    with transaction.atomic():
        locked = Attempt.objects.select_for_update(no_key=True).get(pk=attempt.pk)
        if Bid.objects.filter(attempt=attempt).exists():
            return Incomplete("Ce dépôt vient d'être enregistré par ailleurs : finalisez de nouveau.")
        uploads = dict(SealedObject.objects.filter(envelope__attempt=attempt).values_list("pk", "upload_id"))
        gone = [each for each in gone if uploads[each.pk] == each.upload_id]
        if not gone:
            return Incomplete("Ce dépôt a été renvoyé par ailleurs : finalisez de nouveau.")
        for each in gone:
            each.parts.all().delete()
            SealedObject.objects.filter(pk=each.pk).update(upload_id="")
        append(
            "bytes-lost",
            {
                "attempt": str(attempt.uuid),
                "finalised": utc_text(locked.finalised_at) if locked.finalised_at else None,
                "objects": [each.key for each in gone],
            },
            consultation=attempt.consultation.uuid,
            subject=attempt.uuid,
            now=now,
        )
        Attempt.objects.filter(pk=attempt.pk).update(
            finalised_at=None, finalised_by=None, preflight={}, destroyed_at=None
        )
    return Incomplete(
        f"Offre pas encore déposée : le stockage n'a plus {len(gone)} objet(s) qu'il avait reçu(s). "
        "L'incident est inscrit au journal ; renvoyez-les, puis finalisez."
    )


def _check_limits(attempt: Attempt, sealed: list[SealedObject]) -> None:
    """What the consultation announces holds to the end. Raises LimitExceeded."""
    sizes: dict[uuid.UUID, dict[str, int]] = {}
    for each in sealed:
        sizes.setdefault(each.envelope.uuid, {})[each.name] = each.size
    for envelope, count in _files(sealed).items():
        check_sizes(sizes[envelope], attempt.consultation.deposit_limits, files=count)


def _check_complete(sealed: list[SealedObject]) -> None:
    missing = []
    for each in sealed:
        held = {part.number for part in each.parts.all() if part.received_at}
        absent = [number for number in range(1, each.part_count + 1) if number not in held]
        if absent:
            missing.append({"envelope": str(each.envelope.uuid), "name": each.name, "parts": absent})
    if missing:
        count = sum(len(each["parts"]) for each in missing)
        raise Incomplete(
            f"Offre pas encore déposée : il reste {count} partie(s) à recevoir.", missing=missing
        )


def _check_digests(sealed: list[SealedObject], digests: Mapping[tuple[uuid.UUID, str], str]) -> None:
    for each in sealed:
        if digests.get((each.envelope.uuid, each.name)) != parts_of(each)[1]:
            raise DigestMismatch(f"L'objet {each.name} reçu n'est pas celui que votre poste a scellé.")


def _record(attempt: Attempt, sealed: list[SealedObject], *, by: User, now: datetime) -> Bid:
    # The deadline that binds is read under the lock that an extension takes.
    consultation = Consultation.every.select_for_update(no_key=True).get(pk=attempt.consultation.pk)
    deadline = consultation.deadline
    if deadline is None:
        raise Incomplete("Cette consultation n'a pas de date limite.")
    late = is_late(now, deadline)
    times = [part.received_at for each in sealed for part in each.parts.all() if part.received_at]
    record = canonical(
        {
            "v": "deposit/1",
            "deposit": str(attempt.deposit),
            "attempt": str(attempt.uuid),
            "consultation": str(attempt.consultation.uuid),
            "bidder": str(attempt.bidder.uuid),
            "account": str(by.uuid),
            "started": utc_text(attempt.started_at),
            "first_part": utc_text(min(times)),
            "last_part": utc_text(max(times)),
            "received": utc_text(now),
            "deadline": utc_text(deadline),
            "late": late,
            # As they were that day: names change, and the journal then proves what was written.
            "mentions": mentions(consultation, attempt.bidder),
            "envelopes": [
                {
                    "envelope": str(envelope.uuid),
                    "lot": envelope.lot,
                    "kind": envelope.kind,
                    "header": header_hash(bytes(envelope.header)).hex(),
                    "keys": hashlib.sha256(bytes(envelope.keys)).hexdigest(),
                    "preflight": attempt.preflight.get(str(envelope.uuid)),
                    "objects": [
                        {
                            "name": each.name,
                            "size": each.size,
                            "sha256": each.sha256,
                            "part_bytes": each.part_bytes,
                        }
                        for each in sealed
                        if each.envelope_id == envelope.pk
                    ],
                }
                for envelope in attempt.envelopes.order_by("pk")
            ],
        }
    )
    appended = append(
        "deposit", record, consultation=attempt.consultation.uuid, subject=attempt.deposit, now=now
    )
    bid = Bid.objects.create(
        uuid=attempt.deposit,
        attempt=attempt,
        consultation=attempt.consultation,
        bidder=attempt.bidder,
        number=_number(attempt.deposit, now, entry=appended.entry.index),
        received_at=now,
        deadline=deadline,
        late=late,
        record=record,
        journal_index=appended.entry.index,
        nonce=appended.entry.nonce,
        proof=appended.proof,
    )
    if not by.is_robot:
        store_mail(
            to=by.email,
            subject=f"Accusé de réception {bid.number}" + (" (hors délai)" if late else ""),
            body=f"Votre dépôt pour la consultation {attempt.consultation.reference} a été reçu "
            f"le {instant(now)}{', après la date limite (hors délai)' if late else ''}.\n"
            f"L'accusé de réception complet est dans votre espace : {settings.SITE_URL}/entreprise/",
            now=now,
        )
    from dematmp.bids.tasks import stamp_bid

    transaction.on_commit(lambda: stamp_bid.delay(bid.pk), robust=True)
    return bid


def _number(deposit: uuid.UUID, now: datetime, *, entry: int) -> str:
    """Ten digits of the deposit's id; companies may choose ids alike: then its entry too."""
    what = "ARS" if settings.BACKUP_DEPOSIT else "AR"  # received by the backup channel
    short = f"{what}-{now:%Y%m%d}-{deposit.hex[:10].upper()}"
    return f"{short}-{entry}" if Bid.objects.filter(number=short).exists() else short


def withdraw(bid: Bid, *, by: User, now: datetime) -> None:
    """Set a deposit aside, until the deadline included; twice is harmless. It stays sealed for ever.

    Raises TooLate.
    """
    with transaction.atomic():
        consultation = Consultation.every.select_for_update(no_key=True).get(pk=bid.consultation.pk)
        if Bid.objects.filter(pk=bid.pk, withdrawn_at__isnull=False).exists():
            return
        # Whatever instant its request claims: once the opening began, prices may be known.
        if not consultation.is_open(now=now) or consultation.opening_at is not None:
            raise TooLate("La date limite est passée : un dépôt ne se retire plus.")
        revived = revived_by(bid)
        Bid.objects.filter(pk=bid.pk).update(withdrawn_at=now)
        append(
            "withdrawal",
            {
                "deposit": str(bid.uuid),
                "bidder": str(bid.bidder.uuid),
                "by": str(by.uuid),
                "at": utc_text(now),
            },
            consultation=consultation.uuid,
            subject=bid.uuid,
            now=now,
        )
        store_mail(
            to=by.email,
            subject=f"Dépôt {bid.number} retiré",
            body=f"Votre dépôt {bid.number} pour la consultation {consultation.reference} a été retiré le "
            f"{instant(now)}. Il reste scellé et ne sera pas ouvert."
            + (f"\n\n{revived_text(revived)}" if revived else ""),
            now=now,
        )


def revived_by(bid: Bid) -> list[Bid]:
    """The deposits that this one replaced, and that would count again once it is withdrawn."""
    before = envelope_states(bid.consultation)
    after = envelope_states(bid.consultation, without=bid)
    fresh = {uuid_ for uuid_, state in after.items() if state == COUNTS and before[uuid_] != COUNTS}
    mine = bid.consultation.bids.filter(bidder=bid.bidder, attempt__envelopes__uuid__in=fresh)
    return list(mine.distinct().order_by("received_at", "pk"))


def revived_text(revived: Sequence[Bid]) -> str:
    """What its withdrawal does to the deposits that a bid replaced, in French."""
    named = " et ".join(f"{each.number}, reçu le {instant(each.received_at)}" for each in revived)
    return (
        f"Un dépôt plus ancien compte de nouveau, et sera ouvert : {named}. Si vous renoncez à toute offre, "
        "retirez-le aussi avant la date limite."
    )


def depositors(consultation: Consultation) -> list[str]:
    """The addresses of who deposited, withdrawals aside, is depositing, or tried to: told of what changes.

    Who an outage stopped in the middle is whom an extension is for. Never shown nor counted.
    """
    mine = Attempt.objects.filter(consultation=consultation)
    kept = mine.filter(bid__isnull=False, bid__withdrawn_at=None)
    refused = StartRefusal.objects.filter(consultation=consultation)
    there = ChannelAttempt.objects.filter(consultation=consultation)
    there = there.exclude(deposit__in=mine.values("deposit"))
    people = User.objects.filter(
        Q(pk__in=kept.filter(finalised_by__isnull=False).values("finalised_by"))
        | Q(pk__in=mine.filter(bid=None).values("by"))
        | Q(pk__in=refused.values("by"))
        | Q(uuid__in=there.people()),
        is_active=True,
    )
    return [each.email for each in people.order_by("pk") if not each.is_robot]


def envelope_states(consultation: Consultation, *, without: Bid | None = None) -> dict[str, str]:
    """State of each deposited envelope of a consultation (`rules.states`), by envelope uuid; as if `without`
    were withdrawn."""
    bids = consultation.bids.select_related("bidder", "late_decision")
    bids = bids.prefetch_related("attempt__envelopes")
    return states(
        Candidate(
            envelope=str(envelope.uuid),
            bidder=str(bid.bidder.uuid),
            lot=envelope.lot,
            kind=envelope.kind,
            received=bid.received_at,
            late=bid.late and not is_admitted(bid),
            withdrawn=bid.withdrawn_at is not None or bid == without,
        )
        for bid in bids.order_by("pk")
        for envelope in bid.attempt.envelopes.all()
    )


def is_admitted(bid: Bid) -> bool:
    """Whether the buyer decided to open this late bid with the others."""
    decided = getattr(bid, "late_decision", None)
    return decided is not None and decided.decision == "admitted"


def bid_state(bid: Bid) -> str:
    """`late`, `withdrawn`, `superseded` when nothing of it counts any more, else `deposited`."""
    found = envelope_states(bid.consultation)
    mine = {found[str(envelope.uuid)] for envelope in bid.attempt.envelopes.order_by("pk")}
    if "counts" in mine:
        return "deposited"
    return mine.pop() if len(mine) == 1 else "superseded"
