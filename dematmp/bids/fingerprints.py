"""Fingerprint first, where a consultation asks for it: a sealed bid's digests, timestamped before its bytes.

It proves what was ready and when. It is never a submission: only a finalised deposit is (R2151-5).
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction

from dematmp.accounts.models import User
from dematmp.audit.services import append, canonical, utc_text
from dematmp.audit.stamping import obtain_token
from dematmp.bids.assembly import sealed_objects
from dematmp.bids.errors import FingerprintRefused
from dematmp.bids.models import Attempt, Fingerprint
from dematmp.bids.receipts import record_token
from signing.header import header_hash

Digests = Mapping[tuple[uuid.UUID, str], str]


def commit(attempt: Attempt, *, digests: Digests, by: User, now: datetime) -> Fingerprint:
    """Keep the composite SHA-256 of each sealed object, received at `now`; repeated, it gives the same one.

    Raises FingerprintRefused when the consultation does not ask for it, when an object is missing or unknown,
    or when another one was received.
    """
    if not attempt.consultation.fingerprint_first:
        raise FingerprintRefused("Cette consultation ne demande pas d'empreinte préalable.")
    sealed = {(each.envelope.uuid, each.name): each for each in sealed_objects(attempt)}
    if set(digests) != set(sealed):
        raise FingerprintRefused("L'empreinte porte sur chacun des objets annoncés, et sur eux seuls.")
    if (known := _known(attempt, digests)) is not None:
        return known
    record = canonical(
        {
            "v": "fingerprint/1",
            "attempt": str(attempt.uuid),
            "deposit": str(attempt.deposit),
            "consultation": str(attempt.consultation.uuid),
            "bidder": str(attempt.bidder.uuid),
            "account": str(by.uuid),
            "received": utc_text(now),
            "envelopes": [
                {
                    "envelope": str(envelope.uuid),
                    "lot": envelope.lot,
                    "kind": envelope.kind,
                    "header": header_hash(bytes(envelope.header)).hex(),
                    "keys": hashlib.sha256(bytes(envelope.keys)).hexdigest(),
                    "objects": [
                        {"name": each.name, "size": each.size, "sha256": digests[key]}
                        for key, each in sealed.items()
                        if each.envelope.pk == envelope.pk
                    ],
                }
                for envelope in attempt.envelopes.order_by("pk")
            ],
        }
    )
    try:
        with transaction.atomic():
            appended = append(
                "fingerprint",
                record,
                consultation=attempt.consultation.uuid,
                subject=attempt.uuid,
                now=now,
            )
            made = Fingerprint.objects.create(
                attempt=attempt,
                received_at=now,
                record=record,
                journal_index=appended.entry.index,
                nonce=appended.entry.nonce,
            )
    except IntegrityError as raced:
        if (known := _known(attempt, digests)) is not None:
            return known
        raise FingerprintRefused("Une empreinte de cette tentative vient d'être reçue.") from raced
    from dematmp.bids.tasks import stamp_fingerprint

    transaction.on_commit(lambda: stamp_fingerprint.delay(made.pk), robust=True)
    return made


def _known(attempt: Attempt, digests: Digests) -> Fingerprint | None:
    known = Fingerprint.objects.filter(attempt=attempt).first()
    if known is not None and committed(known) != dict(digests):
        raise FingerprintRefused("Une autre empreinte de cette tentative a déjà été reçue.")
    return known


def committed(fingerprint: Fingerprint) -> dict[tuple[uuid.UUID, str], str]:
    """The digests that were received, by (envelope, object name)."""
    return {
        (uuid.UUID(envelope["envelope"]), each["name"]): each["sha256"]
        for envelope in json.loads(bytes(fingerprint.record))["envelopes"]
        for each in envelope["objects"]
    }


def check(attempt: Attempt, digests: Digests) -> None:
    """What is finalised is what was committed to, if anything was. Raises FingerprintRefused."""
    if not holds(attempt, digests):
        raise FingerprintRefused("Ces fichiers scellés ne sont pas ceux dont l'empreinte a été reçue.")


def holds(attempt: Attempt, digests: Digests) -> bool:
    """Whether these are what was committed to, if anything was."""
    known = Fingerprint.objects.filter(attempt=attempt).first()
    return known is None or all(digests.get(key) == value for key, value in committed(known).items())


def stamp(fingerprint: Fingerprint, *, now: datetime) -> bool:
    """Ask the authorities for a token over the record; True when it has one. May run twice."""
    if fingerprint.token is not None:
        return True
    stamped = obtain_token(bytes(fingerprint.record), now=now)
    if stamped is None:
        return False
    token, authority = stamped
    with transaction.atomic():
        if Fingerprint.objects.filter(pk=fingerprint.pk, token=None).update(
            token=token.response, token_authority=authority, token_at=token.token.gen_time
        ):
            attempt = fingerprint.attempt
            record_token(stamped, of=attempt.uuid, consultation=attempt.consultation.uuid, now=now)
    return True
