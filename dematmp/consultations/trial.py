"""The permanent test consultation: same pages, same sealing, same receipts, and nothing that counts.

Nobody can ever open what is deposited there: the two seeds are forgotten as soon as their keys are made.
"""

import uuid
from datetime import UTC, datetime

from django.contrib.auth.hashers import make_password
from django.db import transaction

from dematmp.accounts.models import Organisation, User
from dematmp.audit.services import append
from dematmp.consultations.documents import add_version
from dematmp.consultations.keys import record_ceremony
from dematmp.consultations.models import Consultation, Deadline, Lot
from signing.ceremony import Holder, KindKeys, Record, build_record, record_hash
from signing.keys import new_seed, public_key
from signing.sharing import deal

SIRET = "00000000000000"  # valid, and nobody's
# Ids of those in whose name it is published: nobody can sign up as them.
_ROBOTS = [uuid.uuid5(uuid.NAMESPACE_URL, f"urn:dematmp:trial:{number}") for number in (1, 2)]
_END = datetime(2099, 12, 31, 11, 0, tzinfo=UTC)
_TITLE = "Consultation d'essai : entraînez-vous à déposer"
_OBJECT = (
    "Cette consultation permanente ne donne lieu à aucun marché. Déposez-y des fichiers d'essai : ils sont "
    "vérifiés, scellés, envoyés, horodatés, et vous recevez un accusé de réception, exactement comme pour "
    "une vraie consultation. Personne ne peut les ouvrir, et ils sont effacés après sept jours."
)


def ensure(*, now: datetime) -> Consultation:
    """The test consultation and its one piece, made the first time; twice is harmless."""
    made = Consultation.objects.filter(trial=True).first() or _make(now=now)
    if not made.documents.exists():
        add_version(
            made,
            title="Mode d'emploi de l'essai",
            kind="rc",
            name="lisez-moi.txt",
            chunks=[f"{_OBJECT}\n".encode()],
            by=made.created_by,
            now=now,
        )
    return made


@transaction.atomic
def _make(*, now: datetime) -> Consultation:
    robots = [
        User.objects.get_or_create(
            uuid=known,
            defaults={
                "email": f"essai-{known.hex}@dematmp.invalid",
                "password": make_password(None),
                "first_name": "Plateforme",
                "last_name": f"(essai {number})",
                "is_active": False,
            },
        )[0]
        for number, known in enumerate(_ROBOTS, start=1)
    ]
    buyer, _ = Organisation.objects.get_or_create(
        siret=SIRET, defaults={"kind": "buyer", "name": "La plateforme (essais)"}
    )
    made = Consultation.objects.create(
        trial=True,
        buyer=buyer,
        reference="ESSAI",
        title=_TITLE,
        object=_OBJECT,
        procedure="MAPA-O",
        cpv="79132000",
        deposit_rules="Des fichiers d'essai, sans donnée confidentielle.",
        required_pieces=[
            {"kind": "candidature", "title": "DC1"},
            {"kind": "offre", "title": "Acte d'engagement"},
        ],
        created_by=robots[0],
        created_at=now,
        submitted_by=robots[0],
        submitted_at=now,
        validated_by=robots[1],
        validated_at=now,
    )
    for number, title in (("1", "Premier lot d'essai"), ("2", "Second lot d'essai")):
        Lot.objects.create(consultation=made, number=number, title=title)
    Deadline.objects.create(
        consultation=made,
        version=1,
        at=_END,
        decided_by=robots[0],
        decided_at=now,
    )
    _keys(made, robots, now=now)
    made.refresh_from_db()
    made.published_by, made.published_at = robots[1], now
    made.save(update_fields=["published_by", "published_at"])
    append(
        "consultation-published",
        {"consultation": str(made.uuid), "trial": True, "ceremony": made.ceremony_sha256},
        consultation=made.uuid,
        now=now,
    )
    return made


def _keys(made: Consultation, robots: list[User], *, now: datetime) -> None:
    """A ceremony of nobody: its shares go nowhere."""
    ceremony, keys = str(uuid.uuid4()), {}
    for kind in made.kinds:
        seed = new_seed()
        dealt = deal(seed, ceremony=ceremony, holders=2, threshold=2)
        commitments = {each.index: (each.salt, each.commitment) for each in dealt}
        keys[kind] = KindKeys(public_key(seed), public_key(new_seed()), commitments)
    holders = [
        Holder(index, str(user), str(user.uuid), [(str(uuid.uuid4()), "0" * 64)])
        for index, user in enumerate(robots, start=1)
    ]
    code, date = "platform, seeds forgotten", now.isoformat(timespec="seconds")
    dealer = str(robots[0].uuid)
    record = build_record(Record(ceremony, str(made.uuid), 2, holders, keys, code, date, dealer=dealer))
    record_ceremony(
        made,
        record=record,
        sha256=record_hash(record),
        keys={kind: (each.committee, each.platform) for kind, each in keys.items()},
    )
