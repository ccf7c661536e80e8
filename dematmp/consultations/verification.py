"""Each deadline against the journal: who only writes rows neither opens early nor lets in late."""

import json
import uuid

from dematmp.audit.errors import JournalBroken
from dematmp.audit.models import Entry
from dematmp.audit.services import utc_text
from dematmp.consultations.models import Consultation, Deadline


def check_deadlines() -> str:
    """The versions of each consultation's deadline are those of the journal. Raises JournalBroken."""
    said: dict[uuid.UUID, list[tuple[object, ...]]] = {}
    for entry in Entry.objects.filter(kind="deadline").order_by("index").iterator(chunk_size=1000):
        told = json.loads(bytes(entry.record))
        said.setdefault(uuid.UUID(told["consultation"]), []).append(
            (told["version"], told["at"], told["zone"])
        )
    rows: dict[uuid.UUID, list[tuple[object, ...]]] = {}
    decided = Deadline.objects.select_related("consultation").order_by("consultation", "version")
    for each in decided.iterator(chunk_size=1000):
        version = (each.version, utc_text(each.at), each.zone)
        rows.setdefault(each.consultation.uuid, []).append(version)
    known = list(Consultation.objects.filter(uuid__in=said).values_list("uuid", "reference").order_by("pk"))
    for consultation, reference in known:
        if rows.get(consultation, []) != said[consultation]:
            raise JournalBroken(f"La date limite de la consultation {reference} n'est pas celle du journal.")
    return f"dates limites de {len(known)} consultation(s)"
