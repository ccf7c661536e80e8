"""Responders that an authority named: whose certificate is for a few weeks, or of whom one must ask first."""

from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import cms, ocsp
from asn1crypto.crl import CertificateList
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from signing.revocation import Wanted, collect
from tests.signing.authority import NOW, Identity, Issuer
from tests.signing.cms_cases import make_cms, signer_info
from tests.signing.judged import judge, verdict
from tests.signing.test_revocation import Served, _report, _store, served

__all__ = ["served"]  # a fixture
DAY = timedelta(days=1)
OFFER = b"12 000 euros"
ROOT = Issuer.root()
ISSUER = ROOT.sub(base="http://127.0.0.1:1")
SIGNER = ISSUER.issue(declares=True, start=NOW - 300 * DAY)
PASSED, LATER = ("TOTAL_PASSED", ""), ("INDETERMINATE", "TRY_LATER")


def _responder(
    *,
    unchecked: bool = False,
    declares: bool = False,
    issuer: Issuer = ISSUER,
    days: int = 365,
    old: int = 30,
    key: str = "digital_signature",
) -> Identity:
    """`unchecked`: its authority says that nobody has to ask of it."""
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
    return issuer.issue(
        "Répondeur",
        extensions=(usage, *([(x509.OCSPNoCheck(), False)] if unchecked else [])),
        usages=(key,),
        declares=declares,
        days=days,
        start=NOW - old * DAY,
    )


def _told(
    by: Identity | None, *others: bytes, about: Identity = SIGNER, more: tuple[ocsp.OCSPResponse, ...] = ()
) -> bytes:
    """A signature with the answer of `by`, others and lists."""
    answer = ISSUER.ocsp(about.certificate.serial_number, about.certificate, responder=by)
    rows = [
        cms.RevocationInfoChoice("other", {"other_rev_info_format": "ocsp_response", "other_rev_info": each})
        for each in (ocsp.OCSPResponse.load(answer), *more)
    ]
    rows += [cms.RevocationInfoChoice("crl", CertificateList.load(each)) for each in others]
    return make_cms([signer_info(SIGNER, OFFER)], [SIGNER], content=OFFER, revocation=rows)


@pytest.mark.parametrize(
    ("responder", "ago", "expected"),
    [
        (_responder(unchecked=True), 0, PASSED),
        (_responder(), 0, PASSED),
        (_responder(declares=True), 0, LATER),
        (_responder(unchecked=True, old=3), 30, PASSED),
        (_responder(old=3), 30, PASSED),
        (_responder(old=20, days=10), 0, LATER),
        (_responder(issuer=ROOT), 0, LATER),
        (ISSUER.issue(), 0, LATER),
        (_responder(key="key_encipherment"), 0, LATER),
    ],
    ids=[
        "nobody asks",
        "silent",
        "declares",
        "named since",
        "silent, named since",
        "ended",
        "another's",
        "none",
        "a key that ciphers",
    ],
)
def test_a_responder_is_one_of_the_authority_valid_when_it_answers(
    responder: Identity, ago: int, expected: tuple[str, str], tmp_path: Path
) -> None:
    report = judge(_told(responder), tmp_path, [ROOT.identity.pem], at=NOW - ago * DAY)
    assert verdict(report) == expected


def test_of_a_responder_that_says_where_its_authority_is_asked(tmp_path: Path) -> None:
    """And never itself."""
    responder = _responder(declares=True)
    number, certificate = responder.certificate.serial_number, responder.certificate
    own = ocsp.OCSPResponse.load(ISSUER.ocsp(number, certificate, responder=responder))
    known = ocsp.OCSPResponse.load(ISSUER.ocsp(number, certificate))
    assert verdict(judge(_told(responder, more=(own,)), tmp_path, [ROOT.identity.pem])) == LATER
    assert verdict(judge(_told(responder, more=(known,)), tmp_path, [ROOT.identity.pem])) == PASSED
    at = NOW - 20 * DAY  # before it answered, and after it was named
    assert verdict(judge(_told(responder, more=(known,)), tmp_path, [ROOT.identity.pem], at=at)) == PASSED
    revoked = Issuer(ISSUER.identity, revoked={number: NOW - DAY})
    said = ocsp.OCSPResponse.load(revoked.ocsp(number, certificate))
    assert verdict(judge(_told(responder, more=(said,)), tmp_path, [ROOT.identity.pem])) == LATER


