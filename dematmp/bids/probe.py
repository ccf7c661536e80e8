"""A full deposit of a canary each minute of the last two hours before any deadline: availability, measured.

It goes through the front door, as a company's program would, to the permanent test consultation. What it
finds is in the journal: a buyer who extends a deadline, or is told that the platform was down, has figures.
"""

import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import ApiToken, Organisation, User
from dematmp.accounts.services import give_role
from dematmp.audit.services import append, utc_text
from dematmp.bids.models import OutageNotice, Probe
from dematmp.consultations.exchanges import call, people_of
from dematmp.consultations.models import Consultation
from dematmp.consultations.rules import is_midnight
from dematmp.mails.words import instant
from signing.client import Client, EnvelopePlan
from signing.envelope import Source
from signing.errors import SigningError

WATCHED = timedelta(hours=2)  # before a deadline
EVERY = timedelta(minutes=1)
_ROBOT = uuid.uuid5(uuid.NAMESPACE_URL, "urn:dematmp:probe")  # its ids: nobody can sign up as them
_QUARTER = timedelta(minutes=15)
_TIMEOUT = 20.0  # seconds, of each request
_LIMIT = 50.0  # seconds, of a whole canary: one that is slower is an outage, and the next one comes
# One that is due is written at the latest so long after the one before: longer is time that nobody measured.
_SILENCE = EVERY + timedelta(seconds=_LIMIT)


@dataclass(frozen=True)
class Availability:
    """What was measured between two instants (UTC)."""

    since: datetime
    until: datetime
    probes: int
    succeeded: int
    slowest: float  # seconds, of those that succeeded
    outages: Sequence[tuple[datetime, datetime]]
    silences: Sequence[tuple[datetime, datetime]]
    last: datetime | None = None  # when the last canary began: nothing proves what came after it
    watched: bool = True  # without a test consultation nobody measures, and silence means nothing

    @property
    def suspect(self) -> Sequence[tuple[datetime, datetime]]:
        """When canaries were due and none was sent: the platform may have been stopped."""
        return self.silences if self.watched else ()

    @property
    def at_the_end(self) -> bool:
        """Whether the platform was down, or measured nothing, at the very end: nobody could begin then."""
        return any(end >= self.until - EVERY for _, end in [*self.outages, *self.suspect])

    @property
    def unmeasured(self) -> timedelta:
        return sum((end - start for start, end in self.silences), timedelta())

    @property
    def down(self) -> timedelta:
        """Time lost, measured or that nobody can prove was not: each instant once."""
        lost, last = timedelta(), self.since
        for start, end in sorted([*self.outages, *self.suspect]):
            lost += max(timedelta(), end - max(start, last))
            last = max(last, end)
        return lost


def is_watched(*, now: datetime) -> bool:
    """Whether a real consultation closes within the next two hours."""
    return Consultation.objects.closing(now=now, within=WATCHED).filter(trial=False).exists()


def has_where_to_deposit() -> bool:
    """Whether there is a test consultation: without it nobody measures."""
    return Consultation.objects.filter(trial=True).exists()


def _robot() -> tuple[User, Organisation]:
    user, made = User.objects.get_or_create(
        uuid=_ROBOT,
        defaults={
            "email": f"sonde-{_ROBOT.hex}@dematmp.invalid",
            "first_name": "Plateforme",
            "last_name": "(sonde)",
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
            "foreign_number": "sonde",
            "name": "Sonde de la plateforme",
        },
    )
    return user, company


def deposit_canary(trial: Consultation, *, now: datetime) -> None:
    """One small deposit on the test consultation, by HTTP. Raises SigningError."""
    user, company = _robot()
    if not user.has_role("bidder", company):
        give_role(user, company, "bidder", now=now)
    own, token = ApiToken.issue(user=user, organisation=company, label="sonde", now=now)
    client = Client(settings.PROBE_URL, token, timeout=_TIMEOUT, tries=1, limit=_LIMIT)
    try:
        with tempfile.TemporaryDirectory(prefix="dematmp-sonde-") as name:
            folder = Path(name)
            (folder / "sonde.txt").write_text(f"Sonde du {utc_text(now)}\n")
            plan = EnvelopePlan("1", "offre", [Source(folder / "sonde.txt", "sonde.txt")])
            client.seal_draft(str(trial.uuid), [plan], folder / "draft")
            attempt = client.upload(folder / "draft")
            client.finalise(folder / "draft", str(attempt["attempt"]))
    finally:
        client.close()
        own.delete()  # a slower canary keeps its own


def probe(*, now: datetime) -> Probe | None:
    """Deposit a canary, write what it gave. None without a test consultation, or twice in half a minute."""
    trial = Consultation.objects.filter(trial=True).first()
    if trial is None or _has_just_probed(now=now):
        return None
    started, code = time.monotonic(), ""
    try:
        deposit_canary(trial, now=now)
    except SigningError as refused:
        code = str(getattr(refused, "reason", "") or refused.code)[:60]
    except (LookupError, TypeError, ValueError):  # the front answered, and it was not the platform
        code = "http.unexpected"
    seconds = time.monotonic() - started
    with transaction.atomic():
        made = Probe.objects.create(at=now, succeeded=not code, seconds=seconds, code=code)
        append(
            "probe",
            {"at": utc_text(now), "succeeded": not code, "milliseconds": round(1000 * seconds), "code": code},
            now=now,
        )
    return made


