"""The classification is data, and the pieces of a contract are proposed from it."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from dematmp.acts import pieces
from dematmp.acts.classification import Codes, parsed, shipped
from dematmp.acts.errors import ActRefused

CODES = Codes(parsed(shipped()))


def test_the_shipped_version_is_valid_against_the_official_schema(shared: Path) -> None:
    schema = etree.XMLSchema(etree.parse(str(shared / "actes" / "actesv1_1.xsd")))
    schema.assertValid(etree.fromstring(shipped()))


def test_the_shipped_version_has_the_typologies_of_2019() -> None:
    counts = [len(CODES.typologies(nature)) for nature in "123456"]
    assert (counts, sum(counts)) == ([18, 9, 36, 47, 3, 2], 115)


@pytest.mark.parametrize(
    ("nature", "default"),
    [("1", "99_DE"), ("2", "99_AR"), ("3", "99_AI"), ("4", "99_DC"), ("5", "99_BU"), ("6", "99_AU")],
)
def test_the_default_typology_of_a_nature_comes_first_and_the_signature_last(
    nature: str, default: str
) -> None:
    assert CODES.default_typology(nature) == default
    assert [each.code for each in CODES.typologies(nature)][:: len(CODES.typologies(nature)) - 1] == [
        default,
        "99_SE",
    ]


def test_a_report_of_presentation_goes_with_a_contract_and_not_with_a_deliberation() -> None:
    assert CODES.permits("4", "11_RP")
    assert not CODES.permits("1", "11_RP")


def test_a_version_without_typologies_checks_none(shared: Path) -> None:
    old = Codes(parsed((shared / "actes" / "exemple_codes_matieres.xml").read_bytes()))
    assert old.permits("4", "11_RP")
    assert not old.permits("6", "99_AU")


def test_matters_are_sorted_as_numbers(shared: Path) -> None:
    old = Codes(parsed((shared / "actes" / "exemple_codes_matieres.xml").read_bytes()))
    finances = [codes for codes, _ in old.leaves() if codes[0] == 7]
    assert finances[-2:] == [(7, 9), (7, 10)]


@pytest.mark.parametrize("codes", [(1, 1), (1, 1, 1), (1, 1, 2), (7, 10), (7, 10, 4)])
def test_a_known_matter_is_accepted(codes: tuple[int, ...]) -> None:
    CODES.check_codes(codes)


@pytest.mark.parametrize("codes", [(), (1,), (1, 9), (12, 1), (1, 1, 8)])
def test_an_unknown_matter_is_refused(codes: tuple[int, ...]) -> None:
    with pytest.raises(ActRefused):
        CODES.check_codes(codes)


@pytest.mark.parametrize(
    ("launched", "amount"),
    [
        (date(2009, 12, 31), None),
        (date(2019, 12, 31), 209_000),
        (date(2020, 1, 1), 214_000),
        (date(2025, 12, 31), 221_000),
        (date(2026, 1, 1), 216_000),
    ],
)
def test_the_threshold_is_that_of_the_day_of_launch(launched: date, amount: int | None) -> None:
    assert pieces.threshold(launched) == (None if amount is None else Decimal(amount))


def test_a_contract_is_sent_on_the_threshold_and_not_a_cent_below() -> None:
    day = date(2026, 3, 1)
    assert pieces.must_be_sent(Decimal("216000.00"), launched=day)
    assert not pieces.must_be_sent(Decimal("215999.99"), launched=day)
    assert pieces.must_be_sent(Decimal("1.00"), launched=day, concession=True)
    assert pieces.must_be_sent(Decimal("1.00"), launched=day, amends_sent=True)


@pytest.mark.parametrize(
    ("name", "typology"),
    [
        ("AE lot 1 signé.pdf", "11_AE"),
        ("Acte d'engagement.pdf", "11_AE"),
        ("CCAP.pdf", "11_AP"),
        ("2026-017_CCTP_lot1.pdf", "11_TP"),
        ("RC.pdf", "11_RC"),
        ("Règlement de la consultation.pdf", "11_RC"),
        ("AAPC BOAMP.pdf", "11_AC"),
        ("PV de la CAO.pdf", "11_PV"),
        ("Rapport d'analyse CAO.pdf", "11_RA"),
        ("Rapport de présentation.pdf", "11_RP"),
        ("Délibération 2026-12.pdf", "10_DE"),
        ("Avenant n°2.pdf", "10_AV"),
        ("attestation fiscale.pdf", "11_AT"),
    ],
)
def test_a_typology_is_proposed_from_the_name_of_a_file(name: str, typology: str) -> None:
    assert pieces.propose(name, default="99_DC") == pieces.Proposal(name, typology, True)
    assert CODES.permits("4", typology)


def test_a_name_that_tells_nothing_gets_the_default_and_says_so() -> None:
    assert pieces.propose("scan0001.pdf", default="99_DC") == pieces.Proposal("scan0001.pdf", "99_DC", False)


def test_what_the_code_asks_and_the_package_lacks_is_listed() -> None:
    missing = pieces.missing(
        ["11_AE", "11_AP", "11_TP", "10_DE", "11_AC", "11_RC", "11_PV", "11_RA", "11_RP"]
    )
    assert missing == {"11_AT": "attestations de l'attributaire"}
