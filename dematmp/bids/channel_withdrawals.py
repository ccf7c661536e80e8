"""A deposit withdrawn on the backup channel is withdrawn here, if it is proven and who did it could."""

from datetime import datetime

from django.db import transaction

from dematmp.accounts.models import User
from dematmp.audit.models import Entry
from dematmp.audit.services import append, utc_text
from dematmp.bids.channel_records import Told, proven_deposit, proven_withdrawal
from dematmp.bids.entitled import administrators, could_bid
from dematmp.bids.errors import ChannelRefused, ImportRefused
from dematmp.bids.models import Bid
from dematmp.consultations.models import Consultation
from dematmp.mails.services import store as store_mail
from dematmp.mails.words import instant


def take_withdrawal(bid: Bid, told: Told, *, now: datetime) -> None:
    """Withdrawn there in time, by somebody who then acted for its company: withdrawn here, at that time.

    By anybody else it is journalled and refused, once: the bid stays. Its company's administrators are told
    of either. Raises ChannelRefused when the channel's journal does not prove it, ImportRefused for another
    company's.
    """
    if not told["withdrawn"] or bid.withdrawn_at is not None:
        return
    deposit = proven_deposit(told)
    if (deposit["bidder"], deposit["consultation"]) != (str(bid.bidder.uuid), str(bid.consultation.uuid)):
        raise ImportRefused("Un retrait du canal de secours est d'un dépôt d'une autre entreprise.")
    record = proven_withdrawal(told)
    at = datetime.fromisoformat(str(record["at"]))
    if not bid.channel_key and bid.received_at > at:
        return  # the platform received it since: what was withdrawn there was deposited again here
    by = User.objects.filter(uuid=str(record["by"])).first()
    if by is None:
        raise ChannelRefused("Un retrait du canal de secours est d'une personne inconnue ici.")
    with transaction.atomic():
        consultation = Consultation.every.select_for_update(no_key=True).get(pk=bid.consultation.pk)
        if consultation.deadline is None or at > consultation.deadline:
            return
        said = {"deposit": str(bid.uuid), "by": str(by.uuid), "at": utc_text(at), "channel": "backup"}
        if could_bid(by, bid.bidder, at=at):
            if not Bid.objects.filter(pk=bid.pk, withdrawn_at=None).update(withdrawn_at=at):
                return
            kind, subject, fate = (
                "withdrawal",
                f"Dépôt {bid.number} retiré",
                "Il reste scellé et ne sera pas ouvert.",
            )
        elif Entry.objects.filter(kind="withdrawal-refused", subject=bid.uuid).exists():
            return
        else:
            kind, subject, fate = (
                "withdrawal-refused",
                f"Dépôt {bid.number} : retrait refusé",
                "Cette personne n'agissait plus pour votre entreprise à cette heure : le retrait est refusé, "
                "inscrit au journal, et votre dépôt reste valable.",
            )
        append(kind, said, consultation=consultation.uuid, subject=bid.uuid, now=now)
        for address in administrators(bid.bidder):
            store_mail(
                to=address,
                subject=subject,
                body=f"Sur le canal de secours, {by} a retiré le {instant(at)} le dépôt {bid.number} de "
                f"{bid.bidder} pour la consultation {consultation.reference}. {fate}\n",
                now=now,
            )
