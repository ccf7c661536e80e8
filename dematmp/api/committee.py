"""The committee's command line: protectors, ceremony, shares, opening, minutes."""

import base64
import binascii
import uuid
from typing import Annotated, Literal

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router, Schema, Status
from pydantic import StringConstraints

from dematmp.api.access import bearer, doors
from dematmp.api.public import b64
from dematmp.audit.services import utc_text
from dematmp.awards.services import resume
from dematmp.bids.clock import current
from dematmp.consultations.models import Consultation
from dematmp.opening import keys, services
from dematmp.opening import protectors as protectors_room
from dematmp.opening.errors import ShareRefused
from dematmp.opening.models import Ceremony, OpeningSession, SealedShare

router = Router(tags=["commission"], auth=doors("member"))


class ProtectorIn(Schema):
    label: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    kind: Literal["passphrase", "passkey", "paper", "card"]
    public_key: str
    wrapped: str | None = None


class ShareIn(Schema):
    kind: str
    index: int
    sealed: str


class MemberShareIn(ShareIn):
    protector: uuid.UUID


class RecordIn(Schema):
    record: str
    shares: list[MemberShareIn]


class ConfirmIn(Schema):
    sha256: str
    protector: uuid.UUID | None = None


class SharesIn(Schema):
    shares: list[ShareIn]


class ReleaseIn(Schema):
    leave_undecided: bool = False


class SealedAgainIn(Schema):
    sha256: str
    shares: list[MemberShareIn]


def decoded(text: str) -> bytes:
    """Base64, strictly. Raises ShareRefused."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as bad:
        raise ShareRefused("Une valeur est mal encodée.") from bad


def _ceremony(request: HttpRequest, consultation: uuid.UUID) -> Ceremony:
    """The ceremony of the token's own buyer in which the caller holds a share, or 404."""
    token = bearer(request)
    mine = Consultation.every.held_by(token.user).filter(uuid=consultation, buyer=token.organisation)
    found = Ceremony.objects.filter(consultation__in=mine).select_related("consultation").first()
    if found is None:
        raise Http404("Cérémonie inconnue.")
    return found


def _session(request: HttpRequest, session: uuid.UUID) -> OpeningSession:
    token = bearer(request)
    mine = OpeningSession.objects.of_member(token.user)
    found = mine.filter(uuid=session, consultation__buyer=token.organisation).first()
    if found is None:
        raise Http404("Séance inconnue.")
    return found


@router.post("/committee/protectors", response={201: dict}, summary="Enregistrer un protecteur")
def protector(request: HttpRequest, body: ProtectorIn) -> Status[dict[str, str]]:
    made = protectors_room.add_protector(
        bearer(request).user,
        label=body.label,
        kind=body.kind,
        public=decoded(body.public_key),
        wrapped=decoded(body.wrapped) if body.wrapped else None,
        now=timezone.now(),
    )
    return Status(201, {"protector": str(made.uuid)})


@router.get("/committee/protectors", summary="Mes protecteurs")
def protectors(request: HttpRequest) -> list[dict[str, object]]:
    mine = bearer(request).user.protectors.kept()
    return [
        {
            "protector": str(each.uuid),
            "kind": each.kind,
            "label": each.label,
            "public_key": b64(each.public_key),
            "wrapped": b64(each.wrapped) if each.wrapped else None,
        }
        for each in mine
    ]


def holders_json(ceremony: Ceremony) -> list[dict[str, object]]:
    """The holders of a ceremony and the public keys of their protectors."""
    return [
        {
            "index": holder.index,
            "member": str(holder.user.uuid),
            "name": str(holder.user),
            "protectors": [
                {"protector": str(each.uuid), "public_key": b64(each.public_key)}
                for each in holder.protectors.order_by("pk")
            ],
            "confirmed": holder.confirmed_at is not None,
        }
        for holder in ceremony.holders.select_related("user").order_by("index")
    ]


@router.get("/consultations/{consultation}/ceremony", summary="La cérémonie des clés")
def ceremony(request: HttpRequest, consultation: uuid.UUID) -> dict[str, object]:
    found = _ceremony(request, consultation)
    bearing = keys.consultation_of(found)
    return {
        "consultation": str(bearing.uuid),
        "ceremony": str(found.uuid),
        "twin": str(found.twin.uuid) if found.twin else None,
        "deadline": utc_text(bearing.deadline) if bearing.deadline else None,
        "kinds": bearing.key_names(bearing.kinds),
        "dealer": str(found.dealer.uuid) if found.dealer else None,
        "threshold": found.threshold,
        "members": holders_json(found),
        "platform": {key.kind: b64(key.public_key) for key in found.platform_keys.order_by("kind")},
        "state": found.state,
        "record": b64(found.record) if found.record else None,
    }


@router.post(
    "/consultations/{consultation}/ceremony", response={201: dict}, summary="Déposer le compte rendu"
)
def record(request: HttpRequest, consultation: uuid.UUID, body: RecordIn) -> Status[dict[str, str]]:
    found = _ceremony(request, consultation)
    shares = {(each.kind, each.index, str(each.protector)): decoded(each.sealed) for each in body.shares}
    keys.record(found, data=decoded(body.record), shares=shares, by=bearer(request).user, now=timezone.now())
    return Status(201, {"state": "recorded"})


