"""The contract signed by both parties on one PDF: what follows is a signature, and nothing else."""

import html
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from dematmp.accounts.models import User
from dematmp.audit.models import Entry
from dematmp.awards.contracts import is_concluded, parties
from dematmp.awards.models import Award
from dematmp.awards.services import award
from storage.stores import object_store
from tests.opening.test_opening import opened
from tests.signing.authority import World as Authorities
from tests.signing.pdf_cases import PLAIN, annotate, signed, updated
from tests.world import World, page, person

AUTHORITIES = Authorities()


@pytest.fixture
def lot(world: World, settings: Any, tmp_path: Path) -> Award:
    """A lot just awarded; the authority of the signers is trusted."""
    trusted = tmp_path / "racine.pem"
    trusted.write_bytes(AUTHORITIES.trust[0])
    settings.SIGNATURE_TRUST = [str(trusted)]
    made = world.publish(closes_in=timedelta(hours=1))
    world.deposit(made, tmp_path / "draft")
    assert made.deadline is not None
    with time_machine.travel(made.deadline + timedelta(seconds=1)):
        opened(world, made)
    given: dict[str, Any] = {"company": world.company, "amount": 1000, "reasons": "mieux-disante"}
    return award(made.lots.get(number="1"), by=world.validator, now=timezone.now(), **given)


def deposited(
    user: User, lot: Award, data: bytes, signed_by: str = "", name: str = "AE.pdf"
) -> tuple[int, str]:
    """The status of the page, and what it says."""
    file = SimpleUploadedFile(name, data, content_type="application/pdf")
    form = {"file": file} | ({"signed_by": signed_by} if signed_by else {})
    answer = page(user).post(reverse("contract", args=[lot.pk]), form)
    return answer.status_code, answer.content.decode()


def test_the_company_s_deed_is_countersigned_by_the_buyer(
    world: World, lot: Award, django_capture_on_commit_callbacks: Any
) -> None:
    first = signed(AUTHORITIES.signer, field="Entreprise")
    both = signed(AUTHORITIES.issuer.issue("Maire"), first, field="Acheteur")
    address = reverse("contract", args=[lot.pk])
    assert page(world.bidder).get(address).status_code == 404  # nothing to sign yet
    assert "Déposez le contrat signé" in page(world.validator).get(address).content.decode()
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert deposited(world.validator, lot, first, "company")[0] == 302
    assert world.bidder.email in {each.to[0] for each in mail.outbox}
    assert parties(lot) == {"company"}
    assert "Il manque la signature de l&#x27;acheteur" in page(world.bidder).get(address).content.decode()
    assert deposited(world.validator, lot, both, "buyer")[0] == 302
    assert is_concluded(lot)
    versions = list(lot.contract.order_by("number"))
    assert [each.added_signatures for each in versions] == [1, 1]
    assert b"".join(object_store().open(versions[1].key)) == both
    said = page(world.bidder).get(address).content.decode()
    assert "signé par les deux parties" in said
    assert "1 signature ajoutée" in said
    assert "Maire" in said
    assert "Contrats" in page(world.bidder).get(reverse("deposits")).content.decode()
    got = page(world.bidder).get(reverse("contract-file", args=[lot.pk, 2]))
    assert b"".join(got) == both
    rest = page(world.bidder).get(
        reverse("contract-file", args=[lot.pk, 2]), headers={"Range": f"bytes={len(both) - 5}-"}
    )
    assert (rest.status_code, b"".join(rest)) == (206, both[-5:])
    kinds = list(Entry.objects.filter(kind__startswith="contract-").values_list("kind", flat=True))
    assert kinds == ["contract-version", "contract-version", "contract-concluded"]
    assert deposited(world.validator, lot, both, "buyer")[0] == 404  # nothing more is awaited


def test_the_company_signs_after_the_buyer_and_once(world: World, lot: Award) -> None:
    first = signed(AUTHORITIES.signer, field="Acheteur")
    both = signed(AUTHORITIES.issuer.issue("Gérante"), first, field="Entreprise")
    assert deposited(world.validator, lot, first, "buyer")[0] == 302
    assert (
        deposited(world.validator, lot, first, "buyer")[0] == 302
    )  # the same file again is the same version
    assert lot.contract.count() == 1
    assert deposited(world.bidder, lot, both)[0] == 302
    assert is_concluded(lot)


