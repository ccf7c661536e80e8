"""The dry run: a dummy bid sealed to the keys of the twin, opened by the committee through the real path.

The twin is a consultation of its own that only its committee sees. Its bid is received, opened, scanned and
put into minutes by the very code of a real one: what would fail on the day fails here, before publication.
"""

import io
import tempfile
import uuid
from datetime import datetime, timedelta
from pathlib import Path

from django.utils import timezone

from dematmp.accounts.models import Organisation, User
from dematmp.bids.attempts import EnvelopeOffer, begin, receive_part
from dematmp.bids.models import Bid
from dematmp.bids.services import finalise
from dematmp.consultations.keys import receive_twin, record_rehearsal
from dematmp.consultations.models import Consultation
from dematmp.opening.models import OpenedEnvelope, OpenedFile, OpeningSession
from signing.envelope import Ids, SealedEnvelope, Source, seal

_PLAIN = "Pli d'essai : cette consultation jumelle ne sert qu'à répéter l'ouverture.\n"
_LONG = timedelta(hours=1)  # more than a dummy bid takes
_DEAD = timedelta(minutes=2)
_ROBOT = uuid.uuid5(uuid.NAMESPACE_URL, "urn:dematmp:rehearsal")  # its ids: nobody can sign up as them


def _robot() -> tuple[User, Organisation]:
    """Who deposits dummy bids: nobody signs in as them."""
    user, made = User.objects.get_or_create(
        uuid=_ROBOT,
        defaults={
            "email": f"repetition-{_ROBOT.hex}@dematmp.invalid",
            "first_name": "Plateforme",
            "last_name": "(répétition)",
            "is_active": False,
        },
    )
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    company, _ = Organisation.objects.get_or_create(
        uuid=_ROBOT,
        defaults={
            "kind": "company",
            "country": "ZZ",
            "foreign_number": "repetition",
            "name": "Entreprise d'essai (répétition)",
        },
    )
    return user, company


def prepare(twin: Consultation) -> None:
    """Deposit the dummy bid, then close the twin. May run twice or be killed anywhere: the sweep finishes."""
    user, company = _robot()
    now = timezone.now()
    bid = Bid.objects.filter(consultation=twin).first()
    if bid is None and twin.attempts.being_recorded().exists():
        return  # it becomes a bid by itself
    if bid is None:
        if not twin.is_open(now=now):
            receive_twin(twin, until=now + _LONG, by=user, now=now)
            twin.refresh_from_db()
        bid = _deposit(twin, user=user, company=company)
    if twin.deadline is None or twin.deadline > bid.received_at + timedelta(seconds=1):
        receive_twin(twin, until=bid.received_at + timedelta(milliseconds=1), by=user, now=timezone.now())


def _deposit(twin: Consultation, *, user: User, company: Organisation) -> Bid:
    # Two workers at once choose the same id, and the second is refused; an attempt that died is left behind.
    dead = twin.attempts.filter(started_at__lt=timezone.now() - _DEAD).count()
    deposit = str(uuid.uuid5(twin.uuid, str(dead)))
    with tempfile.TemporaryDirectory(prefix="dematmp-repetition-") as name:
        folder = Path(name)
        (folder / "essai.txt").write_text(_PLAIN)
        sealed: dict[str, tuple[SealedEnvelope, Path]] = {}
        for keys in twin.envelope_keys.order_by("kind"):
            envelope, out = str(uuid.uuid4()), folder / keys.kind
            ids = Ids(str(twin.uuid), "1", str(company.uuid), keys.kind, deposit, envelope)
            made = seal(
                [Source(folder / "essai.txt", f"essai-{keys.kind}.txt", "text/plain")],
                ids=ids,
                committee=bytes(keys.committee),
                platform=bytes(keys.platform),
                ceremony=twin.ceremony_sha256,
                out=out,
            )
            sealed[envelope] = (made, out)
        offers = [
            EnvelopeOffer(made.header, made.keys, {each.name: each.size for each in made.objects})
            for made, _ in sealed.values()
        ]
        attempt = begin(twin, bidder=company, by=user, offers=offers, client_clock=None, now=timezone.now())
        for envelope, (made, out) in sealed.items():
            for each in made.objects:
                data = (out / each.name).read_bytes()
                receive_part(
                    attempt,
                    envelope=uuid.UUID(envelope),
                    name=each.name,
                    number=1,
                    stream=io.BytesIO(data),
                    length=len(data),
                    sha256=each.parts[0],
                    now=timezone.now(),
                )
        digests = {
            (uuid.UUID(envelope), each.name): each.sha256
            for envelope, (made, _) in sealed.items()
            for each in made.objects
        }
        return finalise(attempt, digests=digests, by=user, now=timezone.now())


def conclude(session: OpeningSession, *, now: datetime) -> bool:
    """The session of a twin is over: True when every dummy envelope opened, which allows the publication."""
    twin = session.consultation
    if twin.twin_of is None:
        return False
    envelopes = OpenedEnvelope.objects.filter(session=session)
    files = OpenedFile.objects.filter(opened__session=session)
    good = (
        envelopes.filter(state="opened").count() == len(twin.kinds)
        and not envelopes.exclude(state="opened").exists()
        and not files.exclude(verdict__in=("clean", "not_scanned")).exists()
    )
    owner = twin.twin_of.ceremony if good and hasattr(twin.twin_of, "ceremony") else None
    if owner is None or owner.twin != twin:
        return False
    return record_rehearsal(twin.twin_of, ceremony_sha256=twin.twin_of.ceremony_sha256, now=now)


def unconcluded() -> list[OpeningSession]:
    """Sessions of twins that ended and whose success nobody wrote down: their process died just before."""
    ended = OpeningSession.objects.filter(minutes_pdf__isnull=False, consultation__twin_of__published_at=None)
    return list(ended.filter(consultation__twin_of__isnull=False, consultation__twin_of__rehearsed_at=None))


def of(consultation: Consultation) -> Consultation | None:
    """The twin of this consultation's present keys, once all have confirmed them, else None."""
    ceremony = getattr(consultation, "ceremony", None)
    if ceremony is None or ceremony.twin is None or ceremony.confirmed_at is None:
        return None
    return ceremony.twin if ceremony.twin.ceremony_sha256 else None


def unprepared() -> list[Consultation]:
    """Twins whose keys are confirmed and whose dummy bid is not closed yet."""
    now = timezone.now()
    ready = Consultation.every.exclude(twin_of=None).exclude(ceremony_sha256="").with_deadline()
    waiting = ready.filter(ceremony__confirmed_at__isnull=False, opening_at=None)
    return [each for each in waiting.order_by("pk") if each.deadline is None or each.is_open(now=now)]
