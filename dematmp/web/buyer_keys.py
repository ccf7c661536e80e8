"""The buyer's pages about the committee's keys: who holds them, and who will."""

import uuid
from datetime import datetime

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from dematmp.accounts.models import Organisation, User
from dematmp.opening import renewals
from dematmp.opening.keys import start_ceremony
from dematmp.web.access import MemberRequest, holds
from dematmp.web.buyer import form_page
from dematmp.web.buyer_forms import CeremonyForm
from dematmp.web.pages import of_buyer

_SHARED = (
    "Les clés qui ouvriront les offres sont partagées entre des membres de la commission : chacun "
    "détient une part, et il en faut un certain nombre (le quorum) pour ouvrir. "
    "Prévoyez au moins deux détenteurs de plus que le quorum : une clé "
    "perdue ne doit pas empêcher l'ouverture. "
    "Chaque membre doit d'abord avoir créé ses deux protecteurs, depuis sa page « Commission »."
)
_NOBODY = (
    "Personne n'a encore le rôle de membre de la commission. Un valideur peut inviter des collègues "
    "depuis son espace (« Équipe »)."
)
_AGAIN = (
    "Les clés des offres ne changent pas : un quorum des détenteurs actuels les partage de nouveau entre les "
    "personnes choisies ici. Tant que tous n'ont pas confirmé, les détenteurs actuels gardent leurs parts et "
    "peuvent ouvrir. Qui part garde son ancienne part : à plusieurs, au nombre de l'ancien quorum, d'anciens "
    "détenteurs pourraient reconstituer la clé de la commission, mais rien ne s'ouvre sans celle de la "
    "plateforme."
)


def _members(buyer: Organisation) -> QuerySet[User]:
    members = User.objects.filter(memberships__organisation=buyer, memberships__role="member")
    return members.distinct().order_by("last_name", "pk")


def _from_commission(
    request: MemberRequest, buyer: Organisation
) -> tuple[uuid.UUID | None, dict[str, object]]:
    """The commission asked for (`?commission=`), or the only one, and what it proposes: its full members."""
    try:
        wanted = uuid.UUID(request.GET.get("commission", ""))
    except ValueError:
        wanted = None
    kept = list(buyer.commissions.prefetch_related("seats__user").order_by("name"))
    found = next((each for each in kept if each.uuid == wanted), kept[0] if len(kept) == 1 else None)
    if found is None:
        return None, {}
    people = [seat.user.uuid for seat in found.seats.all() if not seat.deputy]
    president = found.president.uuid if found.president else None
    return found.uuid, {"members": people, "threshold": found.threshold, "dealer": president}


def _warn(request: MemberRequest, chosen: list[User], threshold: int) -> None:
    if threshold > len(chosen) - 1:
        messages.warning(
            request,
            "Attention : toutes les parts sont nécessaires. Une seule clé perdue perdrait les offres.",
        )


@require_http_methods(["GET", "POST"])
@holds("agent")
def ceremony(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Name the holders of the keys; a member then deals the shares in their browser."""
    found = of_buyer(request.user, consultation, "agent")
    members = _members(found.buyer)
    chosen, initial = _from_commission(request, found.buyer)
    form = CeremonyForm(request.POST or None, members=members, initial=initial)

    def act(now: datetime) -> str:
        chosen, threshold = list(form.cleaned_data["members"]), form.cleaned_data["threshold"]
        dealer = form.cleaned_data["dealer"]
        start_ceremony(found, members=chosen, threshold=threshold, dealer=dealer, by=request.user, now=now)
        _warn(request, chosen, threshold)
        return (
            f"Les détenteurs sont désignés et prévenus. {dealer} fabrique maintenant les clés, puis chacun "
            "confirme sa part."
        )

    return form_page(
        request,
        found,
        form,
        title="Clés de la commission",
        action="Désigner les détenteurs",
        act=act,
        advice=_SHARED if members.exists() else _NOBODY,
        commissions=found.buyer.commissions.order_by("name"),
        chosen=chosen,
    )


@require_http_methods(["GET", "POST"])
@holds("agent")
def renew(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Change the holders of a consultation that receives bids."""
    found = of_buyer(request.user, consultation, "agent")
    if found.published_at is None or not found.is_open(now=timezone.now()):
        raise Http404
    present = [holder.user.uuid for holder in found.ceremony.holders.select_related("user").order_by("index")]
    initial = {"members": present, "threshold": found.ceremony.threshold}
    form = CeremonyForm(request.POST or None, members=_members(found.buyer), initial=initial, renewing=True)

    def act(now: datetime) -> str:
        chosen, threshold = list(form.cleaned_data["members"]), form.cleaned_data["threshold"]
        renewals.start(found, members=chosen, threshold=threshold, by=request.user, now=now)
        _warn(request, chosen, threshold)
        return "Les anciens et les nouveaux détenteurs sont prévenus : la commission répartit les parts."

    return form_page(
        request,
        found,
        form,
        title="Changer les détenteurs",
        action="Choisir ces détenteurs",
        act=act,
        advice=_AGAIN,
    )


@require_POST
@holds("agent")
def abandon(request: MemberRequest, consultation: uuid.UUID) -> HttpResponse:
    """Leave the present holders as they are."""
    found = of_buyer(request.user, consultation, "agent")
    renewals.abandon(found, by=request.user, now=timezone.now())
    messages.success(request, "Le changement est abandonné : les détenteurs restent les mêmes.")
    return redirect("buyer-consultation", consultation=found.uuid)
