"""Other holders for the same keys: what the former and the new members' programs say to the platform."""

import base64
import uuid

from django.db.models import Q
from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Router, Schema, Status

from dematmp.api.access import bearer, doors
from dematmp.api.committee import ConfirmIn, RecordIn, ShareIn, decoded, holders_json
from dematmp.api.public import b64
from dematmp.opening import keys, renewals
from dematmp.opening.models import Ceremony, SealedShare

router = Router(tags=["commission"], auth=doors("member"))


class KeyIn(Schema):
    public_key: str


class LendIn(Schema):
    dealer: str
    shares: list[ShareIn]


def _found(request: HttpRequest, renewal: uuid.UUID) -> Ceremony:
    """A renewal in which the caller is a former or a new holder, or 404."""
    token = bearer(request)
    member = token.user.memberships.filter(role="member", organisation=token.organisation).exists()
    mine = Q(holders__user=token.user) | Q(renews__holders__user=token.user)
    theirs = Q(renews__consultation__buyer=token.organisation) | Q(consultation__buyer=token.organisation)
    found = Ceremony.objects.filter(mine, theirs, uuid=renewal, renews__isnull=False, former_of=None)
    first = found.distinct().first() if member else None
    if first is None:
        raise Http404("Répartition inconnue.")
    return first


@router.get("/renewals/{renewal}", summary="Où en est la nouvelle répartition")
def state(request: HttpRequest, renewal: uuid.UUID) -> dict[str, object]:
    found = _found(request, renewal)
    former, bearing = found.renews, keys.consultation_of(found)
    if former is None:
        raise Http404("Répartition inconnue.")
    return {
        "consultation": str(bearing.uuid),
        "ceremony": str(found.uuid),
        "epoch": found.epoch,
        "threshold": found.threshold,
        "members": holders_json(found),
        "platform": {key.kind: b64(key.public_key) for key in found.platform_keys.order_by("kind")},
        "former": b64(former.record or b""),
        "needed": former.threshold,
        "lent": renewals.lenders(found),
        "dealer": {
            "member": str(found.dealer.uuid),
            "name": str(found.dealer),
            "public_key": b64(found.dealer_key),
        }
        if found.dealer and found.dealer_key
        else None,
        "state": found.state,
        "record": b64(found.record) if found.record else None,
    }


@router.post("/renewals/{renewal}/dealer", response={201: dict}, summary="Donner la clé de qui répartit")
def offer_key(request: HttpRequest, renewal: uuid.UUID, body: KeyIn) -> Status[dict[str, str]]:
    found, user = _found(request, renewal), bearer(request).user
    renewals.offer_key(found, public=decoded(body.public_key), by=user, now=timezone.now())
    return Status(201, {"state": "offered"})


@router.post("/renewals/{renewal}/lent", response={201: dict}, summary="Prêter ma part")
def lend(request: HttpRequest, renewal: uuid.UUID, body: LendIn) -> Status[dict[str, object]]:
    found, user = _found(request, renewal), bearer(request).user
    shares = {each.kind: decoded(each.sealed) for each in body.shares}
    renewals.lend(found, shares=shares, dealer=body.dealer, by=user, now=timezone.now())
    return Status(201, {"lent": renewals.lenders(found)})


@router.get("/renewals/{renewal}/lent", summary="Les parts prêtées, scellées à ma clé")
def lent(request: HttpRequest, renewal: uuid.UUID) -> list[dict[str, object]]:
    found = _found(request, renewal)
    if found.dealer != bearer(request).user:
        raise Http404("Répartition inconnue.")
    rows = found.lent.select_related("holder").order_by("holder__index", "kind")
    return [{"kind": row.kind, "index": row.holder.index, "sealed": b64(row.sealed)} for row in rows]


@router.post("/renewals/{renewal}/ceremony", response={201: dict}, summary="Déposer le compte rendu")
def record(request: HttpRequest, renewal: uuid.UUID, body: RecordIn) -> Status[dict[str, str]]:
    found, user = _found(request, renewal), bearer(request).user
    shares = {(each.kind, each.index, str(each.protector)): decoded(each.sealed) for each in body.shares}
    keys.record(found, data=decoded(body.record), shares=shares, by=user, now=timezone.now())
    return Status(201, {"state": "recorded"})


@router.get("/renewals/{renewal}/shares/mine", summary="Mes nouvelles parts scellées")
def my_shares(request: HttpRequest, renewal: uuid.UUID) -> list[dict[str, object]]:
    rows = SealedShare.objects.filter(
        holder__ceremony=_found(request, renewal), holder__user=bearer(request).user
    )
    return [
        {
            "kind": row.kind,
            "index": row.holder.index,
            "protector": str(row.protector.uuid),
            "sealed": base64.b64encode(bytes(row.sealed)).decode(),
        }
        for row in rows.select_related("holder", "protector").order_by("kind", "protector")
    ]


@router.post("/renewals/{renewal}/confirm", summary="Confirmer la nouvelle répartition")
def confirm(request: HttpRequest, renewal: uuid.UUID, body: ConfirmIn) -> dict[str, object]:
    found, user = _found(request, renewal), bearer(request).user
    protector = str(body.protector or "")
    confirmed = keys.confirm(found, sha256=body.sha256, by=user, protector=protector, now=timezone.now())
    return {"confirmed": confirmed}
