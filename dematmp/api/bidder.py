"""Deposits by companies' command line: attempt, parts, finalise, receipts."""

import base64
import binascii
import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from ninja import Router, Schema, Status
from pydantic import Field, StringConstraints

from dematmp.api.access import bearer, doors, published
from dematmp.api.public import b64
from dematmp.audit.services import canonical, utc_text
from dematmp.bids import attempts, direct, fingerprints, services
from dematmp.bids.clock import received
from dematmp.bids.errors import BeingRecorded, BidError, EnvelopeRefused, PartTruncated
from dematmp.bids.evidence import (
    evidence,
    evidence_pdf,
    note_start_refusal,
    start_refusals,
    start_refusals_pdf,
)
from dematmp.bids.models import Attempt, Bid, Fingerprint, SealedObject
from dematmp.bids.preflight import Said
from dematmp.bids.receipts import receipt
from storage.stores import object_store

_FINALISE_SECONDS = 20.0  # of one answer: shorter than what proxies wait for
router = Router(tags=["dépôt"], auth=doors("bidder", "administrator"))


# Names of sealed objects; everything else is refused before the database sees it.
ObjectName = Annotated[str, StringConstraints(pattern=r"^(?:[0-9]{1,6}|t)\.cob$")]


class ObjectIn(Schema):
    name: ObjectName
    size: Annotated[int, Field(ge=0, le=2**60)]


class EnvelopeIn(Schema):
    header: str
    keys: str
    objects: list[ObjectIn]


class AttemptIn(Schema):
    consultation: uuid.UUID
    client_clock: str | None = Field(None, max_length=40)
    envelopes: list[EnvelopeIn]


class DigestIn(Schema):
    envelope: uuid.UUID
    name: ObjectName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


# What a check may be called: as narrow as what the receipt will show of it.
CheckCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,19}(?:\.[a-z0-9][a-z0-9-]{0,29})?$")]


class PreflightIn(Schema):
    envelope: uuid.UUID
    checked: Annotated[int, Field(strict=True, ge=0, le=10**6)]
    codes: Annotated[
        dict[CheckCode, Annotated[int, Field(strict=True, ge=1, le=10**6)]], Field(max_length=64)
    ]