def _has_just_probed(*, now: datetime) -> bool:
    """Half a minute before, by a clock that may have been ahead and set right since: not in the future."""
    return Probe.objects.filter(at__range=(now - EVERY / 2, now + EVERY / 2)).exists()


def measured(consultation: Consultation, *, now: datetime) -> Availability | None:
    """What was measured in the two hours before this deadline, until now. None before them."""
    deadline = consultation.deadline
    if deadline is None or consultation.published_at is None or now < deadline - WATCHED:
        return None
    since, until = max(deadline - WATCHED, consultation.published_at), min(deadline, now)
    rows = Probe.objects.filter(at__gte=since, at__lte=until).order_by("at")
    found = availability(list(rows), since, until)
    return replace(found, watched=has_where_to_deposit())


def measured_since(consultation: Consultation, *, since: datetime, now: datetime) -> Availability | None:
    """What was measured from that instant on, in the two hours before each deadline announced; None for none.

    An extension makes a new window and does not undo the others: who began before an interruption met it.
    """
    return _together([each for each in windows(consultation, now=now) if each.until >= since])


def _together(found: Sequence[Availability]) -> Availability | None:
    if not found:
        return None
    lasts = [each.last for each in found if each.last]
    return Availability(
        found[0].since,
        found[-1].until,
        sum(each.probes for each in found),
        sum(each.succeeded for each in found),
        max(each.slowest for each in found),
        [span for each in found for span in each.outages],
        [span for each in found for span in each.silences],
        lasts[-1] if lasts else None,
        found[-1].watched,
    )


def windows(consultation: Consultation, *, now: datetime) -> list[Availability]:
    """What was measured before each deadline that was announced, the first one first; an hour that two of
    them share is in the first."""
    published, trial = consultation.published_at, has_where_to_deposit()
    found: list[Availability] = []
    if published is None:
        return found
    last = published
    for each in sorted(consultation.announced_deadlines(), key=lambda one: one.at):
        since, until = max(each.at - WATCHED, last), min(each.at, now)
        if since < until:
            rows = Probe.objects.filter(at__gte=since, at__lte=until).order_by("at")
            found.append(replace(availability(list(rows), since, until), watched=trial))
            last = until
    return found


def availability(probes: Sequence[Probe], since: datetime, until: datetime) -> Availability:
    """An outage goes from its first failure to the next success; a silence is told apart.

    Nothing was measured: the web may have answered, or nothing at all did. Nobody proves that it worked.
    """
    outages: list[tuple[datetime, datetime]] = []
    begun: datetime | None = None
    silences, last = [], since
    for each in probes:
        if each.at - last > _SILENCE:
            silences.append((last, each.at))
        last = each.at
        if not each.succeeded and begun is None:
            begun = each.at
        elif each.succeeded and begun is not None:
            outages.append((begun, each.at))
            begun = None
    if begun is not None:
        outages.append((begun, min(until, last + EVERY)))
    if until - last > _SILENCE:
        silences.append((last, until))
    good = [each.seconds for each in probes if each.succeeded]
    slowest, latest = max(good, default=0.0), probes[-1].at if probes else None
    return Availability(since, until, len(probes), len(good), slowest, outages, silences, latest)


def proposed_deadline(deadline: datetime, found: Availability) -> datetime | None:
    """What the buyer may decide in one click: twice the time lost, two hours at least, at a round quarter.

    Never 00:00, which no deadline may be: then a quarter of an hour later.
    """
    if not found.outages and not found.suspect:
        return None
    longer = deadline + max(timedelta(hours=2), 2 * found.down)
    longer += (datetime.min.replace(tzinfo=longer.tzinfo) - longer) % _QUARTER
    return longer + _QUARTER if is_midnight(longer, zone=settings.TIME_ZONE) else longer


def tell_outages(*, now: datetime) -> None:
    """A mail to the buyer's agents for each interruption of a minute or more before their deadline, once.

    They extend it in one click from the page that the mail names; when it has passed meanwhile, the platform
    back too late, they may still admit late bids. May run twice.
    """
    soon = Consultation.objects.closing(now=now - WATCHED, within=2 * WATCHED).filter(trial=False)
    for consultation in soon.select_related("buyer").order_by("pk"):
        said = measured(consultation, now=now)
        if said is None:
            continue
        for start, end in said.outages:
            if end - start >= EVERY:
                _tell_outage(consultation, start, "a été interrompue", now=now)
        for start, _ in said.suspect:
            _tell_outage(consultation, start, "n'a rien mesuré, et était peut-être arrêtée,", now=now)


@transaction.atomic
def _tell_outage(consultation: Consultation, start: datetime, what: str, *, now: datetime) -> None:
    _, fresh = OutageNotice.objects.get_or_create(
        consultation=consultation, started_at=start, defaults={"told_at": now}
    )
    passed = consultation.deadline is not None and consultation.deadline < now
    next_step = (
        "Elle est passée et ne se reporte plus : les dépôts reçus hors délai peuvent être admis par une "
        "décision motivée, depuis les registres de cette page, qui dit ce qui a été mesuré."
        if passed
        else "Vous pouvez la reporter en un clic depuis cette page, qui dit ce qui a été mesuré."
    )
    if fresh:
        call(
            consultation,
            people_of(consultation.buyer, "agent"),
            f"La plateforme {what} à partir du {instant(start)}, avant votre date limite. {next_step}",
            title=f"la plateforme {what.rstrip(',')} avant votre date limite",
            now=now,
        )
