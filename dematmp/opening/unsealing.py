"""Unsealing, in a short-lived process.

Combine, open, scan, validate. Interrupted, it resumes; each file's state is a row.

This module is the only place where a plaintext, a share or an EK exists on the server, after release only.
"""

import hashlib
import logging
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import timezone

from dematmp.audit.keys import unwrap
from dematmp.audit.services import append
from dematmp.bids.models import Envelope
from dematmp.opening import signatures
from dematmp.opening.attested import AttestedObjects
from dematmp.opening.decisions import end_phase
from dematmp.opening.errors import OpeningError, ShareRefused
from dematmp.opening.minutes import issue_pdf, write_minutes
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from dematmp.opening.rehearsals import conclude
from dematmp.opening.scanning import detail
from dematmp.opening.services import list_envelopes
from signing import errors as signing_errors
from signing.ceremony import parse_record
from signing.envelope import Ids, check_ids, open_ek, unseal_blocks, unseal_closing, unseal_manifest
from signing.keys import open_with, public_key
from signing.manifest import FileDigest
from signing.sharing import quorum_seed, session_info
from storage.antivirus import ScanSession, State, Verdict, open_session
from storage.errors import AntivirusUnavailable, ScanFailed, StoreUnavailable
from storage.stores import object_store

log = logging.getLogger(__name__)
MAX_TRIES = 40  # one each quarter of a minute: ten minutes


@dataclass(frozen=True)
class Halves:
    """For the keys of one name: the committee's seed, recombined, and the platform's, unwrapped."""

    committee: bytes
    platform: bytes


def harden() -> None:
    """No core dump of a process that holds keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def unseal_all(session: OpeningSession, *, workers: int = 1) -> None:
    """Open what is to be opened, then write the minutes. May run twice, may be killed anywhere.

    `workers` envelopes are opened at a time, each in a thread with its own database connection; with one,
    in the caller's. Raises ShareRefused (the session then waits for a true share), StoreUnavailable
    (retried).
    """
    if session.released_at is None:
        raise OpeningError("La clé de la plateforme n'a pas été libérée.")
    if session.finished_at is not None:
        issue_pdf(session, now=timezone.now())
        conclude(session, now=timezone.now())
        return
    if session.phase_opened_at is not None:
        return
    halves = _halves(session)
    list_envelopes(session)
    tried: set[int] = set()
    while waiting := list(
        session.envelopes.filter(state="waiting")
        .exclude(pk__in=tried)
        .select_related("envelope__attempt__bidder", "session__consultation")
        .order_by("pk")
    ):
        tried.update(row.pk for row in waiting)
        _open_each(session, waiting, halves, workers=workers)
        list_envelopes(session)
    left = session.envelopes.filter(state="waiting").count()
    if left:
        raise OpeningError(f"{left} pli(s) n'ont pas pu être ouverts pour une cause technique.")
    if not session.is_last_phase:
        end_phase(session, now=timezone.now())
        return
    write_minutes(session, now=timezone.now())
    issue_pdf(session, now=timezone.now())
    conclude(session, now=timezone.now())


def _open_each(
    session: OpeningSession, rows: list[OpenedEnvelope], halves: dict[str, Halves], *, workers: int
) -> None:
    if workers <= 1:
        for row in rows:
            _open_or_note(session, row, _halves_of(row, halves))
        return

    def work(row: OpenedEnvelope) -> None:
        try:
            _open_or_note(session, row, _halves_of(row, halves))
        finally:
            connection.close()

    # The first fault that stops everything is raised once the envelopes being opened are finished.
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="pli") as pool:
        opening = [pool.submit(work, row) for row in rows]
        wait(opening, return_when=FIRST_EXCEPTION)
        for each in opening:
            each.cancel()
    for each in opening:
        if not each.cancelled():
            each.result()


def _open_or_note(session: OpeningSession, row: OpenedEnvelope, halves: Halves) -> None:
    """Open one envelope. A fault of ours never stops the others: it is noted, and tried again.

    After MAX_TRIES the envelope is closed with its incident and its EK in the minutes: whoever finds its
    objects again can still open it. Raises StoreUnavailable, which stops everything.
    """
    try:
        _open_envelope(session, row, halves)
    except StoreUnavailable:
        raise
    except Exception as fault:
        log.exception("pli %s", row.envelope.uuid)
        row.tries += 1
        reason = f"incident technique : {fault}"[:300]
        OpenedEnvelope.objects.filter(pk=row.pk).update(tries=row.tries, reason=reason)
        if row.tries >= MAX_TRIES:
            ek = _ek(row, halves)
            _close(session, row, state="incident", reason=reason, ek=ek.hex())


def _ek(row: OpenedEnvelope, halves: Halves) -> bytes:
    """The envelope's key, once its ids are those of our own rows. Raises SigningError."""
    header = bytes(row.envelope.header)
    check_ids(header, _expected(row.envelope))
    return open_ek(
        header, bytes(row.envelope.keys), committee_seed=halves.committee, platform_seed=halves.platform
    )


