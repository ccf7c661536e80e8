"""Revocation data of every kind: forged answers hide nothing, and what an authority signed is heard."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import algos, cms, core, ocsp
from asn1crypto.crl import CertificateList
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from signing.cades import as_response
from signing.lists_update import from_folder, update
from signing.report import Report
from signing.trust import Trust
from signing.validation import validate_isolated
from tests.signing.authority import NOW, Identity, Issuer, World, new_key, serving
from tests.signing.cms_cases import make_cms, signer_info
from tests.signing.judged import judge
from tests.signing.list_cases import LOTL_URL, Lists, Service
from tests.signing.pdf_cases import asn1

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OFFER = b"12 000 euros"


def subs(report: Report) -> list[str]:
    return [each.sub_indication for each in report.signatures]


def stranger_of(issuer: Issuer) -> Issuer:
    """The name of an authority, the key of somebody else."""
    return Issuer(Identity(issuer.identity.certificate, new_key()))


def _forged(issuer: Issuer, certificate: object) -> ocsp.OCSPResponse:
    """« Good », dated tomorrow, in the authority's name, with a signature that is none."""
    builder = pyca_ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,  # type: ignore[arg-type]
        issuer=issuer.identity.certificate,
        algorithm=hashes.SHA1(),
        cert_status=pyca_ocsp.OCSPCertStatus.GOOD,
        this_update=NOW + DAY,
        next_update=NOW + 9 * DAY,
        revocation_time=None,
        revocation_reason=None,
    )
    named = builder.responder_id(pyca_ocsp.OCSPResponderEncoding.HASH, issuer.identity.certificate)
    der = named.sign(issuer.identity.key, hashes.SHA256()).public_bytes(Encoding.DER)
    basic = ocsp.OCSPResponse.load(der)["response_bytes"]["response"].parsed
    basic["signature"] = basic["signature"].native[:-6] + b"forged"
    made = ocsp.OCSPResponse(
        {
            "response_status": "successful",
            "response_bytes": {
                "response_type": "basic_ocsp_response",
                "response": core.ParsableOctetString(basic.dump(force=True)),
            },
        }
    )
    return ocsp.OCSPResponse.load(made.dump())


def _stapled(*answers: ocsp.OCSPResponse | CertificateList) -> list[cms.RevocationInfoChoice]:
    return [
        cms.RevocationInfoChoice("crl", each)
        if isinstance(each, CertificateList)
        else cms.RevocationInfoChoice(
            "other", {"other_rev_info_format": "ocsp_response", "other_rev_info": each}
        )
        for each in answers
    ]


@pytest.mark.parametrize("forgery", ["none", "response", "list"])
def test_a_forged_answer_of_tomorrow_does_not_hide_that_a_certificate_is_revoked(
    tmp_path: Path, forgery: str
) -> None:
    world = World()
    signer = world.issuer.issue(declares=True)
    old = [CertificateList.load(each.crl(issued=NOW - DAY)) for each in (world.issuer, world.root)]
    world.issuer.revoke(signer, NOW - 2 * HOUR)
    said = world.issuer.ocsp(signer.certificate.serial_number, signer.certificate, issued=NOW - HOUR)
    trust = Trust(anchors=[asn1(world.root.identity.certificate)], ocsps=[ocsp.OCSPResponse.load(said)])
    stranger = stranger_of(world.issuer)
    stranger.revoked[signer.certificate.serial_number] = NOW
    more = {
        "none": [],
        "response": [_forged(world.issuer, signer.certificate)],
        "list": [CertificateList.load(stranger.crl(issued=NOW))],
    }[forgery]
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=_stapled(*old, *more))
    assert subs(judge(made, tmp_path, trust)) == ["REVOKED_NO_POE"]


def _revocation(world: World, signer: Identity, said: str) -> list[ocsp.OCSPResponse | CertificateList]:
    """What an authority really signed, and which a reader in a hurry does not hear."""
    authority, now = world.issuer.identity.certificate, NOW - DAY
    long_ago = NOW - 30 * DAY
    if said.startswith("signer"):
        world.issuer.revoke(signer, now if "response" in said else long_ago)
        if said == "signer, by a list gone stale":
            return [CertificateList.load(world.issuer.crl(issued=long_ago))]
        return [_response(world.issuer, signer.certificate)]
    world.root.revoked[authority.serial_number] = now if "response" in said else long_ago
    good = _response(world.issuer, signer.certificate)
    if said == "authority, by a list gone stale":
        return [CertificateList.load(world.root.crl(issued=long_ago)), good]
    return [_response(world.root, authority), good]


