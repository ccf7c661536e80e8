"""The contract of a lot, for both parties: its versions, what each added, and the next one."""

from typing import Any, BinaryIO, cast

from django import forms
from django.contrib import messages
from django.db.models import Sum
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.acts import pieces
from dematmp.acts.preparing import contract_must_be_sent
from dematmp.acts.rules import ERROR, sending_end
from dematmp.awards import contracts
from dematmp.awards.models import BOTH, BUYER, COMPANY, PARTIES, Award
from dematmp.web.access import MemberRequest, holds
from dematmp.web.downloads import resumable
from dematmp.web.errors import explain
from signing.report import read_report
from storage.stores import object_store

_ROLES = ("agent", "validator", "bidder", "administrator")


class ContractForm(forms.Form):
    """The next version of the contract."""

    signed_by = forms.ChoiceField(label="Cette version porte la signature de", widget=forms.RadioSelect)
    file = forms.FileField(
        label="Contrat signé (PDF)",
        max_length=255,
        help_text="50 Mo au plus. Signez le PDF de la dernière version, sans l'imprimer ni l'exporter.",
    )

    def __init__(self, *args: Any, is_buyer: bool, missing: set[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_buyer:
            del self.fields["signed_by"]
            return
        choices = [COMPANY, BUYER] if COMPANY in missing else [BUYER]
        choices += [BOTH] if missing == {COMPANY, BUYER} else []
        self.fields["signed_by"].choices = [(each, PARTIES[each]) for each in choices]  # type: ignore[attr-defined]
        self.fields["signed_by"].initial = BUYER


def _award(request: MemberRequest, award: int) -> tuple[Award, bool]:
    """The award and whether this person is of the buyer; 404 for who is of neither party."""
    rows = Award.objects.select_related("lot__consultation__buyer", "company").filter(pk=award)
    for mine, is_buyer in ((rows.of_buyers(request.user), True), (rows.of_companies(request.user), False)):
        found = mine.first()
        if found is not None:
            return found, is_buyer
    raise Http404


@require_http_methods(["GET", "POST"])
@holds(*_ROLES)
def contract(request: MemberRequest, award: int) -> HttpResponse:
    """Where the contract is, and the form of the next version."""
    found, is_buyer = _award(request, award)
    done = contracts.is_concluded(found)
    missing = {COMPANY, BUYER} - contracts.parties(found)
    may_add = not done and (not is_buyer or request.user.has_role("validator", found.lot.consultation.buyer))
    if request.method == "POST" and not may_add:
        raise Http404
    data, files = (request.POST, request.FILES) if request.method == "POST" else (None, None)
    form = ContractForm(data, files, is_buyer=is_buyer, missing=missing) if may_add else None
    if form is not None and request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            made = contracts.add_version(
                found,
                name=file.name or "contrat.pdf",
                stream=cast(BinaryIO, file),
                signed_by=form.cleaned_data.get("signed_by", COMPANY),
                by=request.user,
                now=timezone.now(),
            )
        except contracts.ContractRefused as refused:
            explain(form, refused)
        else:
            messages.success(request, f"La version {made.number} du contrat est enregistrée.")
            return redirect("contract", award=found.pk)
    versions = [(each, _added(each)) for each in found.contract.select_related("by").order_by("-number")]
    context = {
        "award": found,
        "consultation": found.lot.consultation,
        "is_buyer": is_buyer,
        "done": done,
        "awaited": [PARTIES[each] for each in sorted(missing)],
        "versions": versions,
        "form": form,
        "transmission": _transmission(found) if done and is_buyer else None,
    }
    return render(request, "awards/contract.html", context, status=400 if form and form.errors else 200)


def _transmission(award: Award) -> dict[str, object]:
    """Whether a signed contract goes to the prefecture (D2131-5-1), by its amount and by that of every lot.

    The administration wants every lot once their total reaches the threshold; some jurists do not: the buyer
    chooses.
    """
    consultation, signed = award.lot.consultation, award.contract.order_by("-number").first()
    launched = timezone.localdate(consultation.published_at)
    lots = Award.objects.filter(lot__consultation=consultation)
    total = lots.aggregate(total=Sum("amount"))["total"] or award.amount
    acts = award.contract_acts.filter(replaced_at=None)
    going = acts.filter(transmission__cancelled_at=None)
    received = going.filter(transmission__acknowledged_at__isnull=False)
    return {
        "alone": contract_must_be_sent(award.amount, launched=launched),
        "with_lots": contract_must_be_sent(total, launched=launched),
        "total": total,
        "threshold": pieces.threshold(launched),
        "known_until": None if pieces.is_known(launched) else pieces.THRESHOLD_KNOWN_UNTIL,
        "acts": acts.order_by("pk"),
        "is_going": going.exists(),
        "received": received.exclude(transmission__steps__status=ERROR).order_by("pk").last(),
        "until": sending_end(timezone.localdate(signed.at)) if signed else None,
    }


def _added(version: Any) -> Any:
    """The signatures that this version added."""
    signatures = read_report(version.report).signatures
    return signatures[len(signatures) - version.added_signatures :]


@require_safe
@holds(*_ROLES)
def contract_file(request: MemberRequest, award: int, number: int) -> HttpResponseBase:
    """The PDF of one version."""
    found, _ = _award(request, award)
    version = found.contract.filter(number=number).first()
    if version is None:
        raise Http404
    store = object_store()
    return resumable(
        request,
        lambda start, length: store.open(version.key, start=start, length=length),
        name=version.name,
        size=version.size,
        sha256=version.sha256,
    )
