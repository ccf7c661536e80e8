"""Unsealing, in a short-lived process.

Combine, open, scan, validate. Interrupted, it resumes; each file's state is a row.

This module is the only place where a plaintext, a share or an EK exists on the server, after release only.
"""

import hashlib
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dematmp.audit.keys import unwrap
from dematmp.audit.services import append
from dematmp.bids.models import Envelope
from dematmp.opening.errors import OpeningError, ShareRefused
from dematmp.opening.minutes import write_minutes
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.services import list_envelopes
from signing import errors as signing_errors
from signing.ceremony import parse_record
from signing.envelope import Ids, check_ids, open_ek, unseal_blocks, unseal_closing, unseal_manifest
from signing.keys import open_with
from signing.manifest import FileDigest
from signing.sharing import quorum_seed, session_info
from signing.validation import validate_isolated
from storage.antivirus import ScanSession, State, open_session
from storage.stores import object_store


@dataclass(frozen=True)
class Halves:
    """For one kind of envelope: the committee's seed, recombined, and the platform's, unwrapped."""

    committee: bytes
    platform: bytes


def harden() -> None:
    """No core dump of a process that holds keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def unseal_all(session: OpeningSession) -> None:
    """Open what is to be opened, then write the minutes. May run twice, may be killed anywhere.

    Raises ShareRefused (the session then waits for a true share), AntivirusUnavailable, StoreUnavailable
    (retried).
    """
    if session.released_at is None:
        raise OpeningError("La clé de la plateforme n'a pas été libérée.")
    if session.finished_at is not None:
        return
    halves = _halves(session)
    list_envelopes(session)
    while waiting := list(
        session.envelopes.filter(state="waiting").select_related("envelope__attempt__bidder").order_by("pk")
    ):
        for row in waiting:
            _open_envelope(session, row, halves[row.envelope.kind])
        list_envelopes(session)
    write_minutes(session, now=timezone.now())


def _halves(session: OpeningSession) -> dict[str, Halves]:
    consultation = session.consultation
    record = parse_record(bytes(consultation.ceremony_record or b""))
    seed = unwrap(bytes(session.wrapped_seed or b""), context=f"session {session.uuid}")
    result = {}
    for key in consultation.ceremony.platform_keys.order_by("kind"):
        shares = {}
        for given in session.shares.filter(kind=key.kind).select_related("holder").order_by("holder__index"):
            index = given.holder.index
            try:
                info = session_info(str(session.uuid), key.kind, index)
                shares[index] = open_with(seed, bytes(given.sealed), info)
            except signing_errors.StanzaRefused as false:
                raise _false_share(session, index) from false
        try:
            committee = quorum_seed(record.ceremony, shares, record.keys[key.kind].commitments)
        except signing_errors.ShareRefused as false:
            raise _false_share(session, false.index or 0) from false
        platform = unwrap(
            bytes(key.wrapped_seed), context=f"platform {consultation.ceremony.uuid} {key.kind}"
        )
        result[key.kind] = Halves(committee, platform)
    return result


def _false_share(session: OpeningSession, index: int) -> ShareRefused:
    """Put the session back to waiting for that holder, and name him."""
    message = f"La part du détenteur n° {index} est fausse ; les autres sont conservées."
    with transaction.atomic():
        session.shares.filter(holder__index=index).delete()
        OpeningSession.objects.filter(pk=session.pk).update(
            released_at=None, released_by=None, problem=message
        )
        append(
            "share-refused",
            {"session": str(session.uuid), "holder": index},
            consultation=session.consultation.uuid,
            now=timezone.now(),
        )
    return ShareRefused(message, holder=index)


def _expected(envelope: Envelope) -> Ids:
    """The ids that the platform's own rows give to this envelope."""
    attempt = envelope.attempt
    return Ids(
        consultation=str(attempt.consultation.uuid),
        lot=envelope.lot,
        bidder=str(attempt.bidder.uuid),
        kind=envelope.kind,
        deposit=str(attempt.deposit),
        envelope=str(envelope.uuid),
    )