def _response(issuer: Issuer, certificate: x509.Certificate, issued: datetime = NOW) -> ocsp.OCSPResponse:
    return ocsp.OCSPResponse.load(issuer.ocsp(certificate.serial_number, certificate, issued=issued))


@pytest.mark.parametrize("declares", [False, True])
@pytest.mark.parametrize(
    ("said", "sub"),
    [
        ("signer, by a response", "REVOKED_NO_POE"),
        ("signer, by a list gone stale", "REVOKED_NO_POE"),
        ("authority, by a response", "REVOKED_CA_NO_POE"),
        ("authority, by a list gone stale", "REVOKED_CA_NO_POE"),
    ],
)
def test_a_revocation_that_was_signed_is_heard(tmp_path: Path, said: str, sub: str, declares: bool) -> None:
    world = World()
    signer = world.issuer.issue(declares=declares)
    carried = _stapled(*_revocation(world, signer, said))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == [sub]


_RESPONDS = ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),)
_RESPONDERS = {
    "the authority": None,
    "a responder": {},
    "one that had expired": {"start": NOW - 300 * DAY, "days": 100},
    "one that did not exist yet": {"start": NOW + 10 * DAY},
}


@pytest.mark.parametrize("responder", _RESPONDERS)
@pytest.mark.parametrize(("declares", "fresh"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("reason", [x509.ReasonFlags.key_compromise, x509.ReasonFlags.certificate_hold, None])
def test_a_later_good_ends_a_suspension_and_no_other_revocation(
    tmp_path: Path, reason: x509.ReasonFlags | None, declares: bool, fresh: bool, responder: str
) -> None:
    world = World()
    signer = world.issuer.issue(declares=declares)
    world.issuer.revoke(signer, NOW - 10 * DAY)
    held = CertificateList.load(
        world.issuer.crl(issued=NOW - 9 * DAY, days=10 if fresh else 1, reason=reason)
    )
    world.issuer.revoked.clear()
    options = _RESPONDERS[responder]
    other = None if options is None else world.issuer.issue("Répondeur", extensions=_RESPONDS, **options)  # type: ignore[arg-type]
    good = world.issuer.ocsp(signer.certificate.serial_number, signer.certificate, responder=other)
    carried = _stapled(held, ocsp.OCSPResponse.load(good), CertificateList.load(world.root.crl()))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    (said,) = subs(judge(made, tmp_path, world.trust))
    lifted = reason is x509.ReasonFlags.certificate_hold and not responder.startswith("one")
    assert (said != "REVOKED_NO_POE") is lifted


@pytest.mark.parametrize("declares", [False, True])
def test_an_authority_that_does_not_know_a_certificate_leaves_it_in_doubt(
    tmp_path: Path, declares: bool
) -> None:
    world = World()
    signer = world.issuer.issue(declares=declares)
    said = world.issuer.ocsp(signer.certificate.serial_number, signer.certificate, unknown=True)
    carried = _stapled(ocsp.OCSPResponse.load(said), CertificateList.load(world.root.crl()))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == ["TRY_LATER"]


@pytest.mark.parametrize("weak", [False, True])
def test_a_response_that_tells_a_later_revocation_is_one_and_a_weak_one_is_none(
    tmp_path: Path, weak: bool
) -> None:
    world = World()
    signer = world.issuer.issue(declares=True)
    world.issuer.revoke(signer, NOW + 2 * DAY)
    later = _response(world.issuer, signer.certificate, NOW + 3 * DAY)
    if weak:
        basic = later["response_bytes"]["response"].parsed
        basic["signature_algorithm"] = algos.SignedDigestAlgorithm({"algorithm": "sha1_ecdsa"})
        key = world.issuer.identity.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        basic["signature"] = key.sign(basic["tbs_response_data"].dump(), ec.ECDSA(hashes.SHA1()))
        later = as_response(ocsp.BasicOCSPResponse.load(basic.dump(force=True)))
    carried = _stapled(later, CertificateList.load(world.root.crl()))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == ["TRY_LATER" if weak else ""]


@pytest.mark.parametrize("stapled", ["nothing", "old-response", "old-list", "old-response-forged-list"])
def test_what_was_said_before_a_revocation_never_dispenses_from_asking(tmp_path: Path, stapled: str) -> None:
    answers: dict[str, object] = {}
    asked: list[str] = []
    with serving(answers) as base:
        issuer = Issuer.root().sub(base=base)
        signer = issuer.issue(declares=True)
        old_list = CertificateList.load(issuer.crl(issued=NOW - DAY))
        good = issuer.ocsp(signer.certificate.serial_number, signer.certificate, issued=NOW - DAY)
        old_response = ocsp.OCSPResponse.load(good)
        issuer.revoke(signer, NOW - 6 * HOUR)

        def respond(body: bytes) -> bytes:
            asked.append("ocsp")
            number = pyca_ocsp.load_der_ocsp_request(body).serial_number
            return issuer.ocsp(number, signer.certificate)

        answers |= {"/ocsp": respond, "/crl": lambda _: issuer.crl()}
        made = Lists.of([Service(issuer.identity.certificate, supply=f"{base}/ocsp")])
        store = tmp_path / "store"
        update(
            store,
            fetch=from_folder(made.write(tmp_path / "source")),
            now=NOW,
            lotl_url=LOTL_URL,
            signers=[asn1(made.lotl_signer.certificate)],
        )
        empty = CertificateList.load(stranger_of(issuer).crl(issued=NOW + DAY))
        given = {
            "nothing": [],
            "old-response": [old_response],
            "old-list": [old_list],
            "old-response-forged-list": [old_response, empty],
        }[stapled]
        file = tmp_path / "offre.p7m"
        file.write_bytes(
            make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=_stapled(*given))
        )
        report = validate_isolated(file, at=datetime.now(UTC), trust=[store], online=True)
    assert asked
    assert subs(report) == ["REVOKED_NO_POE"]


@pytest.mark.parametrize("told", ["nothing", "of its authority", "in time", "long ago", "by a stranger"])
def test_who_tells_of_revocations_tells_of_the_signer_too(tmp_path: Path, told: str) -> None:
    """A certificate that does not say where: nothing was told at all, or its status is not known."""
    world = World()
    of_root = world.root.crl()
    lists = {
        "nothing": [],
        "of its authority": [of_root],
        "in time": [of_root, world.issuer.crl()],
        "long ago": [of_root, world.issuer.crl(issued=NOW - 30 * DAY)],
        "by a stranger": [of_root, stranger_of(world.issuer).crl()],
    }[told]
    carried = _stapled(*map(CertificateList.load, lists))
    made = make_cms([signer_info(world.signer, OFFER)], [world.signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == ["" if told in ("nothing", "in time") else "TRY_LATER"]


def _named(*issuers: x509.Name) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Where a certificate says that its revocation is told: in the lists of others."""
    points = [x509.DistributionPoint(None, None, None, [x509.DirectoryName(each)]) for each in issuers]
    return ((x509.CRLDistributionPoints(points), False),) if points else ()


class _Damaged:
    """A certificate that nobody reads whole, carried along by somebody."""

    def __init__(self, der: bytes) -> None:
        self._der = der

    def public_bytes(self, _: Encoding) -> bytes:
        return self._der


def damaged() -> Identity:
    identity = Issuer.root("Autre").identity
    der = identity.certificate.public_bytes(Encoding.DER)
    usage = bytes.fromhex("0603551d0f")
    assert usage in der
    place = der.index(usage) + len(usage)
    return Identity(_Damaged(der[:place] + b"\x30" + der[place + 1 :]), identity.key)  # type: ignore[arg-type]


_LISTERS: dict[str, tuple[str, bool, bool, str]] = {  # name, indirect, named by the signer → sub-indication
    "another key of its authority": ("Autorité d'essai", False, False, ""),
    "a list by another": ("Listes", True, True, ""),
    "a list by another, not said to be one": ("Listes", False, True, "TRY_LATER"),
    "a list by another that nobody names": ("Listes", True, False, "TRY_LATER"),
}


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("lister", _LISTERS)
def test_a_list_may_be_signed_by_another_key_than_the_certificate(
    tmp_path: Path, lister: str, revoked: bool
) -> None:
    """RFC 5280 §6.3.3: a key that the same anchor vouches for, of the authority or of whom it names."""
    name, indirect, named, expected = _LISTERS[lister]
    world = World()
    other = Issuer(world.issuer.issue(name, usages=("crl_sign",)))
    if not indirect and not named:
        other = Issuer(world.root.issue(name, usages=("crl_sign",)))
    listed = other.identity.certificate.subject
    signer = world.issuer.issue(extensions=_named(listed) if named else ())
    if revoked:
        other.revoke(signer, NOW - DAY)
    of = world.issuer.identity.certificate.subject if indirect else None
    carried = _stapled(*map(CertificateList.load, [world.root.crl(), other.crl(indirect_of=of)]))
    if other.identity.certificate.issuer == world.issuer.identity.certificate.subject:
        stale = CertificateList.load(world.issuer.crl(issued=NOW - 30 * DAY))
        carried += _stapled(stale, _response(world.issuer, other.identity.certificate))
    info = signer_info(signer, OFFER)
    made = make_cms([info], [signer, other.identity, damaged()], content=OFFER, revocation=carried)
    (said,) = subs(judge(made, tmp_path, world.trust))
    assert said == (expected if expected or not revoked else "REVOKED_NO_POE")


def _other_key(case: str, root: Issuer, issuer: Issuer, signer: Identity) -> tuple[list[Issuer], list[bytes]]:
    """Who else has the authority's name, or is named by the signer, and the lists that it carries."""
    branch = root.sub("Autre branche")
    above = {"of another branch": branch, "of the authority": issuer}.get(case.split(",")[0], root)
    name = "Listes" if case.startswith("named") else "Autorité d'essai"
    other = Issuer(above.issue(name, usages=("crl_sign",)))
    if "revoked" in case:
        root.revoke(other.identity, NOW - 20 * DAY)
    if "accuses" in case:
        other.revoke(signer, NOW - DAY)
    of = issuer.identity.certificate.subject if name == "Listes" else None
    lists = [other.crl(indirect_of=of, issued=NOW - 2 * HOUR if case.endswith("accuses, own") else NOW)]
    lists += [] if "untold" in case else [root.crl(reason=x509.ReasonFlags.key_compromise), branch.crl()]
    if "own" in case:
        lists.append(issuer.crl(issued=NOW - HOUR))
    return [other, branch], lists


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("renewed, untold", "TRY_LATER"),
        ("renewed, revoked", "TRY_LATER"),
        ("renewed, revoked, accuses", "TRY_LATER"),
        ("renewed, revoked, accuses, own", ""),
        ("renewed, accuses, own", "REVOKED_NO_POE"),  # one authority: its numbers serve once
        ("of another branch", "TRY_LATER"),
        ("of another branch, accuses", "TRY_LATER"),
        ("of another branch, accuses, own", ""),
        ("of the authority", "TRY_LATER"),
        ("of the authority, accuses, own", ""),
        ("of the authority, accuses later, own", "REVOKED_NO_POE"),
        ("named, untold", "TRY_LATER"),
        ("named, revoked", "TRY_LATER"),
        ("named, revoked, accuses", "TRY_LATER"),
        ("named", ""),
    ],
)
def test_another_key_is_heard_while_it_is_known_good(tmp_path: Path, case: str, expected: str) -> None:
    """One that was stolen, or that another authority certified under that name, clears and accuses nobody."""
    root = Issuer.root()
    issuer = root.sub()
    listers = root.issue("Listes").certificate.subject
    signer = issuer.issue(extensions=_named(listers) if case.startswith("named") else ())
    others, lists = _other_key(case, root, issuer, signer)
    carried = [signer, *(each.identity for each in others)]
    made = make_cms(
        [signer_info(signer, OFFER)], carried, content=OFFER,
        revocation=_stapled(*map(CertificateList.load, lists)),
    )  # fmt: skip
    assert subs(judge(made, tmp_path, [root.identity.pem])) == [expected]


def test_who_tells_of_a_signer_does_not_tell_of_its_authority(tmp_path: Path) -> None:
    """The path validator takes the list of whoever has the same issuer as a certificate."""
    root = Issuer.root()
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.invalid/")], None, None, None)
    issuer = root.sub(extensions=((x509.CRLDistributionPoints([point]), False),))
    other = Issuer(root.issue("Listes", usages=("crl_sign",)))
    signer = issuer.issue(extensions=_named(other.identity.certificate.subject))
    listed = CertificateList.load(other.crl(indirect_of=issuer.identity.certificate.subject))
    for more, expected in (([], "TRY_LATER"), ([CertificateList.load(root.crl())], "")):
        made = make_cms(
            [signer_info(signer, OFFER)], [signer, other.identity], content=OFFER,
            revocation=_stapled(listed, *more),
        )  # fmt: skip
        assert subs(judge(made, tmp_path, [root.identity.pem])) == [expected]


@pytest.mark.parametrize("own", [False, True])
def test_an_entry_of_an_indirect_list_is_of_the_authority_last_named(tmp_path: Path, own: bool) -> None:
    """RFC 5280 §5.3.3: another authority's certificate of this number is not this one."""
    world = World()
    named = (world.issuer if own else Issuer.root("Autre autorité")).identity.certificate.subject
    signer = world.issuer.issue()
    world.issuer.revoked |= {9: NOW - DAY, signer.certificate.serial_number: NOW - DAY}
    lists = [world.root.crl(), world.issuer.crl(indirect_of=named)]
    carried = _stapled(*map(CertificateList.load, lists))
    made = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=carried)
    assert subs(judge(made, tmp_path, world.trust)) == ["REVOKED_NO_POE" if own else ""]
