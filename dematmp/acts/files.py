"""The files of an act, as the buyer and the control authority may read them."""

from dematmp.acts.models import Act
from storage.stores import object_store

DOCUMENT, ACKNOWLEDGEMENT, MESSAGE = "acte.pdf", "acquittement.xml", "message.xml"


def read_file(act: Act, name: str) -> tuple[bytes, str] | None:
    """(bytes, media type) of one of the act's files, or None when it does not exist yet."""
    if name == DOCUMENT:
        return b"".join(object_store().open(act.document_key)), "application/pdf"
    stored = {
        ACKNOWLEDGEMENT: act.transmission.acknowledgement,
        MESSAGE: act.transmission.message,
    }.get(name)
    return (bytes(stored), "application/xml") if stored is not None else None
