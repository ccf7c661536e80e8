"""The files of an act and what their signatures are worth, for the buyer and the control authority alike."""

import uuid

from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dematmp.acts.files import Piece, pieces_of
from dematmp.acts.models import Act
from dematmp.web.access import MemberRequest, holds
from dematmp.web.downloads import resumable
from dematmp.web.signatures import judge_blocks
from storage.stores import object_store

_BUYERS = ("agent", "validator")


def _of_buyer(request: MemberRequest, act: uuid.UUID) -> Act:
    return _found(Act.objects.of_buyers(request.user).filter(uuid=act).first())


def _received(request: MemberRequest, act: uuid.UUID) -> Act:
    return _found(Act.objects.received_by(request.user).filter(uuid=act).first())


def _found(act: Act | None) -> Act:
    if act is None:
        raise Http404
    return act


def _piece(act: Act, rank: int) -> Piece:
    for each in pieces_of(act):
        if each.rank == rank:
            return each
    raise Http404


def _file(request: MemberRequest, act: Act, rank: int) -> HttpResponseBase:
    piece, store = _piece(act, rank), object_store()
    name = f"{act.number}-{piece.name}"
    return resumable(
        request,
        lambda start, length: store.open(piece.key, start=start, length=length),
        name=name,
        size=piece.size,
        sha256=piece.sha256,
    )


def _report(request: MemberRequest, act: Act, rank: int, *, home: str, back: str) -> HttpResponse:
    piece = _piece(act, rank)
    received = act.transmission.acknowledged_at
    report = judge_blocks(object_store().open(piece.key), name=piece.name, at=received or timezone.now())
    context = {
        "act": act,
        "received": received,
        "piece": piece,
        "report": report,
        "home_page": home,
        "act_page": back,
    }
    return render(request, "acts/signatures.html", context, status=200 if report else 503)


@require_safe
@holds(*_BUYERS)
def buyer_file(request: MemberRequest, act: uuid.UUID, rank: int) -> HttpResponseBase:
    return _file(request, _of_buyer(request, act), rank)


@require_safe
@holds("controller")
def prefecture_file(request: MemberRequest, act: uuid.UUID, rank: int) -> HttpResponseBase:
    return _file(request, _received(request, act), rank)


@require_safe
@holds(*_BUYERS)
def buyer_signatures(request: MemberRequest, act: uuid.UUID, rank: int) -> HttpResponse:
    found = _of_buyer(request, act)
    return _report(request, found, rank, home="buyer", back="buyer-act")


@require_safe
@holds("controller")
def prefecture_signatures(request: MemberRequest, act: uuid.UUID, rank: int) -> HttpResponse:
    found = _received(request, act)
    return _report(request, found, rank, home="prefecture", back="prefecture-act")
