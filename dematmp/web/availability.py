"""What the platform's probe measured before a deadline, for the buyer: figures, proposal, attestation."""

import uuid
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import Http404, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from dematmp.audit.documents import render
from dematmp.audit.sealing import seal
from dematmp.bids.probe import Availability, measured_since, windows
from dematmp.web.access import MemberRequest, holds
from dematmp.web.pages import document, of_buyer


def local(moment: datetime) -> str:
    return timezone.localtime(moment, ZoneInfo(settings.TIME_ZONE)).strftime("%d/%m/%Y à %H:%M:%S")


def minutes(length: timedelta) -> int:
    """Whole minutes, one at least for anything."""
    return -(-int(length.total_seconds()) // 60)


def reason(found: Availability) -> str:
    """The motive of an extension, in the words that the public will read."""
    rows = found.outages or found.suspect
    times = [(timezone.localtime(start), timezone.localtime(end)) for start, end in rows[:3]]
    spans = ", ".join(f"de {start:%H:%M} à {end:%H:%M}" for start, end in times)
    if not found.outages:
        return f"Indisponibilité possible de la plateforme : rien n'a pu être mesuré {spans}."
    return f"Indisponibilité de la plateforme, mesurée {spans}."


@require_safe
@holds("agent", "validator", "member")
def attestation(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """The sealed PDF of what was measured before each deadline announced, once the last has passed."""
    found = of_buyer(request.user, consultation, "agent", "validator", "member")
    now = timezone.now()
    if found.deadline is None or found.published_at is None or found.is_open(now=now):
        raise Http404
    spans = [(each.since, each.until) for each in windows(found, now=now)]
    said = measured_since(found, since=found.published_at, now=now)
    if said is None:
        raise Http404
    times = " ; du ".join(f"{local(since)} au {local(until)}" for since, until in spans)
    since, _, until = times.rpartition(" au ")
    data = {
        "operator": settings.OPERATOR_NAME,
        "buyer": {"name": found.buyer.name, "siret": found.buyer.siret},
        "consultation": {"reference": found.reference, "title": found.title},
        "deadline": local(found.deadline),
        "zone": settings.TIME_ZONE,
        "since": since,  # the document writes « du … au … »
        "until": until,
        "last": local(said.last) if said.last else "–",
        "probes": said.probes,
        "succeeded": said.succeeded,
        "slowest": f"{said.slowest:.1f}".replace(".", ","),
        "unmeasured": minutes(said.unmeasured),
        "outages": [[local(start), local(end)] for start, end in said.outages],
    }
    title = "Attestation de fonctionnement"
    pdf = seal(render("availability", data, title=title), reason=title, now=now)
    return document(pdf, name="attestation-de-fonctionnement.pdf", content_type="application/pdf")