@router.post("/consultations/{consultation}/ceremony/confirm", summary="Confirmer le compte rendu")
def confirm(request: HttpRequest, consultation: uuid.UUID, body: ConfirmIn) -> dict[str, object]:
    found = _ceremony(request, consultation)
    confirmed = keys.confirm(
        found,
        sha256=body.sha256,
        by=bearer(request).user,
        protector=str(body.protector or ""),
        now=timezone.now(),
    )
    return {"confirmed": confirmed}


@router.post("/consultations/{consultation}/ceremony/rehearsal", summary="Dire que ma part ouvre")
def rehearse(request: HttpRequest, consultation: uuid.UUID, body: ConfirmIn) -> dict[str, object]:
    keys.rehearse(
        _ceremony(request, consultation),
        sha256=body.sha256,
        by=bearer(request).user,
        protector=str(body.protector or ""),
        now=timezone.now(),
    )
    return {"state": "rehearsed"}


@router.get("/consultations/{consultation}/shares/mine", summary="Mes parts scellées")
def my_shares(request: HttpRequest, consultation: uuid.UUID) -> list[dict[str, object]]:
    found = _ceremony(request, consultation)
    rows = SealedShare.objects.filter(holder__ceremony=found, holder__user=bearer(request).user)
    return [
        {
            "kind": row.kind,
            "index": row.holder.index,
            "protector": str(row.protector.uuid),
            "sealed": b64(row.sealed),
        }
        for row in rows.select_related("holder", "protector").order_by("kind", "protector")
    ]


@router.post("/consultations/{consultation}/shares/mine", summary="Sceller mes parts à un autre protecteur")
def seal_again(request: HttpRequest, consultation: uuid.UUID, body: SealedAgainIn) -> dict[str, object]:
    shares = {(each.kind, str(each.protector)): decoded(each.sealed) for each in body.shares}
    protectors_room.seal_again(
        _ceremony(request, consultation),
        shares=shares,
        sha256=body.sha256,
        by=bearer(request).user,
        now=timezone.now(),
    )
    return {"state": "sealed"}


def _session_state(session: OpeningSession) -> dict[str, object]:
    return {
        "session": str(session.uuid),
        "consultation": str(session.consultation.uuid),
        "public_key": b64(session.public_key),
        "kinds": session.key_names,
        "threshold": session.consultation.ceremony.threshold,
        "shares": services.present(session),
        "state": session.state,
        "problem": session.problem,
    }


@router.post("/consultations/{consultation}/opening", response={201: dict}, summary="Ouvrir la séance")
def start(request: HttpRequest, consultation: uuid.UUID) -> Status[dict[str, object]]:
    found = _ceremony(request, consultation)
    fresh = Consultation.every.get(pk=keys.consultation_of(found).pk)
    return Status(201, _session_state(services.start_session(fresh, by=bearer(request).user, now=current())))


@router.get("/openings/{session}", summary="Où en est la séance")
def session_state(request: HttpRequest, session: uuid.UUID) -> dict[str, object]:
    return _session_state(_session(request, session))


@router.post("/openings/{session}/shares", summary="Apporter ma part")
def give(request: HttpRequest, session: uuid.UUID, body: SharesIn) -> dict[str, object]:
    found = _session(request, session)
    shares = {each.kind: decoded(each.sealed) for each in body.shares}
    services.give_share(found, by=bearer(request).user, shares=shares, now=timezone.now())
    return _session_state(found)


@router.post(
    "/openings/{session}/open", response={202: dict}, summary="Libérer la clé de la plateforme et ouvrir"
)
def release(
    request: HttpRequest, session: uuid.UUID, body: ReleaseIn | None = None
) -> Status[dict[str, object]]:
    found, leave = _session(request, session), body is not None and body.leave_undecided
    made = services.release(found, by=bearer(request).user, now=current(), leave_undecided=leave)
    return Status(202, _session_state(made))


@router.post("/openings/{session}/resume", summary="Reprendre la séance pour une offre connue trop tard")
def go_on(request: HttpRequest, session: uuid.UUID) -> dict[str, object]:
    found = _session(request, session)
    return _session_state(resume(found, by=bearer(request).user, now=timezone.now()))


@router.get("/openings/{session}/{piece}", summary="Le procès-verbal")
def minutes(
    request: HttpRequest, session: uuid.UUID, piece: Literal["minutes.json", "minutes.pdf"]
) -> HttpResponse:
    found = _session(request, session)
    content = found.minutes if piece == "minutes.json" else found.minutes_pdf
    if content is None:
        raise Http404("Le procès-verbal n'est pas encore écrit.")
    media = "application/json" if piece == "minutes.json" else "application/pdf"
    answer = HttpResponse(bytes(content), content_type=media)
    answer["Content-Disposition"] = f'attachment; filename="{piece}"'
    return answer
