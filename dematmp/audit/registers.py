"""The registers of a consultation, read in the journal: what happened, when, and the proof of each line."""

import base64
import uuid
from collections.abc import Collection
from typing import TypedDict

from django.db.models import QuerySet

from dematmp.audit.models import Entry, EntryToken, Head
from dematmp.audit.services import prove, utc_text

# Register → its title, and what it holds: nature of the entry → words.
REGISTERS: dict[str, tuple[str, dict[str, str]]] = {
    "consultation": (
        "Consultation et dossier",
        {
            "consultation-published": "Consultation publiée",
            "deadline": "Date limite fixée ou reportée",
            "document-version": "Pièce ajoutée ou remplacée",
            "document-withdrawn": "Pièce retirée",
            "award": "Lot attribué",
            "contract-version": "Version signée du contrat déposée",
            "contract-concluded": "Contrat signé par les deux parties",
        },
    ),
    "retraits": ("Retraits du dossier", {"withdrawals": "Retraits du dossier, relevés"}),
    "questions": ("Questions et réponses", {"answer": "Question et réponse, publiées pour tous"}),
    "echanges": (
        "Échanges",
        {
            "notified": "Message envoyé à qui suit la consultation",
            "act-letter": "Courrier de la préfecture",
            "act-reply": "Réponse à la préfecture",
            "act-reply-failed": "Réponse à la préfecture en échec",
            "act-procedure-sent": "Procédure communiquée à la préfecture",
        },
    ),
    "cles": (
        "Clés et répétitions",
        {
            "dealer-key": "Désignation de qui fabrique les clés",
            "keys": "Détenteurs des clés désignés, ou désignation abandonnée",
            "ceremony": "Clés fabriquées et réparties",
            "ceremony-confirmed": "Part confirmée par son détenteur",
            "ceremony-renewed": "Clés partagées de nouveau",
            "rehearsal": "Répétition réussie",
        },
    ),
    "depots": (
        "Dépôts",
        {
            "deposit": "Offre déposée",
            "deposit-imported": "Offre reçue par le canal de secours",
            "attempt-imported": "Tentative au canal de secours reprise",
            "refusal-imported": "Envoi que le canal de secours a refusé d'emblée, repris",
            "deposit-judged": "Offre dans les délais par le report de la date limite",
            "channel-refused": "Offre du canal de secours mise de côté",
            "withdrawal": "Offre retirée",
            "withdrawal-refused": "Retrait d'une offre refusé",
            "timestamp": "Jeton d'horodatage obtenu",
            "backup-copy": "Copie de sauvegarde inscrite",
            "late-decision": "Décision sur une offre hors délai",
            "destruction": "Destruction",
        },
    ),
    "ouverture": (
        "Ouverture",
        {
            "session-key": "Séance d'ouverture commencée",
            "session-reopened": "Séance reprise pour une offre reçue dans les délais",
            "platform-release": "Part de la plateforme remise à la commission",
            "share-received": "Part apportée par un membre",
            "share-refused": "Part refusée",
            "share-lent": "Part confiée",
            "share-resealed": "Part scellée de nouveau",
            "phase-opened": "Phase ouverte",
            "opened": "Enveloppe ouverte, ou laissée scellée",
            "scan-verdict": "Verdict de l'antivirus",
            "lot-left-sealed": "Lot laissé scellé, ou repris",
            "envelope-decision": "Décision sur une enveloppe",
            "file-decision": "Décision sur un fichier",
            "observation": "Observation d'un membre",
            "minutes": "Procès-verbal établi",
            "minutes-closed": "Procès-verbal clos",
            "minutes-signed": "Procès-verbal signé",
        },
    ),
    "actes": (
        "Actes",
        {
            "act-confirmed": "Départ d'un acte confirmé",
            "act-given-up": "Acte abandonné avant l'envoi",
            "act-prepared": "Acte préparé",
            "act-transmitted": "Acte transmis",
            "act-acknowledged": "Acte acquitté",
            "act-refused": "Acte refusé",
            "act-published": "Publication ou notification de l'acte",
            "act-cancel-asked": "Annulation de l'acte demandée",
            "act-cancel-failed": "Annulation de l'acte en échec",
            "act-cancelled": "Acte annulé",
        },
    ),
    "incidents": (
        "Incidents",
        {
            "opening-refused": "Ouverture refusée",
            "bid-left-out": "Offre reçue dans les délais, connue après l'ouverture",
            "bytes-lost": "Octets perdus par le stockage",
            "channel-waived": "Ouverture sans le canal de secours",
        },
    ),
}
# Nobody counts bids before the deadline: these registers open after it.
AFTER_DEADLINE = frozenset({"depots", "incidents"})
_WORDS = {kind: words for _, kinds in REGISTERS.values() for kind, words in kinds.items()}


# What these say (names of files, decisions) is the committee's: others get their proof without the record.
OF_THE_COMMITTEE = frozenset(REGISTERS["ouverture"][1])


class Proven(TypedDict):
    """An entry and what proves it; `proof` is None until a public checkpoint covers it.

    `record`, `nonce` and `token` are None for who may not read the record: the leaf and its proof stand all
    the same. The token is a TimeStampResp (base64 of its DER) over SHA-256 of the record, where there is one.
    """

    index: int
    type: str
    time: str
    leaf: str
    record: str | None
    nonce: str | None
    proof: str | None
    token: str | None


def published_size() -> int:
    """How many entries the public checkpoint covers."""
    return Head.objects.filter(pk=1).values_list("published_size", flat=True).first() or 0


def lines(
    consultation: uuid.UUID, registers: Collection[str], *, published_only: bool = False
) -> QuerySet[Entry]:
    """The entries of a consultation in these registers, in order.

    `published_only` leaves out what no public checkpoint covers yet: the number of an entry that is read at
    once tells how many were written just before it, deposits among them.
    """
    kinds = [kind for name in registers for kind in REGISTERS[name][1]]
    rows = Entry.objects.filter(consultation=consultation, kind__in=kinds)
    if published_only:
        rows = rows.filter(index__lt=published_size())
    return rows.select_related("token").order_by("index")


def words_of(entry: Entry) -> str:
    """What an entry says, in French."""
    return _WORDS.get(entry.kind, entry.kind)


def token_of(entry: Entry) -> EntryToken | None:
    """The token over an entry's record, once an authority gave it."""
    return getattr(entry, "token", None)


def proven(entry: Entry, *, with_record: bool = True) -> Proven:
    """An entry with all that anybody needs to verify it. Raises JournalBroken."""
    token = token_of(entry) if with_record else None
    return {
        "index": entry.index,
        "type": entry.kind,
        "time": utc_text(entry.at),
        "leaf": bytes(entry.leaf).decode(),
        "record": base64.b64encode(bytes(entry.record)).decode() if with_record else None,
        "nonce": bytes(entry.nonce).hex() if with_record else None,
        "proof": prove(entry.index),
        "token": base64.b64encode(bytes(token.response)).decode() if token else None,
    }