@pytest.mark.parametrize("silent", [False, True], ids=["declares", "nobody asks"])
@pytest.mark.parametrize(
    ("reason", "judged", "expected"),
    [
        (x509.ReasonFlags.key_compromise, 3, LATER),
        (x509.ReasonFlags.key_compromise, 0, LATER),
        (None, 0, LATER),
        (x509.ReasonFlags.superseded, 3, LATER),
        (x509.ReasonFlags.superseded, 1, LATER),
        (x509.ReasonFlags.superseded, 0, PASSED),
    ],
)
def test_a_responder_that_was_revoked_is_believed_of_what_was_before_unless_its_key_was_stolen(
    silent: bool,
    reason: x509.ReasonFlags | None,
    judged: int,
    expected: tuple[str, str],
    tmp_path: Path,
) -> None:
    """It answered before it was revoked, or says so."""
    responder = _responder(unchecked=silent, declares=not silent)
    number, certificate = responder.certificate.serial_number, responder.certificate
    revoked = Issuer(ISSUER.identity, revoked={number: NOW + DAY})
    said = ocsp.OCSPResponse.load(revoked.ocsp(number, certificate, issued=NOW + 4 * DAY, reason=reason))
    at = NOW + judged * DAY
    report = judge(_told(responder, more=(said,)), tmp_path, [ROOT.identity.pem], at=at)
    assert verdict(report) == expected


def test_what_a_responder_says_is_revoked_is(tmp_path: Path) -> None:
    ISSUER.revoke(SIGNER, NOW - DAY)
    try:
        signed = _told(_responder(old=3))
    finally:
        ISSUER.revoked.clear()
    report = judge(signed, tmp_path, [ROOT.identity.pem])
    assert verdict(report) == ("INDETERMINATE", "REVOKED_NO_POE")


def test_who_answers_is_asked_of_in_a_second_round(served: Served, tmp_path: Path) -> None:
    """The authority's answers are signed by a responder of which only the authority speaks."""
    responder = _responder(declares=True, issuer=served.issuer)
    every = {each.certificate.serial_number: each for each in (served.signer, responder)}

    def respond(body: bytes) -> bytes:
        number = pyca_ocsp.load_der_ocsp_request(body).serial_number
        served.asked.append("responder" if every[number] is responder else "signer")
        by = None if every[number] is responder else responder
        return served.issuer.ocsp(number, every[number].certificate, responder=by)

    served.answers["/ocsp"] = respond
    assert _report(served, tmp_path, _store(served, tmp_path)) == PASSED
    assert served.asked == ["signer", "responder"]


def test_a_responder_whose_certificate_is_of_no_version_says_nothing(tmp_path: Path) -> None:
    responder = _responder()
    der = responder.certificate.public_bytes(Encoding.DER)
    other = der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020112"), 1)
    assert verdict(judge(_told(responder).replace(der, other), tmp_path, [ROOT.identity.pem])) == LATER


def test_an_address_of_a_kind_that_nobody_reads_is_not_asked() -> None:
    """An X.400 address, where the revocation list would be (RFC 5280 §4.2.1.6)."""
    points = x509.UnrecognizedExtension(
        ExtensionOID.CRL_DISTRIBUTION_POINTS, bytes.fromhex("30083006a004a002a300")
    )
    signer = ISSUER.issue(extensions=((points, False),))
    rows = (each.public_bytes(Encoding.DER) for each in (signer.certificate, ISSUER.identity.certificate))
    assert collect([Wanted(*rows)], hosts=frozenset(), cache=None, now=NOW) == []
