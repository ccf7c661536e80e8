"""What anybody may read: the time, consultations, the timestamp authority's health."""

import base64
import uuid

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from dematmp.api.access import bearer, doors, published
from dematmp.audit.services import utc_text
from dematmp.mails.words import instant
from signing.digests import PART_BYTES

router = Router(tags=["public"])


def b64(data: bytes | memoryview | None) -> str:
    """Standard base64 of what a BinaryField holds."""
    return base64.b64encode(bytes(data or b"")).decode()


@router.get("/time", auth=None, summary="Heure du serveur")
def time(request: HttpRequest) -> dict[str, str]:
    return {"now": utc_text(timezone.now())}


@router.get("/me", auth=doors(), summary="Qui suis-je")
def me(request: HttpRequest) -> dict[str, object]:
    token = bearer(request)
    organisation = token.organisation
    roles = (
        token.user.memberships.filter(organisation=organisation)
        .order_by("role")
        .values_list("role", flat=True)
    )
    return {
        "email": token.user.email,
        "uuid": str(token.user.uuid),
        "name": str(token.user),
        "organisation": {
            "uuid": str(organisation.uuid),
            "name": organisation.name,
            "kind": organisation.kind,
            "siret": organisation.siret,
        },
        "roles": list(roles),
    }


@router.get("/consultations/{consultation}", auth=None, summary="Une consultation publiée")
def consultation(request: HttpRequest, consultation: uuid.UUID) -> dict[str, object]:
    found = published(consultation)
    current = found.current_deadline
    return {
        "uuid": str(found.uuid),
        "reference": found.reference,
        "title": found.title,
        "buyer": found.buyer.name,
        "deadline": utc_text(current.at) if current else None,
        "time_zone": current.zone if current else settings.TIME_ZONE,
        "now": utc_text(timezone.now()),
        "lots": [{"number": lot.number, "title": lot.title} for lot in found.lots.order_by("number")],
        "kinds": found.kinds,
        "required_pieces": found.required_pieces,
        "limits": found.deposit_limits,
        "fingerprint_first": found.fingerprint_first,
        "part_bytes": PART_BYTES,
        "keys": {
            keys.kind: {"committee": b64(keys.committee), "platform": b64(keys.platform)}
            for keys in found.envelope_keys.order_by("kind")
        },
        "ceremony": {"record": b64(found.ceremony_record), "sha256": found.ceremony_sha256},
    }


@router.get("/consultations/{consultation}/deadline", auth=None, summary="Sa date limite, à relire")
def deadline(request: HttpRequest, consultation: uuid.UUID) -> dict[str, object]:
    current = published(consultation).current_deadline
    return {
        "deadline": utc_text(current.at) if current else None,
        "text": instant(current.at, current.zone) if current else "",
        "now": utc_text(timezone.now()),
    }
