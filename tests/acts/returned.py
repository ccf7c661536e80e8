"""What the ministry sends back, made by hand: its mails, its receipts, the prefecture's letters."""

from datetime import date
from email.message import EmailMessage
from itertools import count

from django.utils import timezone

from dematmp.acts import messages as m
from dematmp.acts import moves, names, returns, statuses
from dematmp.acts.mailbox import Mail
from dematmp.acts.models import Transaction
from dematmp.acts.reading import read
from dematmp.acts.writing import write, write_return_envelope
from tests.acts.service import PDF_SENT, Caller, posted

SIREN, RECEIVED = "123456789", date(2026, 11, 28)
_serials = count(1000)
Files = dict[str, bytes]


def mail(files: Files, body: str = "<p>Bonjour</p>") -> Mail:
    made = EmailMessage()
    made["From"], made["Subject"] = "actes@ministere.example.fr", "ACTES"
    made["Message-ID"] = f"<{next(_serials)}@ministere.example.fr>"
    made.set_content(body, subtype="html")
    for name, data in files.items():
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return Mail(str(next(_serials)), made.as_bytes())


def carrier(*messages: str, siren: str = SIREN) -> Files:
    """The envelope of these messages, for one authority."""
    said = m.ReturnEnvelope(
        "IDSousPref", "034", "1", m.Referent("Préfecture"), tuple(map(m.File, messages)), siren
    )
    return {f"EACT--SPREF0341-{siren}-20261128-{next(_serials)}.xml": write_return_envelope(said)}


def receipt(sent: Transaction) -> Files:
    """An ARActe; a name of its own at each call."""
    act = read(bytes(sent.message or b""))
    assert isinstance(act, m.Act)
    said = m.ActReceipt(sent.unique_id, RECEIVED, act, act.classification_date)
    return {names.message(sent.unique_id, "1-2", serial=next(_serials)): write(said)}


def cancellation_receipt(sent: Transaction) -> Files:
    name = names.message(sent.unique_id, "6-2", serial=next(_serials))
    return {name: write(m.CancellationReceipt(sent.unique_id, RECEIVED))}


def letter(about: Transaction, kind: str, day: date) -> Files:
    document = names.document(about.unique_id, kind, 1)
    said = m.Letter(kind, about.unique_id, day, (m.File(document),), "Il manque le plan.")
    name = names.message(about.unique_id, kind, serial=next(_serials))
    return {**carrier(name, siren=about.authority.siren), name: write(said), document: PDF_SENT}


def kept(files: Files, body: str = "<p>Bonjour</p>") -> str:
    """What keeping a mail says: the reason why it is aside, or nothing."""
    return returns.keep(mail(files, body), now=timezone.now()).error


def sent(pk: int) -> Transaction:
    """A transaction that the ministry took."""
    now = timezone.now()
    if Transaction.objects.get(pk=pk).status == statuses.POSTED:
        moves.move(pk, statuses.WAITING, message="vérifié", now=now)
    moves.move(pk, statuses.SENT, message="transmis", now=now)
    return Transaction.objects.get(pk=pk)


def acknowledged_act(caller: Caller, number: str) -> Transaction:
    made = sent(posted(caller, number))
    files = receipt(made)
    assert kept({**carrier(*files, siren=made.authority.siren), **files}) == ""
    return Transaction.objects.get(pk=made.pk)


def status_of(row: Transaction) -> int:
    return Transaction.objects.get(pk=row.pk).status
