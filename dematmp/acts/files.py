"""The files of an act, as the buyer and the control authority may read them."""

from dataclasses import dataclass, replace

from dematmp.acts.bordereau import render_bordereau
from dematmp.acts.classification import Codes, parsed, shipped
from dematmp.acts.fields import PDF
from dematmp.acts.follow_ups import document_of
from dematmp.acts.models import Act
from dematmp.acts.stamp import stamped
from dematmp.acts.subscribers import Authority
from dematmp.acts.transactions import ACT, Transaction
from dematmp.acts.versions import codes_of

ACKNOWLEDGEMENT, MESSAGE = "acquittement.xml", "message.xml"
STAMPED, BORDEREAU = "acte-tamponne.pdf", "bordereau.pdf"


@dataclass(frozen=True)
class Piece:
    """A file of an act; the document itself has the rank 1.

    `size` is in bytes, `label` what the typology says of it.
    """

    rank: int
    name: str
    typology: str
    key: str
    size: int
    sha256: str
    label: str = ""
    is_pdf: bool = True


def pieces_of(act: Act) -> list[Piece]:
    """The act's document, then its annexes."""
    main = Piece(1, act.document_name, act.typology, act.document_key, act.document_size, act.document_sha256)
    annexes = [
        Piece(e.rank, e.name, e.typology, e.key, e.size, e.sha256, is_pdf=e.media_type == PDF)
        for e in act.pieces.order_by("rank")
    ]
    found = [main, *annexes]
    codes = _codes_of(act)
    return [replace(each, label=codes.label(act.nature, each.typology)) for each in found]


def matter_of(act: Act) -> str:
    """The label of the act's matter, or the empty string."""
    return _codes_of(act).matter_label(tuple(int(each) for each in act.classification.split(".")))


def _codes_of(act: Act) -> Codes:
    """The codes of whose act it is; those that are shipped when it is transmitted elsewhere."""
    authority = act.authority or Authority.objects.filter(organisation=act.buyer).first()
    return codes_of(authority) if authority is not None else Codes(parsed(shipped()))


def transaction_of(act: Act) -> Transaction | None:
    """The act's transaction, when this platform's own service transmitted it."""
    return Transaction.objects.filter(
        pk=act.transmission.remote_id or 0, unique_id=act.identifier, type=ACT
    ).first()


def read_file(act: Act, name: str) -> tuple[bytes, str] | None:
    """(bytes, media type) of what was made about the act, or None when it does not exist yet."""
    if name in (STAMPED, BORDEREAU):
        sent = transaction_of(act) if act.transmission.acknowledged_at else None
        main = document_of(sent) if sent else None
        if sent is None or main is None:
            return None
        data = render_bordereau(sent) if name == BORDEREAU else stamped(main, published=None)
        return data, "application/pdf"
    stored = {
        ACKNOWLEDGEMENT: act.transmission.acknowledgement,
        MESSAGE: act.transmission.message,
    }.get(name)
    return (bytes(stored), "application/xml") if stored is not None else None
