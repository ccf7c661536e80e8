"""What the backup channel must know of a consultation to receive its bids: nothing that is not public.

The platform signs a snapshot of what it receives bids for; the backup channel takes it every minute and keeps
the last one, for the hour when the platform does not answer.
"""

import base64
import hashlib
import json
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from dematmp.accounts.models import Organisation, User
from dematmp.audit.keys import channel_signer
from dematmp.audit.services import append, canonical, utc_text
from dematmp.consultations.models import Consultation, Deadline, EnvelopeKeys, Lot
from signing.errors import PassRefused
from signing.passes import issue, read

SNAPSHOT = "snapshot"
_LASTS = timedelta(minutes=10)
_AFTER = timedelta(days=2)  # a late deposit is received there too
_ROBOT = uuid.uuid5(uuid.NAMESPACE_URL, "urn:dematmp:mirror")
_TEXTS = ("reference", "title", "object", "procedure", "cpv", "opening_order", "deposit_rules")
_VALUES = ("kinds", "keys_per_lot", "required_pieces", "limits", "fingerprint_first", "former_ceremonies")


def snapshot(*, now: datetime) -> dict[str, str]:
    """`data`: canonical JSON, in base64, of each consultation that receives bids; `pass`: its signature."""
    found = Consultation.objects.real().receiving(now=now - _AFTER).select_related("buyer")
    data = canonical({"consultations": [_told(each) for each in found.order_by("pk")]})
    facts = {"sha256": hashlib.sha256(data).hexdigest()}
    signed = issue(channel_signer(), SNAPSHOT, facts, now=now, lasts=_LASTS)
    return {"data": base64.b64encode(data).decode(), "pass": signed}


def _told(consultation: Consultation) -> dict[str, object]:
    buyer = consultation.buyer
    return {
        "uuid": str(consultation.uuid),
        **{name: getattr(consultation, name) for name in (*_TEXTS, *_VALUES)},
        "buyer": {"uuid": str(buyer.uuid), "name": buyer.name, "siret": buyer.siret},
        "published": utc_text(consultation.published_at) if consultation.published_at else None,
        "ceremony": consultation.ceremony_sha256,
        "record": base64.b64encode(bytes(consultation.ceremony_record or b"")).decode(),
        "lots": [{"number": lot.number, "title": lot.title} for lot in consultation.lots.order_by("pk")],
        "keys": {
            each.kind: [base64.b64encode(bytes(key)).decode() for key in (each.committee, each.platform)]
            for each in consultation.envelope_keys.order_by("kind")
        },
        "deadlines": [
            {
                "version": each.version,
                "at": utc_text(each.at),
                "zone": each.zone,
                "reason": each.reason,
                "decided": utc_text(each.decided_at),
            }
            for each in consultation.deadlines.order_by("version")
        ],
    }


def take(said: dict[str, str], *, now: datetime) -> int:
    """Keep a snapshot: how many consultations it holds. May run twice. Raises PassRefused."""
    try:
        data, signed = base64.b64decode(said["data"], validate=True), said["pass"]
    except (KeyError, TypeError, ValueError) as bad:
        raise PassRefused("Cette copie des consultations ne se lit pas.") from bad
    if read(signed, settings.MAIN["key"], SNAPSHOT, now=now)["sha256"] != hashlib.sha256(data).hexdigest():
        raise PassRefused("Cette copie des consultations n'est pas celle que la plateforme a signée.")
    told = json.loads(data)["consultations"]
    for each in told:
        _keep(each, now=now)
    return len(told)


@transaction.atomic
def _keep(told: dict[str, object], *, now: datetime) -> None:
    """One consultation as it is told; what was received for it is never touched."""
    robot, _ = User.objects.get_or_create(
        uuid=_ROBOT, defaults={"email": f"plateforme-{_ROBOT.hex}@dematmp.invalid", "last_name": "Plateforme"}
    )
    buyer = told["buyer"]
    lots, keys, deadlines = told["lots"], told["keys"], told["deadlines"]
    if not (isinstance(buyer, dict) and isinstance(lots, list) and isinstance(keys, dict)):
        raise PassRefused("Cette copie des consultations ne se lit pas.")
    organisation, _ = Organisation.objects.update_or_create(
        uuid=buyer["uuid"], defaults={"kind": "buyer", "name": buyer["name"], "siret": buyer["siret"]}
    )
    published = datetime.fromisoformat(str(told["published"]))
    values: dict[str, object] = {
        **{name: told[name] for name in (*_TEXTS, *_VALUES)},
        "buyer": organisation,
        "ceremony_sha256": told["ceremony"],
        "ceremony_record": base64.b64decode(str(told["record"])),
        "published_at": published,
        "validated_at": published,
    }
    kept, made = Consultation.every.update_or_create(
        uuid=str(told["uuid"]),
        defaults=values,
        create_defaults={**values, "created_by": robot, "created_at": now},
    )
    for lot in lots:
        Lot.objects.get_or_create(consultation=kept, number=lot["number"], defaults={"title": lot["title"]})
    for name, (committee, platform) in keys.items():
        both = {"committee": base64.b64decode(committee), "platform": base64.b64decode(platform)}
        EnvelopeKeys.objects.get_or_create(consultation=kept, kind=name, defaults=both)
    for each in deadlines if isinstance(deadlines, list) else []:
        _, new = Deadline.objects.get_or_create(
            consultation=kept,
            version=each["version"],
            defaults={
                "at": datetime.fromisoformat(each["at"]),
                "zone": each["zone"],
                "reason": each["reason"],
                "decided_by": robot,
                "decided_at": datetime.fromisoformat(each["decided"]),
            },
        )
        if new:
            append(
                "deadline-mirrored",
                {"at": each["at"], "version": each["version"], "consultation": told["uuid"], "new": made},
                consultation=kept.uuid,
                now=now,
            )
