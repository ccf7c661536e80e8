"""Revocation is asked over real HTTP, of the hosts that the trusted lists name, and of nobody else."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms
from asn1crypto import ocsp as asn1_ocsp
from cryptography.x509 import ocsp

from signing.lists_update import from_folder, update
from signing.qualification import trust_of
from signing.report import read_report
from signing.trust import Trust, add_revocation
from signing.validation import validate, validate_isolated
from tests.signing.authority import NOW, Identity, Issuer, serving
from tests.signing.cms_cases import cades, make_cms, signer_info
from tests.signing.list_cases import LOTL_URL, Lists, Service
from tests.signing.pdf_cases import asn1
from tests.signing.test_cli import run

OFFER = b"Acte d'engagement"


@dataclass
class Served:
    """An authority whose OCSP and CRL are served, and what was asked of it."""

    issuer: Issuer
    signer: Identity
    asked: list[str]
    answers: dict[str, object]


@pytest.fixture
def served() -> Iterator[Served]:
    answers: dict[str, object] = {}
    with serving(answers) as base:
        issuer = Issuer.root().sub(base=base)
        signer = issuer.issue(declares=True)
        asked: list[str] = []

        def respond(body: bytes) -> bytes:
            asked.append("ocsp")
            return issuer.ocsp(ocsp.load_der_ocsp_request(body).serial_number, signer.certificate)

        def listed(_: bytes) -> bytes:
            asked.append("crl")
            return issuer.crl()

        answers |= {"/ocsp": respond, "/crl": listed}
        yield Served(issuer, signer, asked, answers)


def _store(served: Served, folder: Path, *, supply: bool = True) -> Path:
    service = Service(
        served.issuer.identity.certificate, supply=f"{served.issuer.base}/ocsp" if supply else ""
    )
    made = Lists.of([service])
    signers = [asn1(made.lotl_signer.certificate)]
    store = folder / "store"
    update(
        store, fetch=from_folder(made.write(folder / "source")), now=NOW, lotl_url=LOTL_URL, signers=signers
    )
    return store


def _report(served: Served, folder: Path, store: Path, *, online: bool = True) -> tuple[str, str]:
    path = folder / "offre.p7m"
    path.write_bytes(cades(served.signer, OFFER, attached=True))
    report = validate_isolated(path, at=datetime.now(UTC), trust=[store], online=online)
    return report.signatures[0].indication, report.signatures[0].sub_indication


def test_the_authority_is_asked_and_says_that_all_is_well(served: Served, tmp_path: Path) -> None:
    assert _report(served, tmp_path, _store(served, tmp_path)) == ("TOTAL_PASSED", "")
    assert served.asked == ["ocsp"]


def test_the_report_is_computed_again_from_what_it_keeps(served: Served, tmp_path: Path) -> None:
    """Later, with no network, no list and no cache: the same verdict on the same evidence."""
    path = tmp_path / "offre.p7m"
    path.write_bytes(cades(served.signer, OFFER, attached=True))
    store = _store(served, tmp_path)
    report = validate_isolated(path, at=datetime.now(UTC), trust=[store], online=True)
    shutil.rmtree(store)
    stored = read_report(json.loads(json.dumps(report.as_dict())))
    again = validate(path, at=datetime.fromisoformat(stored.at), trust=trust_of(stored))
    assert again.indication == "TOTAL_PASSED"
    assert again.signatures == report.signatures


def test_the_second_time_the_answer_is_at_hand(served: Served, tmp_path: Path) -> None:
    store = _store(served, tmp_path)
    assert [_report(served, tmp_path, store) for _ in range(2)] == [("TOTAL_PASSED", "")] * 2
    assert served.asked == ["ocsp"]


def test_an_old_answer_does_not_hide_a_later_revocation(served: Served, tmp_path: Path) -> None:
    """Whoever stole a key staples the last good answer: asked again, the authority says otherwise."""
    signer, issuer = served.signer, served.issuer
    good = issuer.ocsp(signer.certificate.serial_number, signer.certificate, issued=NOW - timedelta(days=2))
    issuer.revoke(signer, NOW - timedelta(days=1))
    stapled = cms.RevocationInfoChoice(
        "other",
        {"other_rev_info_format": "ocsp_response", "other_rev_info": asn1_ocsp.OCSPResponse.load(good)},
    )
    path = tmp_path / "offre.p7m"
    path.write_bytes(make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=[stapled]))
    report = validate_isolated(path, at=datetime.now(UTC), trust=[_store(served, tmp_path)], online=True)
    assert report.signatures[0].sub_indication == "REVOKED_NO_POE"
    trust = Trust(anchors=[asn1(issuer.identity.certificate)])
    add_revocation(trust, [issuer.crl()])
    assert validate(path, at=datetime.now(UTC), trust=trust).signatures[0].sub_indication == "REVOKED_NO_POE"


def test_a_list_is_read_where_nobody_answers(served: Served, tmp_path: Path) -> None:
    del served.answers["/ocsp"]
    assert _report(served, tmp_path, _store(served, tmp_path)) == ("TOTAL_PASSED", "")
    assert served.asked == ["crl"]


@pytest.mark.parametrize("silent", [False, True])
def test_a_revoked_certificate_does_not_pass(served: Served, silent: bool, tmp_path: Path) -> None:
    served.issuer.revoke(served.signer, NOW - timedelta(days=2))
    if silent:
        del served.answers["/ocsp"]
    assert _report(served, tmp_path, _store(served, tmp_path)) == ("INDETERMINATE", "REVOKED_NO_POE")


def test_a_host_that_no_list_names_is_never_asked(served: Served, tmp_path: Path) -> None:
    store = _store(served, tmp_path, supply=False)
    assert _report(served, tmp_path, store) == ("INDETERMINATE", "TRY_LATER")
    assert served.asked == []


def test_without_the_network_the_answer_is_to_try_later(served: Served, tmp_path: Path) -> None:
    store = _store(served, tmp_path)
    assert _report(served, tmp_path, store, online=False) == ("INDETERMINATE", "TRY_LATER")
    assert served.asked == []


def test_an_answer_that_is_not_one_changes_nothing(served: Served, tmp_path: Path) -> None:
    served.answers |= {"/ocsp": b"<html>", "/crl": b"<html>"}
    assert _report(served, tmp_path, _store(served, tmp_path)) == ("INDETERMINATE", "TRY_LATER")


def test_an_answer_about_another_certificate_changes_nothing(served: Served, tmp_path: Path) -> None:
    other = served.issuer.issue("Autre", declares=True)
    served.answers |= {"/ocsp": served.issuer.ocsp(0, other.certificate), "/crl": b""}
    assert _report(served, tmp_path, _store(served, tmp_path)) == ("INDETERMINATE", "TRY_LATER")


def test_the_lists_are_updated_and_watched_by_the_command_line(served: Served, tmp_path: Path) -> None:
    made = Lists.of([Service(served.issuer.identity.certificate)])
    source = made.write(tmp_path / "source")
    (tmp_path / "lotl.pem").write_bytes(made.lotl_signer.pem)
    store = tmp_path / "store"
    options = ("--from", source, "--lotl", LOTL_URL, "--signers", tmp_path / "lotl.pem")
    assert run("lists-status", store).returncode == 1
    done = run("lists-update", store, *options)
    assert (done.returncode, "FR : n° 1" in done.stdout) == (0, True), done.stderr
    assert run("lists-status", store).returncode == 0
    made.sequence, made.next_update = 2, NOW - timedelta(days=1)
    made.write(source)
    assert run("lists-update", store, *options).returncode == 0
    stale = run("lists-status", store)
    assert (stale.returncode, "PÉRIMÉE" in stale.stdout) == (1, True)
