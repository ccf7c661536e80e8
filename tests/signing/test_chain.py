"""Who may issue, sign or stamp: an anchor keeps to its own limits, an authority to what it is for."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signing.authority import Authority
from tests.signing.authority import NOW, Identity, Issuer
from tests.signing.cms_cases import cades
from tests.signing.judged import judge, verdict

DAY = timedelta(days=1)
OFFER = b"12 000 euros"
PASSED, UNSURE = "TOTAL_PASSED", "INDETERMINATE"
GOOD = (PASSED, "")
NO_CHAIN, BAD_CHAIN = (UNSURE, "NO_CERTIFICATE_CHAIN_FOUND"), (UNSURE, "CERTIFICATE_CHAIN_GENERAL_FAILURE")
Extension = tuple[x509.ExtensionType, bool]
Case = Callable[[], tuple[Identity, Identity]]  # signer, anchor


def _country(code: str) -> x509.DirectoryName:
    return x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, code)]))


def _names(permitted: str = "", excluded: str = "") -> Extension:
    lists = ([_country(each)] if each else None for each in (permitted, excluded))
    return x509.NameConstraints(*lists), True


def _usage(*usages: x509.ObjectIdentifier) -> Extension:
    return x509.ExtendedKeyUsage(usages), True


_WEB = _usage(ExtendedKeyUsageOID.SERVER_AUTH)
_STAMPS = _usage(ExtendedKeyUsageOID.TIME_STAMPING)


def _below(
    root: Issuer, *, through: bool = False, extensions: tuple[Extension, ...] = ()
) -> tuple[Identity, Identity]:
    issuer = root.sub(extensions=extensions) if through else root
    return issuer.issue(), root.identity


def _no_authority() -> tuple[Identity, Identity]:
    """The holder of a trusted certificate signs in the name of anybody."""
    agent = Issuer.root().issue("Agent de confiance")
    return Issuer(agent).issue("Maire de Paris"), agent


def _itself(**options: object) -> tuple[Identity, Identity]:
    agent = Issuer.root().issue("Agent de confiance", **options)  # type: ignore[arg-type]
    return agent, agent


_POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.250.1.1"), None)])
CASES: dict[str, tuple[Case, tuple[str, str]]] = {
    "an authority": (lambda: _below(Issuer.root()), GOOD),
    "an authority and another below": (lambda: _below(Issuer.root(), through=True), GOOD),
    "paths of no length, none": (lambda: _below(Issuer.root(length=0)), GOOD),
    "paths of no length, one": (lambda: _below(Issuer.root(length=0), through=True), BAD_CHAIN),
    "paths of one": (lambda: _below(Issuer.root(length=1), through=True), GOOD),
    "names that it permits": (lambda: _below(Issuer.root(extensions=(_names("FR"),))), GOOD),
    "names of another country": (lambda: _below(Issuer.root(extensions=(_names("DE"),))), BAD_CHAIN),
    "names that it excludes": (lambda: _below(Issuer.root(extensions=(_names("", "FR"),))), BAD_CHAIN),
    "policies of its own": (lambda: _below(Issuer.root(extensions=((_POLICY, False),))), GOOD),
    "an authority whose key signs no certificate": (
        lambda: _below(Issuer.root(usages=("digital_signature",))), NO_CHAIN
    ),
    "an anchor that is no authority": (_no_authority, NO_CHAIN),
    "itself": (_itself, GOOD),
    "itself, expired": (
        lambda: _itself(start=NOW - 20 * DAY, days=10), (UNSURE, "OUT_OF_BOUNDS_NO_POE")
    ),
    "itself, not born": (lambda: _itself(start=NOW + DAY), ("TOTAL_FAILED", "NOT_YET_VALID")),
    "below an authority for web sites": (
        lambda: _below(Issuer.root(), through=True, extensions=(_WEB,)),
        (UNSURE, "CHAIN_CONSTRAINTS_FAILURE"),
    ),
    "below an authority for documents": (
        lambda: _below(
            Issuer.root(), through=True, extensions=(_usage(ExtendedKeyUsageOID.EMAIL_PROTECTION),)
        ),
        GOOD,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_chain_is_worth_what_its_authorities_may(case: str, tmp_path: Path) -> None:
    make, expected = CASES[case]
    signer, anchor = make()
    report = judge(cades(signer, OFFER, attached=True), tmp_path, [anchor.pem])
    assert verdict(report) == expected, report.signatures


def _unit(root: Issuer, *extensions: Extension, usages: tuple[str, ...] = ("digital_signature",)) -> Identity:
    return root.issue("Unité", extensions=(_STAMPS, *extensions), usages=usages)


def _issued_by_a_unit(root: Issuer) -> tuple[Identity, list[Identity]]:
    unit = _unit(root)
    return _unit(Issuer(unit)), [unit]


STAMPERS: dict[str, tuple[Callable[[Issuer], tuple[Identity, list[Identity]]], str]] = {
    "a unit": (lambda root: (_unit(root), []), PASSED),
    "a unit trusted as itself": (lambda root: (unit := _unit(Issuer.root("Autre")), [unit]), PASSED),
    "a key that ciphers": (lambda root: (_unit(root, usages=("key_encipherment",)), []), UNSURE),
    "an authority": (
        lambda root: (root.sub("Unité", extensions=(_STAMPS,)).identity, []), UNSURE
    ),
    "below an authority for web sites": (lambda root: (_unit(root.sub(extensions=(_WEB,))), []), UNSURE),
    "below an authority for timestamps": (lambda root: (_unit(root.sub(extensions=(_STAMPS,))), []), PASSED),
    "issued by a unit": (_issued_by_a_unit, UNSURE),
}  # fmt: skip


@pytest.mark.parametrize("case", STAMPERS)
def test_a_timestamp_counts_by_a_certificate_made_for_it(case: str, tmp_path: Path) -> None:
    """The signer's certificate ends before the judgment: the timestamp alone can save the signature."""
    make, expected = STAMPERS[case]
    root = Issuer.root()
    unit, more = make(root)
    signed = cades(
        root.issue(start=NOW - 9 * DAY, days=10), OFFER, attached=True, authority=_authority(unit, tmp_path)
    )
    anchors = [root.identity.pem, *(each.pem for each in more)]
    report = judge(signed, tmp_path, anchors, at=NOW + 2 * DAY)
    assert report.indication == expected, report.signatures


def _authority(unit: Identity, folder: Path) -> Authority:
    chain = [unit.certificate, *unit.above]
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return Authority(pem, unit.key_pem, folder / "unit.state")


@pytest.mark.parametrize(
    ("starts", "expected"), [(-3200, BAD_CHAIN), (-3050, ("TOTAL_FAILED", "NOT_YET_VALID"))]
)
def test_an_authority_issued_again_since_accuses_nobody(
    starts: int, expected: tuple[str, str], tmp_path: Path
) -> None:
    """The signer's own certificate alone says that a signature is older than it may be."""
    root = Issuer.root()
    signer = root.sub().issue(start=NOW + starts * DAY, days=4000)
    made = cades(signer, OFFER, attached=True)
    report = judge(made, tmp_path, [root.identity.pem], at=NOW - 3100 * DAY)
    assert verdict(report) == expected
