"""An act prepared in one page: nature, matter, files, and the typology of each, confirmed by a person."""

import uuid
from contextlib import ExitStack
from datetime import date, datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from dematmp.accounts.models import Organisation
from dematmp.acts import pieces
from dematmp.acts.classification import Codes, parsed
from dematmp.acts.errors import ActError
from dematmp.acts.fields import Piece
from dematmp.acts.models import Act
from dematmp.acts.operators import Operator, operator_of
from dematmp.acts.preparing import may_be_replaced, number_again, prepare_act
from dematmp.acts.rules import NATURES, NUMBER_CHARS, SUBJECT_CHARS
from dematmp.acts.services import laid
from dematmp.awards.contracts import is_concluded
from dematmp.awards.models import Award, ContractVersion
from dematmp.web.access import MemberRequest, holds
from dematmp.web.act_forms import upload_of
from dematmp.web.errors import explain, problem
from dematmp.web.pages import page_of

_CONTRACT = "4"
_ANNEXES = 9
_CONTRACT_ANNEXES = 15  # R2131-5 names ten files by itself


class ActForm(forms.Form):
    """What an act says of itself, its document, and its annexes; each file has its typology."""

    number = forms.CharField(
        label="Numéro de l'acte",
        max_length=NUMBER_CHARS,
        help_text="1 à 15 caractères : A à Z, 0 à 9 ou _. Il ne sert qu'une fois.",
    )
    subject = forms.CharField(label="Objet", max_length=SUBJECT_CHARS, widget=forms.Textarea({"rows": 2}))
    decided_on = forms.DateField(
        label="Date de la décision ou de la signature",
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
    )
    matter = forms.ChoiceField(label="Matière")

    def __init__(
        self, *args: Any, codes: Codes, nature: str, contract: ContractVersion | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.contract = contract  # signed here: it is the document of the act
        named = [(_dotted(levels), f"{_dotted(levels)} {label}") for levels, label in codes.leaves()]
        self.fields["matter"].choices = [("", "À choisir"), *named]  # type: ignore[attr-defined]
        self.annexes = _CONTRACT_ANNEXES if nature == _CONTRACT else _ANNEXES
        known = [("", "À choisir"), *((each.code, each.label) for each in codes.typologies(nature))]
        for rank in range(1 + self.annexes):
            label = "Document de l'acte" if rank == 0 else f"Annexe {rank}"
            if rank or contract is None:
                self.fields[f"file{rank}"] = forms.FileField(
                    label=label,
                    max_length=255,
                    required=rank == 0,
                    widget=forms.ClearableFileInput({"data-proposes": f"id_typology{rank}"}),
                )
            self.fields[f"typology{rank}"] = forms.ChoiceField(
                label=f"Ce qu'est le document ({label.lower()})", choices=known, required=rank == 0
            )

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        for rank in range(1, 1 + self.annexes):
            if said.get(f"file{rank}") and not said.get(f"typology{rank}"):
                self.add_error(f"typology{rank}", "Dites ce qu'est ce document.")
            # A browser keeps what was said of a file, and forgets the file of a form that was refused.
            if said.get(f"typology{rank}") and f"file{rank}" not in self.files:
                said_again = "Choisissez de nouveau ce fichier, ou remettez « À choisir »."
                self.add_error(f"file{rank}", said_again)
        return said

    def pieces(self, stack: ExitStack) -> list[Piece]:
        """The files that were given, with their typologies; the contract is closed with the stack."""
        said = self.cleaned_data
        given = [rank for rank in range(1 + self.annexes) if said.get(f"file{rank}")]
        found = [Piece(upload_of(said[f"file{rank}"]), said[f"typology{rank}"]) for rank in given]
        if (kept := self.contract) is not None:
            found.insert(0, Piece(laid(kept.name, kept.size, kept.key, stack), said["typology0"]))
        return found


def _dotted(levels: tuple[int, ...]) -> str:
    return ".".join(map(str, levels))


@require_safe
@holds("agent", "validator")
def act_list(request: MemberRequest) -> HttpResponse:
    """Every act of the buyers of this person, the latest first."""
    rows = Act.objects.of_buyers(request.user).select_related("buyer", "authority", "transmission")
    context = {
        "page": page_of(request, rows.order_by("-created_at", "-pk")),
        "buyers": _buyers(request).order_by("name"),
    }
    return render(request, "buyer/acts.html", context)


def _buyers(request: MemberRequest) -> QuerySet[Organisation]:
    """Those for which this person prepares acts."""
    user = request.user
    return (user.organisations("agent") | user.organisations("validator")).filter(kind="buyer")


def _buyer(request: MemberRequest, buyer: uuid.UUID) -> Organisation:
    found = _buyers(request).filter(uuid=buyer).first()
    if found is None:
        raise Http404
    return found


def _codes(operator: Operator) -> Codes:
    return Codes(parsed(operator.classification().strip()))


def _unready(request: HttpRequest, why: str) -> HttpResponse:
    return problem(
        request,
        status=409,
        code="act.no-operator",
        title="La télétransmission n'est pas réglée",
        message=why,
        next="Demandez à l'exploitant de régler un service de télétransmission pour cet acheteur.",
    )


def _number(buyer: Organisation, now: datetime) -> str:
    """The next number that this buyer has not used: the year, then a rank."""
    year = timezone.localtime(now).year
    used = set(
        Act.objects.filter(buyer=buyer, number__startswith=f"{year}_").values_list("number", flat=True)
    )
    rank = next(rank for rank in range(1, len(used) + 2) if f"{year}_{rank:03}" not in used)
    return f"{year}_{rank:03}"


def _former(request: MemberRequest, buyer: Organisation, nature: int) -> Act | None:
    """The act of this buyer that failed or was cancelled and is prepared again, if the address names one."""
    asked = request.GET.get("remplace", "")
    if not asked:
        return None
    try:
        rows = Act.objects.filter(buyer=buyer, nature=str(nature), uuid=uuid.UUID(asked))
    except ValueError:
        raise Http404 from None
    found = rows.select_related("transmission").first()
    if found is None or not may_be_replaced(found):
        raise Http404
    return found


def _contract(request: MemberRequest, buyer: Organisation, nature: int) -> ContractVersion | None:
    """The contract of this buyer that both parties signed here, when the address names its award."""
    asked = request.GET.get("contrat", "")
    if not asked or str(nature) != _CONTRACT:
        return None
    rows = Award.objects.filter(lot__consultation__buyer=buyer, pk=int(asked) if asked.isdecimal() else 0)
    award = rows.select_related("lot__consultation", "company").first()
    if award is None or not is_concluded(award):
        raise Http404
    return award.contract.order_by("-number").first()


def _of_contract(contract: ContractVersion, codes: Codes) -> dict[str, str]:
    award = contract.award
    default = codes.default_typology(_CONTRACT)
    proposed = pieces.propose("acte d'engagement", default=default).typology
    subject = f"Marché du lot {award.lot.number} ({award.company}) : {award.lot.consultation.title}"
    return {
        "subject": subject[:SUBJECT_CHARS],
        "decided_on": timezone.localdate(contract.at).isoformat(),
        "typology0": proposed if codes.permits(_CONTRACT, proposed) else default,
    }


def _launched(award: Award | None) -> date | None:
    """The day of the launch of the procedure: the threshold is the one in force that day (D2131-5-1)."""
    started = award.lot.consultation.published_at if award is not None else None
    return timezone.localdate(started) if started else None


@require_http_methods(["GET", "POST"])
@holds("agent", "validator")
def new_act(request: MemberRequest, buyer: uuid.UUID, nature: int) -> HttpResponse:
    """Prepare an act of this nature; it leaves once a validator has seen what leaves and confirmed it."""
    found, now = _buyer(request, buyer), timezone.now()
    if str(nature) not in NATURES:
        raise Http404
    operator = operator_of(found, now=now)
    if operator is None:
        return _unready(request, "Aucun service de télétransmission n'est réglé pour cet acheteur.")
    codes = _codes(operator)
    former, contract = _former(request, found, nature), _contract(request, found, nature)
    initial = {"number": _number(found, now), "matter": "1.1.2" if str(nature) == _CONTRACT else ""}
    if former is not None:
        initial = {
            "number": number_again(former, operator),
            "matter": former.classification,
            "subject": former.subject,
            "decided_on": former.decided_on.isoformat(),
        }
    if contract is not None:
        initial |= _of_contract(contract, codes)
    launched = _launched(contract.award if contract is not None else former.about if former else None)
    form = ActForm(
        request.POST or None,
        request.FILES or None,
        codes=codes,
        nature=str(nature),
        contract=contract,
        initial=initial,
    )
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            with ExitStack() as stack:
                act = prepare_act(
                    found,
                    form.pieces(stack),
                    nature=str(nature),
                    codes=tuple(int(each) for each in said["matter"].split(".")),
                    number=said["number"],
                    subject=said["subject"],
                    decided_on=said["decided_on"],
                    operator=operator,
                    by=request.user,
                    now=now,
                    replaces=former,
                    contract_of=contract.award if contract is not None else None,
                )
        except ActError as refused:
            explain(form, refused)
        else:
            messages.success(request, "L'acte est prêt. Rien n'est parti : vérifiez-le, puis confirmez.")
            return redirect("buyer-act", act=act.uuid)
    context = {
        "form": form,
        "buyer": found,
        "former": former,
        "contract": contract,
        "nature": codes.nature_label(str(nature)) or NATURES[str(nature)][1],
        "number": str(nature),
        "required": sorted(pieces.REQUIRED.values()) if str(nature) == _CONTRACT else [],
        "threshold": pieces.threshold(launched) if launched else None,
        "known_until": pieces.THRESHOLD_KNOWN_UNTIL
        if not pieces.is_known(launched or timezone.localdate())
        else None,
        "launched": launched,
        "thresholds": pieces.periods() if launched is None else [],
    }
    return render(request, "buyer/new_act.html", context, status=400 if form.errors else 200)


@require_safe
@holds("agent", "validator")
def proposal(request: MemberRequest, buyer: uuid.UUID, nature: int) -> HttpResponse:
    """The typology that a file's name tells, to be confirmed: {"typology", "sure"}."""
    operator = operator_of(_buyer(request, buyer), now=timezone.now())
    if operator is None or str(nature) not in NATURES:
        raise Http404
    codes = _codes(operator)
    default = codes.default_typology(str(nature))
    said = pieces.propose(request.GET.get("nom", "")[:255], default=default)
    if not codes.permits(str(nature), said.typology):
        said = pieces.Proposal(said.name, default, False)
    return JsonResponse({"typology": said.typology, "sure": said.sure})