def _halves_of(row: OpenedEnvelope, halves: dict[str, Halves]) -> Halves:
    """Those of the keys to which this envelope was sealed."""
    return halves[row.session.consultation.key_name(row.envelope.kind, row.envelope.lot)]


def _halves(session: OpeningSession) -> dict[str, Halves]:
    consultation = session.consultation
    record = parse_record(bytes(consultation.ceremony_record or b""))
    seed = unwrap(bytes(session.wrapped_seed or b""), context=f"session {session.uuid}")
    result = {}
    for key in consultation.ceremony.platform_keys.filter(kind__in=session.key_names).order_by("kind"):
        shares = {}
        for given in session.shares.filter(kind=key.kind).select_related("holder").order_by("holder__index"):
            index = given.holder.index
            try:
                info = session_info(str(session.uuid), key.kind, index)
                shares[index] = open_with(seed, bytes(given.sealed), info)
            except signing_errors.StanzaRefused as false:
                raise _false_share(session, index) from false
        try:
            committee = quorum_seed(
                record.ceremony,
                shares,
                record.keys[key.kind].commitments,
                threshold=record.threshold,
                public=record.keys[key.kind].committee,
            )
        except signing_errors.ShareRefused as false:
            if false.index is None:
                raise _back_to_waiting(session, str(false)) from false
            raise _false_share(session, false.index) from false
        platform = unwrap(
            bytes(key.wrapped_seed), context=f"platform {consultation.ceremony.uuid} {key.kind}"
        )
        if public_key(platform) != record.keys[key.kind].platform:
            raise OpeningError("La clé de la plateforme n'est pas celle de la cérémonie.")
        result[key.kind] = Halves(committee, platform)
    return result


def _back_to_waiting(session: OpeningSession, message: str) -> ShareRefused:
    """Nothing was opened: this phase of the session waits for shares again. A stale run changes nothing.

    Its envelopes are listed anew at the next release: a lot may be left sealed meanwhile, or taken back.
    """
    with transaction.atomic():
        locked = OpeningSession.objects.select_for_update(no_key=True).get(pk=session.pk)
        if locked.phase == session.phase and locked.state == "released":
            locked.released_at = locked.released_by = None
            locked.problem, locked.releases = message, locked.releases[:-1]
            locked.save(update_fields=["released_at", "released_by", "problem", "releases"])
            unopened = locked.envelopes.filter(state__in=("waiting", "unopened"), ek="", decision="")
            unopened.filter(envelope__kind__in=locked.kinds).delete()
    return ShareRefused(message)


def _false_share(session: OpeningSession, index: int) -> ShareRefused:
    """Put the session back to waiting for that holder, and name him."""
    message = f"La part du détenteur n° {index} est fausse ; les autres sont conservées."
    with transaction.atomic():
        session.shares.filter(holder__index=index, kind__in=session.key_names).delete()
        _back_to_waiting(session, message)
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


