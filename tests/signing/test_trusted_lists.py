"""The trusted lists say who is qualified and when; they are verified, kept and never rolled back."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509

from signing.errors import TrustRefused
from signing.isolation import validate_isolated
from signing.lists import read_state
from signing.lists_update import from_folder, update
from signing.trust import Trust, from_paths
from tests.signing.authority import NOW, Identity, World
from tests.signing.cms_cases import cades
from tests.signing.judged import judge, verdict
from tests.signing.list_cases import GRANTED, LOTL_URL, QTST, WITHDRAWN, Lists, Service
from tests.signing.pdf_cases import asn1

WORLD = World()
OFFER = b"Acte d'engagement"
PASSED, UNSURE = "TOTAL_PASSED", "INDETERMINATE"
DAY = timedelta(days=1)


class _QcStatement(core.Sequence):  # type: ignore[misc]
    _fields = [("statement_id", core.ObjectIdentifier), ("info", core.Any, {"optional": True})]


class _QcStatements(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _QcStatement


_QCS = {"qc_compliance": "0.4.0.1862.1.1", "qc_sscd": "0.4.0.1862.1.4", "qc_type": "0.4.0.1862.1.6"}


def _statements(*names: str) -> tuple[x509.ExtensionType, bool]:
    # By hand: the module that names them is for the product to load.
    der = _QcStatements([{"statement_id": _QCS[name]} for name in names]).dump()
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3"), der), False


def _signer(*names: str, **options: object) -> Identity:
    extensions = (_statements(*names),) if names else ()
    return WORLD.issuer.issue(extensions=extensions, **options)  # type: ignore[arg-type]


def _update(made: Lists, folder: Path, signers: list[asn1_x509.Certificate] | None = None) -> Path:
    store = folder / "store"
    source = made.write(folder / "source")
    chosen = [asn1(made.lotl_signer.certificate)] if signers is None else signers
    update(store, fetch=from_folder(source), now=NOW, lotl_url=LOTL_URL, signers=chosen)
    return store


def _service(**options: object) -> Service:
    return Service(WORLD.issuer.identity.certificate, **options)  # type: ignore[arg-type]


def _judged(signer: Identity, service: Service, folder: Path, at: datetime = NOW) -> "object":
    trust = from_paths([_update(Lists.of([service]), folder)])
    return judge(cades(signer, OFFER, attached=True), folder, trust, at=at)


@pytest.mark.parametrize(
    ("statements", "qualified", "qscd", "said"),
    [
        (("qc_compliance", "qc_sscd"), True, True, "signature électronique qualifiée"),
        (("qc_compliance",), True, False, "signature avancée fondée sur un certificat qualifié"),
        ((), False, False, "certificat non qualifié"),
    ],
)
def test_the_list_says_who_is_qualified(
    statements: tuple[str, ...], qualified: bool, qscd: bool, said: str, tmp_path: Path
) -> None:
    report = _judged(_signer(*statements), _service(), tmp_path)
    assert verdict(report) == (PASSED, ""), report
    (signature,) = report.signatures
    assert (signature.qualified, signature.qscd) == (qualified, qscd)
    assert said in signature.certificate
    assert signature.trusted_list.startswith("FR n° 1")
    assert "list" in {piece.kind for piece in report.evidence}
    # The same by the door that the platform and the command line use: a process that loads what it needs.
    path = tmp_path / "offre.p7m"
    path.write_bytes(cades(_signer(*statements), OFFER, attached=True))
    (alone,) = validate_isolated(path, at=NOW, trust=[tmp_path / "store"]).signatures
    assert (alone.qualified, alone.qscd, alone.certificate) == (qualified, qscd, signature.certificate)


@pytest.mark.parametrize(("at", "expected"), [(NOW - 20 * DAY, PASSED), (NOW, UNSURE)])
def test_an_authority_withdrawn_since_counts_at_the_time_of_the_deposit(
    at: datetime, expected: str, tmp_path: Path
) -> None:
    service = _service(status=WITHDRAWN, since=NOW - 10 * DAY, history=[(GRANTED, NOW - 2000 * DAY)])
    report = _judged(_signer("qc_compliance"), service, tmp_path, at)
    assert verdict(report)[0] == expected, report


def test_an_authority_of_timestamps_does_not_vouch_for_a_signatory(tmp_path: Path) -> None:
    report = _judged(_signer(), _service(kind=QTST), tmp_path)
    assert verdict(report) == (UNSURE, "NO_CERTIFICATE_CHAIN_FOUND")


def test_a_listed_authority_of_timestamps_proves_the_time(tmp_path: Path) -> None:
    issuer = WORLD.root.sub("Horodateurs")
    services = [_service(), Service(issuer.identity.certificate, kind=QTST)]
    trust = from_paths([_update(Lists.of(services), tmp_path)])
    signer = _signer(start=NOW - 20 * DAY, days=10)
    stamped = cades(
        signer, OFFER, attached=True, authority=issuer.authority(tmp_path), stamped=NOW - 15 * DAY
    )
    assert verdict(judge(stamped, tmp_path, trust)) == (PASSED, "")


def test_a_stale_list_is_said_stale(tmp_path: Path) -> None:
    made = Lists.of([_service()])
    made.next_update = NOW - DAY
    trust = from_paths([_update(made, tmp_path)])
    (signature,) = judge(cades(_signer(), OFFER, attached=True), tmp_path, trust).signatures
    assert any("n'est plus à jour" in warning for warning in signature.warnings)
    assert "périmée" in signature.trusted_list


def test_a_list_of_lists_of_a_stranger_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    store = _update(Lists.of([_service()]), tmp_path)
    before = (store / "state.json").read_bytes()
    other = Lists.of([_service()])
    with pytest.raises(TrustRefused):
        _update(other, tmp_path, [asn1(WORLD.signer.certificate)])
    assert (store / "state.json").read_bytes() == before


def test_a_national_list_of_a_stranger_keeps_the_former_one(tmp_path: Path) -> None:
    made = Lists.of([_service()])
    _update(made, tmp_path)
    made.sequence = 2
    source = made.write(tmp_path / "source")
    (source / "fr.xml").write_bytes(Lists.of([_service()]).national())
    signers = [asn1(made.lotl_signer.certificate)]
    rows = update(tmp_path / "store", fetch=from_folder(source), now=NOW, lotl_url=LOTL_URL, signers=signers)
    assert (rows[1].sequence, bool(rows[1].error)) == (1, True)


def test_an_older_list_is_not_taken_back(tmp_path: Path) -> None:
    made = Lists.of([_service()])
    made.sequence = 7
    _update(made, tmp_path)
    made.sequence = 6
    with pytest.raises(TrustRefused, match="plus ancienne"):
        _update(made, tmp_path)


def test_a_territory_that_is_not_asked_for_is_neither_forgotten_nor_rolled_back(tmp_path: Path) -> None:
    made = Lists.of([_service()])
    made.sequence, made.others = 5, ["BE"]
    store, source = tmp_path / "store", made.write(tmp_path / "source")

    def asked(*territories: str) -> list[tuple[str, int, bool]]:
        signers = [asn1(made.lotl_signer.certificate)]
        update(
            store,
            fetch=from_folder(source),
            now=NOW,
            lotl_url=LOTL_URL,
            signers=signers,
            territories=territories,
        )
        return [(each.territory, each.sequence, bool(each.error)) for each in read_state(store)]

    asked("FR")
    known = len(from_paths([store]).authorities)
    both = [("EU", 5, False), ("FR", 5, False), ("BE", 5, False)]
    assert asked("BE") == both
    assert len(from_paths([store]).authorities) >= known > 0
    with pytest.raises(TrustRefused, match="FRA"):
        asked("FRA")
    made.sequence = 3
    (source / "fr.xml").write_bytes(made.national())
    assert asked("BE") == both
    assert asked("FR") == [("EU", 5, False), ("FR", 5, True), ("BE", 5, False)]


def test_the_signer_of_the_list_of_lists_changes_through_a_pivot(tmp_path: Path) -> None:
    made = Lists.of([_service()])
    made.pivot_signer = WORLD.root.issue("Ancien signataire")
    store = _update(made, tmp_path, [asn1(made.pivot_signer.certificate)])
    assert [row.territory for row in read_state(store)] == ["EU", "FR"]


def test_a_list_changed_on_disk_is_not_believed(tmp_path: Path) -> None:
    store = _update(Lists.of([_service()]), tmp_path)
    for path in (store / "lists").iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    trust: Trust = from_paths([store])
    assert verdict(judge(cades(_signer(), OFFER, attached=True), tmp_path, trust))[0] == UNSURE


def test_the_verdict_is_the_same_from_the_store_alone(tmp_path: Path) -> None:
    """Nothing else is needed later: neither the network nor the lists' first folder."""
    store = _update(Lists.of([_service()]), tmp_path)
    signed = cades(_signer("qc_compliance"), OFFER, attached=True)
    first = judge(signed, tmp_path, from_paths([store]))
    (kept,) = (piece for piece in first.evidence if piece.kind == "list")
    assert kept.data
    shutil.copytree(store, tmp_path / "kept")
    shutil.rmtree(store)
    assert judge(signed, tmp_path, from_paths([tmp_path / "kept"])) == first
