"""Signed PDFs that acts carry (§5 of the wire specification): intact always, recognised where it is asked."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.ministry import Ministry
from signing import pki
from signing.pdf import sign_pdf
from tests.acts.service import Caller, posted, state, until
from tests.acts.test_interop import letters
from tests.world import pdf

_SINCE = datetime.now(UTC) - timedelta(days=10)
_NUMBER = "034-123456789-20260110-2026_MP_001"


def _signed(authority: pki.Credential) -> bytes:
    bidder = pki.issue(authority, "Julie Moreau", "Les Bâtisseurs du Val", now=_SINCE, days=365)
    return sign_pdf(pdf(), bidder, reason="Engagement")


@pytest.fixture
def known(service: Any, tmp_path: Path) -> pki.Credential:
    """The one authority that the platform recognises."""
    made = pki.new_authority("Autorité reconnue", "Essai", now=_SINCE)
    path = tmp_path / "autorites.pem"
    path.write_bytes(made.certificate)
    service.SIGNATURE_TRUST = [str(path)]
    return made


@pytest.fixture
def unknown(known: pki.Credential) -> bytes:
    """A document that a bidder signed with a certificate of another authority."""
    return _signed(pki.new_authority("Autorité étrangère", "Ailleurs", now=_SINCE))


def _ended(lea: Caller, pk: int) -> tuple[int, str]:
    until(lambda: state(lea, pk)[0] in (-1, 4))
    status, said = state(lea, pk)
    return status, said.decode("latin-1")


@pytest.mark.usefixtures("ministry")
def test_the_signature_of_a_deliberation_is_recognised_or_refused(
    lea: Caller, known: pki.Credential, unknown: bytes
) -> None:
    status, said = _ended(lea, posted(lea, acte_pdf_file=("d.pdf", unknown)))
    assert status == -1
    assert "signature non reconnue" in said
    assert _ended(lea, posted(lea, "2026_MP_002", acte_pdf_file=("d.pdf", _signed(known))))[0] == 4
    where = (whole := _signed(known)).index(b"/MediaBox")
    bent = whole[:where] + b"/MediaBux" + whole[where + 9 :]
    status, said = _ended(lea, posted(lea, "2026_MP_003", acte_pdf_file=("d.pdf", bent)))
    assert (status, "signature invalide" in said) == (-1, True)


@pytest.mark.usefixtures("ministry")
def test_a_contract_bears_the_signature_of_anyone_s_authority(lea: Caller, unknown: bytes) -> None:
    contract = {"nature_code": "4", "type_acte": "11_AE", "acte_pdf_file": ("ae.pdf", unknown)}
    assert _ended(lea, posted(lea, **contract))[0] == 4


def test_so_do_the_pieces_of_a_procurement_that_the_prefecture_asks_for(
    lea: Caller, ministry: Ministry, unknown: bytes
) -> None:
    pk = posted(lea)
    assert _ended(lea, pk)[0] == 4
    ministry.write_letter(f"{_NUMBER}-DE", "3-1", "Merci d'envoyer l'acte d'engagement.")
    until(lambda: bool(letters(lea, pk)))
    letter = letters(lea, pk)[0][2]
    form: list[tuple[str, object]] = [
        ("api", "1"),
        ("id", letter),
        ("type_envoie", "4"),
        ("type_acte", "99_DE"),
        ("acte_pdf_file", ("ae.pdf", unknown)),
    ]
    answer = lea.form("actes_transac_reponse_create.php", form).content.split(b"\n")
    assert answer[0] == b"OK", answer
    assert _ended(lea, int(answer[1]))[0] == 4