def _open_envelope(session: OpeningSession, row: OpenedEnvelope, halves: Halves) -> None:
    envelope = row.envelope
    header, store = bytes(envelope.header), object_store()
    try:
        check_ids(header, _expected(envelope))
        ek = open_ek(
            header, bytes(envelope.keys), committee_seed=halves.committee, platform_seed=halves.platform
        )
        entries = unseal_manifest(ek, header, store.open(f"{envelope.prefix}/0.cob"))
        closing = unseal_closing(ek, header, entries, store.open(f"{envelope.prefix}/t.cob"))
        for entry, digest in zip(entries, closing, strict=True):
            file, _ = OpenedFile.objects.get_or_create(
                opened=row,
                index=entry.index,
                defaults={
                    "name": entry.name,
                    "size": entry.size,
                    "key": f"opened/{session.uuid}/{envelope.uuid}/{entry.index}",
                },
            )
            if file.done_at is None:
                _open_file(session, row, file, ek, header, digest)
    except signing_errors.SigningError as refused:
        _close(session, row, state="refused", reason=str(refused), ek="")
        return
    _close(session, row, state="opened", reason="", ek=ek.hex())


def _close(session: OpeningSession, row: OpenedEnvelope, *, state: str, reason: str, ek: str) -> None:
    now = timezone.now()
    with transaction.atomic():
        OpenedEnvelope.objects.filter(pk=row.pk).update(
            state=state, reason=reason[:300], ek=ek, opened_at=now
        )
        append(
            "opened",
            {
                "session": str(session.uuid),
                "envelope": str(row.envelope.uuid),
                "state": state,
                "reason": reason[:300],
            },
            consultation=session.consultation.uuid,
            now=now,
        )


class _Tee:
    """Plaintext passing once: hashed, fed to the antivirus, written by the store."""

    def __init__(self, source: Iterator[bytes], scan: ScanSession) -> None:
        self._source, self._scan = source, scan
        self.digest, self.size = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._source:
            self.digest.update(block)
            self.size += len(block)
            self._scan.feed(block)
            yield block


def _open_file(
    session: OpeningSession,
    row: OpenedEnvelope,
    file: OpenedFile,
    ek: bytes,
    header: bytes,
    expected: FileDigest,
) -> None:
    store = object_store()
    scan = open_session()
    try:
        sealed = store.open(f"{row.envelope.prefix}/{file.index}.cob")
        tee = _Tee(unseal_blocks(ek, header, file.index, sealed), scan)
        store.put_stream(file.key, tee)
        verdict = scan.finish()
    finally:
        scan.close()
    if (tee.size, tee.digest.hexdigest()) != (expected.size, expected.sha256):
        store.delete(file.key)
        raise signing_errors.ManifestRefused(f"Le fichier {file.index} n'a pas l'empreinte annoncée.")
    # The plaintext is stored but not served: `done_at` is set with its verdict, in one transaction with the
    # journal.
    signature = None
    if verdict.state in (State.CLEAN, State.NOT_SCANNED) and file.name.lower().endswith(".pdf"):
        signature = _signatures(session, row, file)
    now = timezone.now()
    with transaction.atomic():
        changed = OpenedFile.objects.filter(pk=file.pk, done_at=None).update(
            size=tee.size,
            sha256=tee.digest.hexdigest(),
            verdict=str(verdict.state),
            verdict_detail=(f"{verdict.name} {verdict.engine}").strip()[:200],
            signature=signature,
            done_at=now,
        )
        if changed:
            append(
                "scan-verdict",
                {
                    "session": str(session.uuid),
                    "envelope": str(row.envelope.uuid),
                    "file": file.index,
                    "verdict": str(verdict.state),
                },
                consultation=session.consultation.uuid,
                now=now,
            )


def _signatures(session: OpeningSession, row: OpenedEnvelope, file: OpenedFile) -> dict[str, object]:
    """The report on a PDF's signatures at the deposit's time, made in a bounded subprocess."""
    bid = row.envelope.attempt.bid
    at: datetime = bid.token_at or bid.received_at
    with tempfile.TemporaryDirectory(prefix="dematmp-signature-") as folder:
        path = Path(folder) / "document.pdf"
        with path.open("wb") as out:
            for block in object_store().open(file.key):
                out.write(block)
        trust = [Path(each) for each in settings.SIGNATURE_TRUST]
        return validate_isolated(path, at=at, trust=trust).as_dict()