@pytest.mark.parametrize(
    "change", ["unsigned", "other", "altered", "annotated", "same", "bytes", "text", "long"]
)
def test_what_is_not_the_former_version_and_a_signature_is_refused(
    world: World, lot: Award, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = signed(AUTHORITIES.signer, field="Acheteur")
    if change == "unsigned":
        status, said = deposited(world.validator, lot, PLAIN, "buyer")
        assert (status, "pas signé" in said) == (400, True)
        return
    assert deposited(world.validator, lot, first, "buyer")[0] == 302
    later = {
        "other": lambda: signed(AUTHORITIES.signer, field="Autre"),
        "altered": lambda: signed(AUTHORITIES.signer, first.replace(b"%PDF-1", b"%PDF-2", 1), field="B"),
        "annotated": lambda: signed(AUTHORITIES.signer, updated(first, annotate), field="B"),
        "same": lambda: updated(first, lambda writer: None) + b"\n",
        "bytes": lambda: first[:-400],
        "text": lambda: b"le contrat",
        "long": lambda: signed(AUTHORITIES.signer, first, field="B"),
    }[change]()
    if change == "long":
        monkeypatch.setattr("dematmp.awards.contracts.CONTRACT_BYTES", len(later) - 1)
    status, said = deposited(world.bidder, lot, later)
    assert status == 400, change
    assert "Repartez du PDF de la dernière version" in said
    assert lot.contract.count() == 1
    words = {"other": "pas la suite", "annotated": "a changé", "text": "pas un PDF", "long": "au plus"}
    assert words.get(change, "") in said


def test_one_certificate_never_signs_for_both(world: World, lot: Award) -> None:
    first = signed(AUTHORITIES.signer, field="Acheteur")
    status, said = deposited(world.validator, lot, first, "both")
    assert (status, "deux certificats différents" in said) == (400, True)
    assert deposited(world.validator, lot, first, "company")[0] == 302
    again = signed(AUTHORITIES.signer, first, field="Encore")
    status, said = deposited(world.validator, lot, again, "buyer")
    assert (status, "même certificat" in said) == (400, True)
    assert not is_concluded(lot)


def test_only_both_parties_and_each_for_itself(world: World, lot: Award) -> None:
    first = signed(AUTHORITIES.signer, field="Acheteur")
    address = reverse("contract", args=[lot.pk])
    assert deposited(world.agent, lot, first, "buyer")[0] == 404  # an agent reads, a validator signs
    assert deposited(world.validator, lot, first, "buyer")[0] == 302
    assert page(world.agent).get(address).status_code == 200
    for user in (world.rival_bidder, world.controller, world.members[0]):
        assert page(user).get(address).status_code == 404
        assert page(user).get(reverse("contract-file", args=[lot.pk, 1])).status_code == 404
    newcomer = person("adjointe", world.company, "bidder")
    later = signed(AUTHORITIES.issuer.issue("Gérante"), first, field="B")
    assert deposited(newcomer, lot, later, "both")[0] == 302  # what a company says of the buyer is not heard
    assert parties(lot) == {"buyer", "company"}
    assert lot.contract.get(number=2).signed_by == "company"


@pytest.mark.parametrize(
    ("amount", "other", "words"),
    [
        (1000, None, "Sous le seuil de 216"),
        (300_000, None, "À transmettre à la préfecture au plus tard le"),
        (1000, 300_000, "selon l'administration"),
    ],
)
def test_the_buyer_is_told_whether_a_signed_contract_goes_to_the_prefecture(
    world: World, lot: Award, amount: int, other: int | None, words: str
) -> None:
    Award.objects.filter(pk=lot.pk).update(amount=amount)
    if other is not None:
        second = lot.lot.consultation.lots.get(number="2")
        given = {"company": world.company, "reasons": "x", "decided_by": world.validator, "amount": other}
        Award.objects.create(lot=second, decided_at=timezone.now(), **given)
    first = signed(AUTHORITIES.signer, field="Entreprise")
    both = signed(AUTHORITIES.issuer.issue("Maire"), first, field="Acheteur")
    deposited(world.validator, lot, first, "company")
    deposited(world.validator, lot, both, "buyer")
    address = reverse("contract", args=[lot.pk])
    shown = html.unescape(page(world.validator).get(address).content.decode())
    assert words in shown
    assert ("Préparer sa transmission" in shown) is (words != "Sous le seuil de 216")
    assert "préfecture avant" not in page(world.bidder).get(address).content.decode()
