"""The ministry's mails that were put aside: the operator is told, and may have them analysed again."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from dematmp.accounts.models import User
from dematmp.acts import returns
from dematmp.acts.transactions import ReturnMail, Transaction
from dematmp.audit.services import append
from dematmp.mails.services import store

PATIENCE = timedelta(hours=1)  # one that came before what it answers was analysed again by then
_LISTED = 50


def waiting() -> QuerySet[ReturnMail]:
    """Those that nothing was done about, the oldest first."""
    return ReturnMail.objects.filter(done_at=None).exclude(error="").order_by("pk")


def operators() -> list[str]:
    """Who is told: the addresses of the settings, else those of the administrators of the platform."""
    people = User.objects.filter(is_active=True, is_superuser=True).exclude(email__endswith=".invalid")
    return sorted(settings.ACTES["alert_mail"] or people.values_list("email", flat=True))


def tell(*, now: datetime) -> int:
    """One mail to each operator about those of which nobody was told; how many they were.

    When there is nobody to tell, it remains to be told.
    """
    people = operators()
    if not people:
        return 0
    with transaction.atomic():
        found = list(waiting().filter(told_at=None, received_at__lte=now - PATIENCE).select_for_update())
        if not found:
            return 0
        ReturnMail.objects.filter(pk__in=[each.pk for each in found]).update(told_at=now)
        append("act-returns-aside", {"mails": [each.pk for each in found]}, now=now)
        lines = [f"{each.pk} : {each.error}" for each in found[:_LISTED]]
        if len(found) > _LISTED:
            lines.append(f"Et {len(found) - _LISTED} autres.")
        body = [
            "La plateforme n'a pas su traiter des courriers du ministère. Ils sont gardés, et leurs réponses "
            "(acquittements, lettres, anomalies) ne sont pas encore dites aux collectivités.",
            "\n".join(lines),
            "Une fois la cause réparée : « manage.py acts_returns --again », ou « Analyser de nouveau » "
            f"dans l'administration.\n{settings.SITE_URL}/admin/acts/returnmail/",
        ]
        subject = f"Télétransmission : {len(found)} courrier(s) du ministère mis de côté"
        for email in people:
            store(to=email, subject=subject, body="\n\n".join(body), now=now)
    return len(found)


def tell_late(late: Sequence[Transaction], *, now: datetime) -> None:
    """The operators learn that the ministry has kept these waiting for hours; once each."""
    if not late:
        return
    lines = [
        f"{each.pk} ({each.authority}, {each.unique_id or each.get_type_display()}) : "
        f"{each.get_status_display()}{f', {each.problem}' if each.problem else ''}"
        for each in late[:_LISTED]
    ]
    if len(late) > _LISTED:
        lines.append(f"Et {len(late) - _LISTED} autres.")
    body = [
        f"{len(late)} transmission(s) attendent le ministère depuis plus de "
        f"{settings.ACTES['alert_hours']:g} heures : il est absent, ou sa boîte de retour ne se lit plus.",
        "\n".join(lines),
        f"{settings.SITE_URL}/admin/acts/transaction/",
    ]
    subject = f"Télétransmission : {len(late)} envoi(s) sans réponse du ministère"
    with transaction.atomic():
        for email in operators():
            store(to=email, subject=subject, body="\n\n".join(body), now=now)


def again(rows: Iterable[ReturnMail], *, by: str, now: datetime) -> list[ReturnMail]:
    """Analyse again those that wait among these; the ones that still do.

    Raises StoreUnavailable: the rest is as it was.
    """
    still = []
    for each in rows:
        if each.done_at is None:
            with transaction.atomic():
                append("act-returns-again", {"mail": each.pk, "by": by}, now=now)
            returns.analyse_again(each, now=now)
            each.refresh_from_db()
            if each.done_at is None:
                still.append(each)
    return still
