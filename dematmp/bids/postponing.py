"""An extension decided in time and written a little after: what came meanwhile is judged by it."""

from datetime import datetime

from dematmp.audit.services import append, utc_text
from dematmp.bids.models import Bid
from dematmp.consultations.models import Deadline
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant


def judge_again(deadline: Deadline, now: datetime) -> None:
    """In the extension's transaction, under the lock of its consultation, which every deposit takes.

    A deposit recorded late while the extension waited for that lock is in time: its row, the journal and a
    mail say so. Its record and its receipt stay as they were signed.
    """
    late = Bid.objects.select_for_update(no_key=True, of=("self",)).filter(late=True)
    covered = late.filter(consultation=deadline.consultation, received_at__lte=deadline.at)
    for bid in covered.select_related("attempt__finalised_by", "consultation", "bidder").order_by("pk"):
        append(
            "deposit-judged",
            {
                "deposit": str(bid.uuid),
                "bidder": str(bid.bidder.uuid),
                "received": utc_text(bid.received_at),
                "before": utc_text(bid.deadline),
                "deadline": utc_text(deadline.at),
                "late": False,
                "version": deadline.version,
            },
            consultation=bid.consultation.uuid,
            subject=bid.attempt.uuid,
            now=now,
        )
        Bid.objects.filter(pk=bid.pk).update(deadline=deadline.at, late=False)
        by = bid.attempt.finalised_by
        if by is not None and by.is_active and not by.is_robot:
            store_mail(
                to=by.email,
                subject=f"Dépôt {bid.number} : la date limite est reportée, il est dans les délais",
                body=f"Votre dépôt {bid.number} pour la consultation {bid.consultation.reference}, reçu le "
                f"{instant(bid.received_at)}, a un accusé qui le dit hors délai : le report de la date "
                f"limite, décidé avant elle, n'était pas encore écrit. Elle est reportée au "
                f"{instant(deadline.at)} : il est dans les délais, et sera ouvert avec les autres.\n",
                now=now,
            )