def _open_envelope(
    session: OpeningSession, row: OpenedEnvelope, halves: Halves, sealed: AttestedObjects | None = None
) -> None:
    envelope = row.envelope
    header, store, sealed = bytes(envelope.header), object_store(), sealed or AttestedObjects(envelope)
    try:
        ek = _ek(row, halves)
        entries = unseal_manifest(ek, header, sealed.open("0.cob"))
        closing = unseal_closing(ek, header, entries, sealed.open("t.cob"))
        sealed.check("0.cob", "t.cob")
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
                _open_file(session, row, file, sealed, ek, header, digest)
        signatures.report_beside(row)
    except signing_errors.SigningError as refused:
        if sealed.mend():  # written over at the store: its lock kept what was received
            _open_envelope(session, row, halves, sealed)
            return
        for file in row.files.all():
            store.delete(file.key)
        _close(session, row, state="refused", reason=str(refused), ek="")
        return
    _close(session, row, state="opened", reason="", ek=ek.hex())


def _close(session: OpeningSession, row: OpenedEnvelope, *, state: str, reason: str, ek: str) -> None:
    """Once: a process that comes second, after a lock that was lost, changes nothing that minutes tell."""
    now = timezone.now()
    with transaction.atomic():
        waiting = OpenedEnvelope.objects.filter(pk=row.pk, state="waiting")
        if not waiting.update(state=state, reason=reason[:300], ek=ek, opened_at=now):
            return
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

    def __init__(self, source: Iterator[bytes], scan: ScanSession | None = None) -> None:
        self._source, self._scan = source, scan
        self.digest, self.size = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._source:
            self.digest.update(block)
            self.size += len(block)
            if self._scan is not None:
                self._scan.feed(block)
            yield block


def _plaintext(sealed: AttestedObjects, file: OpenedFile, ek: bytes, header: bytes) -> Iterator[bytes]:
    return unseal_blocks(ek, header, file.index, sealed.open(f"{file.index}.cob"))


def _stored(file: OpenedFile, plaintext: Callable[[], Iterator[bytes]]) -> tuple[_Tee, Verdict | None]:
    """The plaintext, scanned while it is stored; no verdict when the antivirus is away: no opening waits."""
    try:
        scan = open_session()
    except AntivirusUnavailable:
        scan = None
    if scan is not None:
        try:
            tee = _Tee(plaintext(), scan)
            object_store().put_stream(file.key, tee)
            return tee, scan.finish()
        except (ScanFailed, AntivirusUnavailable):
            pass  # it stopped in the middle: the file is stored anew, and scanned later
        finally:
            scan.close()
    tee = _Tee(plaintext())
    object_store().put_stream(file.key, tee)
    return tee, None


def _open_file(
    session: OpeningSession,
    row: OpenedEnvelope,
    file: OpenedFile,
    sealed: AttestedObjects,
    ek: bytes,
    header: bytes,
    expected: FileDigest,
) -> None:
    store = object_store()
    tee, verdict = _stored(file, lambda: _plaintext(sealed, file, ek, header))
    sealed.check(f"{file.index}.cob")
    if (tee.size, tee.digest.hexdigest()) != (expected.size, expected.sha256):
        store.delete(file.key)
        raise signing_errors.ManifestRefused(f"Le fichier {file.index} n'a pas l'empreinte annoncée.")
    # The plaintext is stored but not served: `done_at` is set with its verdict, in one transaction with the
    # journal.
    signature = None
    if verdict and verdict.state in (State.CLEAN, State.NOT_SCANNED):
        file.size = tee.size
        found = signatures.kind(file)
        # What may sign another file of the envelope waits until they are all there.
        signature = None if signatures.stands_beside(found) else signatures.report(file, found)
    said = str(verdict.state) if verdict else "pending"
    now = timezone.now()
    with transaction.atomic():
        changed = OpenedFile.objects.filter(pk=file.pk, done_at=None).update(
            size=tee.size,
            sha256=tee.digest.hexdigest(),
            verdict=said,
            verdict_detail=detail(verdict) if verdict else "",
            engine=verdict.engine[:300] if verdict else "",
            scanned_at=now if verdict else None,
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
                    "verdict": said,
                },
                consultation=session.consultation.uuid,
                now=now,
            )
