"""People are told by mail of the states that matter: who posted, the authority, who was named."""

from datetime import datetime

from dematmp.acts import statuses
from dematmp.acts.transactions import CLASSIFICATION, Transaction
from dematmp.mails.services import store


def tell(found: Transaction, message: str, *, now: datetime) -> None:
    """Store the mails of a state reached, in the caller's transaction."""
    if found.status not in statuses.NOTIFIED or found.type == CLASSIFICATION:
        return
    label = statuses.LABELS[found.status]
    lines = [
        f"Acte {found.number} : {label}.",
        found.subject,
        message,
        f"Identifiant unique : {found.unique_id}",
        "L'acquittement et le bordereau se téléchargent auprès du service de télétransmission.",
    ]
    # The platform's own account has no mailbox of people: who prepared the act follows it on its page.
    people = [found.agent.email] if found.agent.fingerprint else []
    people += [found.authority.email, *found.broadcast]
    for to in dict.fromkeys(each for each in people if "@" in each):
        store(
            to=to,
            subject=f"[{found.authority}] Notification concernant l'acte {found.number}",
            body="\n\n".join(line for line in lines if line),
            now=now,
        )
