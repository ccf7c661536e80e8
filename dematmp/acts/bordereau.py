"""The record of a transaction as a PDF: what was sent, its files, every state that it went through."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings

from dematmp.acts.arrivals import ARCHIVE_TYPE
from dematmp.acts.classification import Codes
from dematmp.acts.transactions import TYPES, IncludedFile, Transaction
from dematmp.acts.versions import codes_of
from dematmp.audit.documents import render


def render_bordereau(found: Transaction) -> bytes:
    """A tagged PDF."""
    codes = codes_of(found.authority)
    data = {
        "authority": found.authority.name,
        "agent": f"{found.agent.name} {found.agent.given_name}".strip(),
        "reference": found.number,
        "operator": settings.OPERATOR_NAME,
        "facts": _facts(found, codes),
        "files": [_file(each, found, codes) for each in found.files.order_by("rank")],
        "steps": [
            {"state": each.get_status_display(), "at": _at(each.at), "message": each.message}
            for each in found.steps.order_by("pk")
        ],
    }
    return render("bordereau", data, title="Bordereau d'acquittement de transaction")


def _at(moment: datetime) -> str:
    return moment.astimezone(ZoneInfo(settings.TIME_ZONE)).strftime("%d/%m/%Y à %H:%M:%S")


def _facts(found: Transaction, codes: Codes) -> list[list[str]]:
    levels = tuple(int(code) for code in found.classification.split(".")) if found.classification else ()
    told = ", ".join(found.broadcast)
    return [
        ["Type de transaction", TYPES[found.type]],
        ["Nature de l'acte", codes.nature_label(found.nature)],
        ["Numéro de l'acte", found.number],
        ["Date de la décision", f"{found.decided_on:%d/%m/%Y}" if found.decided_on else ""],
        ["Objet", found.subject],
        ["Documents papiers complémentaires", "OUI" if found.paper else "NON"],
        [
            "Classification matières/sous-matières",
            f"{found.classification} {codes.matter_label(levels)}".strip(),
        ],
        ["Identifiant unique", found.unique_id],
        ["URL d'archivage", "Non définie"],
        ["Notification", f"Notifiée à {told}" if told else "Non notifiée"],
    ]


def _file(each: IncludedFile, found: Transaction, codes: Codes) -> dict[str, object]:
    label = codes.label(found.nature, each.typology) if each.typology else ""
    if each.rank == 0:
        kind = "Enveloppe métier"
    elif each.media_type == ARCHIVE_TYPE:
        kind = "Archive du courrier"
    else:
        kind = f"{'Document principal' if each.rank == 1 else 'Annexe'} ({label})"
    return {"name": each.name, "posted": each.posted_name, "kind": kind, "size": each.size}