class PartIn(Schema):
    envelope: uuid.UUID
    name: ObjectName
    number: Annotated[int, Field(ge=1, le=10_000)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    def wanted(self) -> direct.Wanted:
        return direct.Wanted(self.envelope, self.name, self.number, self.sha256)


class PartsIn(Schema):
    parts: Annotated[list[PartIn], Field(min_length=1, max_length=100)]


class FingerprintIn(Schema):
    objects: list[DigestIn]


class FinaliseIn(Schema):
    objects: list[DigestIn]
    preflight: Annotated[list[PreflightIn], Field(max_length=1000)] = []  # empty: nothing was checked


def _clock(text: str | None) -> datetime | None:
    """The machine's clock as it says it: evidence, never a reason to refuse. None when it makes no sense."""
    try:
        said = datetime.fromisoformat(text or "")
        return said.astimezone(UTC) if said.tzinfo and 1970 <= said.year <= 2200 else None
    except (ValueError, OverflowError):
        return None


def _bytes(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as bad:
        raise EnvelopeRefused(f"{what} est mal encodé.") from bad


def _attempt(request: HttpRequest, attempt: uuid.UUID) -> Attempt:
    found = Attempt.objects.of(bearer(request).organisation).filter(uuid=attempt).first()
    if found is None:
        raise Http404("Tentative inconnue.")
    request.attempt = found  # type: ignore[attr-defined]  # what it is refused is kept as evidence
    return found


def _bid(request: HttpRequest, deposit: uuid.UUID) -> Bid:
    found = Bid.objects.of(bearer(request).organisation).filter(uuid=deposit).first()
    if found is None:
        raise Http404("Dépôt inconnu.")
    return found


def _stage(attempt: Attempt) -> str:
    bid = Bid.objects.filter(attempt=attempt).first()
    if bid is None:
        return "open"
    return "deposited" if bid.withdrawn_at is None else "withdrawn"


def _state(attempt: Attempt) -> dict[str, object]:
    deadline = attempt.consultation.deadline
    objects = (
        SealedObject.objects.filter(envelope__attempt=attempt)
        .select_related("envelope")
        .prefetch_related("parts")
        .order_by("pk")
    )
    first = Fingerprint.objects.filter(attempt=attempt).first()
    return {
        "attempt": str(attempt.uuid),
        "deposit": str(attempt.deposit),
        "fingerprint_first": attempt.consultation.fingerprint_first,
        "fingerprint": utc_text(first.received_at) if first else None,
        "state": _stage(attempt),
        "deadline": utc_text(deadline) if deadline else None,
        "now": utc_text(timezone.now()),
        "direct": bool(object_store().direct),
        "objects": [
            {
                "envelope": str(each.envelope.uuid),
                "name": each.name,
                "size": each.size,
                "part_bytes": each.part_bytes,
                "parts": [
                    {"number": part.number, "sha256": part.sha256}
                    for part in each.parts.all()
                    if part.received_at
                ],
            }
            for each in objects
        ],
    }


@router.post("/attempts", response={201: dict}, summary="Commencer un dépôt")
def begin(request: HttpRequest, body: AttemptIn) -> Status[dict[str, object]]:
    token = bearer(request)
    offers = [
        attempts.EnvelopeOffer(
            _bytes(each.header, "L'en-tête"),
            _bytes(each.keys, "Le bloc de clés"),
            {item.name: item.size for item in each.objects},
        )
        for each in body.envelopes
    ]
    wanted, now = published(body.consultation), received(request)  # as for the end: by one clock, on arrival
    try:
        attempt = attempts.begin(
            wanted,
            bidder=token.organisation,
            by=token.user,
            offers=offers,
            client_clock=_clock(body.client_clock),
            now=now,
        )
    except BidError as refused:
        note_start_refusal(
            wanted,
            bidder=token.organisation,
            by=token.user,
            headers=[each.header for each in offers],
            announced_bytes=sum(sum(each.sizes.values()) for each in offers),
            code=refused.code,
            message=str(refused),
            now=now,
        )
        raise
    return Status(201, _state(attempt))


@router.get("/refusals", summary="Ce qui a été refusé avant d'avoir commencé, avec les preuves du journal")
def refusals(request: HttpRequest) -> list[dict[str, object]]:
    return start_refusals(bearer(request).organisation)


@router.get("/refusals.pdf", summary="Les mêmes, scellés par la plateforme, pour les personnes")
def refusals_pdf(request: HttpRequest) -> HttpResponse:
    data = start_refusals_pdf(bearer(request).organisation, now=timezone.now())
    return HttpResponse(data, content_type="application/pdf")


@router.get("/attempts/{attempt}", summary="Où en est un dépôt")
def state(request: HttpRequest, attempt: uuid.UUID) -> dict[str, object]:
    return _state(_attempt(request, attempt))


@router.put(
    "/attempts/{attempt}/envelopes/{envelope}/objects/{name}/parts/{int:number}", summary="Envoyer une partie"
)
def put_part(
    request: HttpRequest, attempt: uuid.UUID, envelope: uuid.UUID, name: ObjectName, number: int
) -> dict[str, object]:
    length = request.headers.get("Content-Length", "")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise PartTruncated("La taille de la partie n'est pas annoncée (Content-Length).")
    now = timezone.now()
    part = attempts.receive_part(
        _attempt(request, attempt),
        envelope=envelope,
        name=name,
        number=number,
        stream=request,  # type: ignore[arg-type]
        length=int(length),
        sha256=request.headers.get("X-Part-SHA256", "").lower(),
        now=now,
    )
    return {"number": part.number, "sha256": part.sha256, "received_at": utc_text(part.received_at or now)}


@router.post("/attempts/{attempt}/parts", summary="Où envoyer des parties, directement au stockage")
def part_targets(request: HttpRequest, attempt: uuid.UUID, body: PartsIn) -> dict[str, object]:
    found = direct.targets(_attempt(request, attempt), [each.wanted() for each in body.parts])
    return {"parts": [{"url": each.url, "headers": dict(each.headers)} if each else None for each in found]}


@router.post("/attempts/{attempt}/parts/received", summary="Dire que des parties sont au stockage")
def parts_received(request: HttpRequest, attempt: uuid.UUID, body: PartsIn) -> dict[str, object]:
    sent = [each.wanted() for each in body.parts]
    received = direct.acknowledge(_attempt(request, attempt), sent, now=timezone.now())
    times = [utc_text(part.received_at) if part.received_at else None for part in received]
    return {
        "parts": [
            {"number": part.number, "received_at": at} for part, at in zip(received, times, strict=True)
        ]
    }


@router.post(
    "/attempts/{attempt}/fingerprint", response={201: dict}, summary="Donner l'empreinte avant l'envoi"
)
def fingerprint(request: HttpRequest, attempt: uuid.UUID, body: FingerprintIn) -> Status[dict[str, object]]:
    now = received(request)
    made = fingerprints.commit(
        _attempt(request, attempt),
        digests={(each.envelope, each.name): each.sha256 for each in body.objects},
        by=bearer(request).user,
        now=now,
    )
    said = {"received": utc_text(made.received_at), "record": b64(made.record)}
    return Status(201, {**said, "nonce": bytes(made.nonce).hex()})


@router.post(
    "/attempts/{attempt}/finalise",
    response={200: dict, 202: dict},
    summary="Finaliser : le dépôt est fait à l'heure de réception (202 : reçue, rangée peu à peu)",
)
def finalise(request: HttpRequest, attempt: uuid.UUID, body: FinaliseIn) -> Status[dict[str, object]]:
    now = received(request)  # the server's receive time
    try:
        bid = services.finalise(
            _attempt(request, attempt),
            digests={(each.envelope, each.name): each.sha256 for each in body.objects},
            preflight=[Said(each.envelope, each.checked, each.codes) for each in body.preflight],
            by=bearer(request).user,
            now=now,
            within=_FINALISE_SECONDS,
        )
    except BeingRecorded as going:
        said = {"state": "recording", "code": going.code, "message": str(going), "next": going.next}
        return Status(202, {**said, **going.facts})
    return Status(200, receipt(bid))


@router.get("/attempts/{attempt}/evidence.json", summary="Le dossier de preuve d'une tentative")
def attempt_evidence(request: HttpRequest, attempt: uuid.UUID) -> JsonResponse:
    said = evidence(_attempt(request, attempt), now=timezone.now())
    return JsonResponse(said, json_dumps_params={"ensure_ascii": False, "indent": 1})


@router.get(
    "/attempts/{attempt}/evidence.pdf", summary="Le même, scellé par la plateforme, pour les personnes"
)
def attempt_evidence_pdf(request: HttpRequest, attempt: uuid.UUID) -> HttpResponse:
    data = evidence_pdf(_attempt(request, attempt), now=timezone.now())
    return HttpResponse(data, content_type="application/pdf")


@router.get("/deposits/{deposit}", summary="Un dépôt et son accusé")
def deposit(request: HttpRequest, deposit: uuid.UUID) -> dict[str, object]:
    bid = _bid(request, deposit)
    return {
        "deposit": str(bid.uuid),
        "state": services.bid_state(bid),
        "receipt": receipt(bid),
        "token": b64(bid.token) if bid.token else None,
        "pdf": bid.receipt_pdf is not None,
    }


@router.post("/deposits/{deposit}/withdraw", summary="Retirer un dépôt, avant la date limite")
def withdraw(request: HttpRequest, deposit: uuid.UUID) -> dict[str, object]:
    bid = _bid(request, deposit)
    services.withdraw(bid, by=bearer(request).user, now=received(request))
    return {"deposit": str(bid.uuid), "state": services.bid_state(bid)}


@router.get("/deposits/{deposit}/{piece}", summary="Une pièce de preuve")
def proof(
    request: HttpRequest,
    deposit: uuid.UUID,
    piece: Literal["record", "receipt.json", "receipt.pdf", "token.tst", "proof"],
) -> HttpResponse:
    bid = _bid(request, deposit)
    if piece == "receipt.json":
        return HttpResponse(canonical(receipt(bid)), content_type="application/json")
    content, media = {
        "record": (bytes(bid.record), "application/json"),
        "receipt.pdf": (bytes(bid.receipt_pdf or b""), "application/pdf"),
        "token.tst": (bytes(bid.token or b""), "application/timestamp-reply"),
        "proof": (bid.proof.encode(), "text/plain; charset=utf-8"),
    }[piece]
    if not content:
        raise Http404("Cette pièce n'est pas encore émise.")
    answer = HttpResponse(content, content_type=media)
    answer["Content-Disposition"] = f'attachment; filename="{bid.number}.{piece}"'
    return answer
