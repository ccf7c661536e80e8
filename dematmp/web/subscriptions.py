"""Follow acts by mail, by a feed (Atom, RFC 4287) or in a calendar (iCalendar, RFC 5545)."""

import hashlib
from collections.abc import Callable
from datetime import date, datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.feedgenerator import Atom1Feed
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.accounts.models import User
from dematmp.acts import news
from dematmp.acts.models import Subscription
from dematmp.web.access import MemberRequest, anyone, holds

_LATELY = timedelta(days=92)
_OCTETS = 75  # of a line of iCalendar (RFC 5545 §3.1)


@never_cache
@require_http_methods(["GET", "POST"])
@holds("agent", "validator", "controller")
def subscription(request: MemberRequest) -> HttpResponse:
    """Open, renew or close one's feeds; mails or none."""
    user, now = request.user, timezone.now()
    verbs: dict[str, tuple[Callable[[], object], str]] = {
        "ouvrir": (lambda: news.subscribe(user, now=now), "Vos adresses de suivi sont prêtes."),
        "courriel": (
            lambda: news.choose_mail(user, wanted=True, now=now),
            "Vous serez prévenu par courriel de ce qui arrive aux actes.",
        ),
        "silence": (lambda: news.choose_mail(user, wanted=False, now=now), "Les courriels sont arrêtés."),
        "renouveler": (lambda: news.renew(user), "Les adresses ont changé ; les anciennes ne servent plus."),
        "fermer": (lambda: news.unsubscribe(user), "Le suivi est arrêté ; ses adresses ne servent plus."),
    }
    if request.method == "POST":
        act, said = verbs.get(request.POST.get("action", ""), (None, ""))
        if act is None:
            return redirect("subscription")
        act()
        messages.success(request, said)
        return redirect("subscription")
    mine = Subscription.objects.filter(user=user).first()
    return render(request, "acts/subscription.html", {"mine": mine, "site_url": settings.SITE_URL})


def _reader(feed: str) -> User:
    found = news.of_feed(feed)
    if found is None:
        raise Http404
    return found


def _private(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "private, max-age=300"
    response["X-Robots-Tag"] = "noindex"
    return response


@require_safe
@anyone
def atom(request: HttpRequest, feed: str) -> HttpResponse:
    """The last three months of events, the latest first."""
    now = timezone.now()
    found = news.news(_reader(feed), since=now - _LATELY, until=now)[: news.FEED_ENTRIES]
    made = Atom1Feed(
        title=f"{settings.SITE_NAME} : actes",
        link=f"{settings.SITE_URL}/",
        description="",
        language="fr",
        feed_url=f"{settings.SITE_URL}{request.path}",
    )
    for each in found:
        made.add_item(
            title=f"{each.event.what} : acte {each.act.number} de {each.act.sender}",
            link=each.url,
            description=f"{each.act.subject}\n{each.event.detail}".strip(),
            unique_id=_entry_id(each),
            pubdate=each.event.at,
            updateddate=each.event.at,
            author_name=each.event.by,
        )
    response = HttpResponse(content_type="application/atom+xml; charset=utf-8")
    made.write(response, "utf-8")
    return _private(response)


def _entry_id(found: news.News) -> str:
    """Its own for ever: two events of an act may be of the same instant."""
    event = found.event
    said = hashlib.sha256("\n".join((event.by, event.what, event.detail)).encode()).hexdigest()[:12]
    return f"urn:uuid:{found.act.uuid}#{event.at.isoformat()}-{said}"


@require_safe
@anyone
def calendar(request: HttpRequest, feed: str) -> HttpResponse:
    """The marks to come, a whole day each."""
    marks, now = news.marks(_reader(feed), today=timezone.localdate()), timezone.now()
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//dematmp//actes//FR", "CALSCALE:GREGORIAN"]
    for mark in marks:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{mark.act.uuid}-{'envoi' if mark.is_sending else 'controle'}",
            f"DTSTAMP:{_stamp(now)}",
            f"DTSTART;VALUE=DATE:{_day(mark.day)}",
            f"DTEND;VALUE=DATE:{_day(mark.day + timedelta(days=1))}",
            f"SUMMARY:{_text(f'{_said(mark)} : acte {mark.act.number} de {mark.act.sender}')}",
            f"DESCRIPTION:{_text(mark.act.subject)}",
            f"URL:{mark.url}",
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    body = "".join(_folded(line) for line in [*lines, "END:VCALENDAR"])
    return _private(HttpResponse(body, content_type="text/calendar; charset=utf-8"))


def _said(mark: news.Mark) -> str:
    return "Contrat à transmettre" if mark.is_sending else "Deux mois"


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _day(day: date) -> str:
    return f"{day:%Y%m%d}"


def _text(value: str) -> str:
    """A TEXT value, escaped (RFC 5545 §3.3.11)."""
    one_line = " ".join(value.split())
    return one_line.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _folded(line: str) -> str:
    """A line of at most 75 octets, continued by a space; never cut inside a character."""
    out, width = "", 0
    for character in line:
        size = len(character.encode())
        if width + size > _OCTETS:
            out, width = f"{out}\r\n ", 1
        out, width = out + character, width + size
    return f"{out}\r\n"
