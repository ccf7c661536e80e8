"""CAdES of companies: attached, detached, several signers, timestamped; and what is refused."""

import base64
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from asn1crypto import cms, pem, tsp
from asn1crypto.crl import CertificateList
from cryptography.hazmat.primitives.serialization import Encoding

from signing.authority import Authority
from tests.conftest import absent
from tests.signing.authority import NOW, Issuer, World
from tests.signing.cms_cases import cades, make_cms, signer_info, stamp
from tests.signing.judged import judge, verdict

WORLD = World()
OFFER, OTHER = b"Acte d'engagement : 12 000 euros HT", b"Acte d'engagement : 1 euro HT"
PASSED, FAILED, UNSURE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
DAY = timedelta(days=1)


def _flipped(data: bytes) -> bytes:
    at = data.index(OFFER)
    return data[:at] + b"B" + data[at + 1 :]


def _rsa_pss() -> bytes:
    return cades(WORLD.issuer.issue(kind="rsa"), OFFER, attached=True, pss=True)


def _two(second: bytes = OFFER) -> bytes:
    other = WORLD.issuer.issue("Nadia Belkacem", kind="rsa")
    infos = [signer_info(WORLD.signer, OFFER), signer_info(other, second)]
    return make_cms(infos, [WORLD.signer, other], content=OFFER)


def _countersigned(over: bytes | None = None) -> bytes:
    buyer = WORLD.issuer.issue("Maire de Test")
    first = signer_info(WORLD.signer, OFFER)
    signature = over or first["signature"].native
    counter = signer_info(buyer, signature, content_type=None)
    first["unsigned_attrs"] = cms.CMSAttributes(
        [cms.CMSAttribute({"type": "counter_signature", "values": [counter]})]
    )
    return make_cms([first], [WORLD.signer, buyer], content=OFFER)


def _countersigned_twice(over: bytes | None = None) -> bytes:
    """The signature of a counter-signature, which may be of something else."""
    first = signer_info(WORLD.signer, OFFER)
    buyer, third = WORLD.issuer.issue("Maire de Test"), WORLD.issuer.issue("Préfet de Test")
    counter = signer_info(buyer, first["signature"].native, content_type=None)
    last = signer_info(third, over or counter["signature"].native, content_type=None)
    for below, above in ((counter, last), (first, counter)):
        below["unsigned_attrs"] = cms.CMSAttributes(
            [cms.CMSAttribute({"type": "counter_signature", "values": [above]})]
        )
    return make_cms([first], [WORLD.signer, buyer, third], content=OFFER)


def _content_stamped(of: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        token = stamp(WORLD.issuer.authority(Path(folder)), of)
    return _attached(extra=[{"type": "1.2.840.113549.1.9.16.2.20", "values": [token]}])


def _two_named() -> bytes:
    """Its own certificate named by one attribute, somebody else's by the other."""
    other = WORLD.issuer.issue("Autre")
    digest = hashlib.sha1(other.certificate.public_bytes(Encoding.DER)).digest()
    named = {
        "type": "signing_certificate",
        "values": [tsp.SigningCertificate({"certs": [{"cert_hash": digest}]})],
    }
    info = signer_info(WORLD.signer, OFFER, extra=[named])
    return make_cms([info], [WORLD.signer, other], content=OFFER)


def _archived() -> bytes:
    unsigned = [{"type": "0.4.0.1733.2.4", "values": [cms.ContentInfo({"content_type": "data"})]}]
    return cades(WORLD.signer, OFFER, attached=True, unsigned=unsigned)


def _attributes_as_content() -> bytes:
    """RFC 5652's ambiguity: the signed attributes of another signature, presented as a document."""
    info = signer_info(WORLD.signer, OFFER)
    content = info["signed_attrs"].untag().dump()
    bare = cms.SignerInfo({name: info[name] for name in ("version", "sid", "digest_algorithm")})
    bare["signature_algorithm"], bare["signature"] = info["signature_algorithm"], info["signature"]
    return make_cms([bare], [WORLD.signer], content=content)


def _swapped_signature() -> bytes:
    """The signature of another content under these attributes."""
    info, other = signer_info(WORLD.signer, OFFER), signer_info(WORLD.signer, OTHER)
    info["signature"] = other["signature"]
    return make_cms([info], [WORLD.signer], content=OFFER)


def _expired(**options: object) -> bytes:
    short = WORLD.issuer.issue("Éphémère", start=NOW - 20 * DAY, days=10)
    return cades(short, OFFER, attached=True, **options)


def _usage(*usages: str) -> bytes:
    return cades(WORLD.issuer.issue("Serveur", usages=usages), OFFER, attached=True)


def _attached(kind: str = "p256", **options: object) -> bytes:
    signer = WORLD.signer if kind == "p256" else WORLD.issuer.issue(kind=kind)
    return cades(signer, OFFER, attached=True, **options)


_WEAK = "CRYPTO_CONSTRAINTS_FAILURE_NO_POE"


def _unknown() -> bytes:
    return cades(World().signer, OFFER, attached=True)


def _early() -> bytes:
    return cades(WORLD.issuer.issue(start=NOW + DAY), OFFER, attached=True)


def _by_the_authority() -> bytes:
    return cades(WORLD.issuer.identity, OFFER, attached=True)


def _issued_by_a_signer() -> bytes:
    return cades(Issuer(WORLD.signer).issue("Faux"), OFFER, attached=True)


def _named() -> bytes:
    return cades(WORLD.signer, OFFER, attached=True, ess=WORLD.issuer.identity)


def _two_times() -> bytes:
    times = [cms.Time({"utc_time": each}) for each in (NOW, NOW - DAY)]
    return _attached(attributes=True, times=times)


def _repeated() -> bytes:
    return _attached(extra=[{"type": "message_digest", "values": [b"x" * 32]}])


CASES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "attached": (_attached, PASSED, ""),
    "rsa": (lambda: _attached("rsa"), PASSED, ""),
    "rsa-pss": (_rsa_pss, PASSED, ""),
    "ed25519": (lambda: _attached("ed25519", digest="sha512"), PASSED, ""),
    "p384": (lambda: _attached("p384", digest="sha384"), PASSED, ""),
    "without signing certificate": (lambda: _attached(ess=None), PASSED, ""),
    "two signers": (_two, PASSED, ""),
    "two signers, one of another content": (lambda: _two(OTHER), FAILED, "HASH_FAILURE"),
    "counter-signed": (_countersigned, PASSED, ""),
    "counter-signature of another signature": (lambda: _countersigned(b"x"), FAILED, "HASH_FAILURE"),
    "counter-signed twice": (_countersigned_twice, PASSED, ""),
    "counter-signature of another counter-signature": (
        lambda: _countersigned_twice(b"x"),
        FAILED,
        "HASH_FAILURE",
    ),
    "timestamp of its content": (lambda: _content_stamped(OFFER), PASSED, ""),
    "timestamp of another content": (lambda: _content_stamped(OTHER), UNSURE, "SIG_CONSTRAINTS_FAILURE"),
    "two certificates named": (_two_named, UNSURE, "NO_SIGNING_CERTIFICATE_FOUND"),
    "base64": (lambda: base64.encodebytes(_attached()), PASSED, ""),
    "PEM": (lambda: pem.armor("PKCS7", _attached()), PASSED, ""),
    "two PEM blocks": (lambda: pem.armor("CMS", _attached()) * 2, UNSURE, ""),
    "altered content": (lambda: _flipped(_attached()), FAILED, "HASH_FAILURE"),
    "another's signature value": (_swapped_signature, FAILED, "SIG_CRYPTO_FAILURE"),
    "unknown authority": (_unknown, UNSURE, "NO_CERTIFICATE_CHAIN_FOUND"),
    "expired": (_expired, UNSURE, "OUT_OF_BOUNDS_NO_POE"),
    "not yet valid": (_early, FAILED, "NOT_YET_VALID"),
    "MD5": (lambda: _attached("rsa", digest="md5"), UNSURE, _WEAK),
    "SHA-1": (lambda: _attached("rsa", digest="sha1"), UNSURE, _WEAK),
    "RSA 1024": (lambda: _attached("rsa1024"), UNSURE, _WEAK),
    "certificate of an authority": (_by_the_authority, UNSURE, "CHAIN_CONSTRAINTS_FAILURE"),
    "certificate of a server": (lambda: _usage("key_encipherment"), UNSURE, "CHAIN_CONSTRAINTS_FAILURE"),
    "certificate issued by a signer": (_issued_by_a_signer, UNSURE, "CERTIFICATE_CHAIN_GENERAL_FAILURE"),
    "another's certificate named": (_named, UNSURE, "NO_SIGNING_CERTIFICATE_FOUND"),
    "no signed attribute": (lambda: _attached(attributes=False), UNSURE, "SIG_CONSTRAINTS_FAILURE"),
    "signed attributes as a document": (_attributes_as_content, UNSURE, "SIG_CONSTRAINTS_FAILURE"),
    "another content type": (lambda: _attached(content_type="signed_data"), UNSURE, "FORMAT_FAILURE"),
    "repeated attribute": (_repeated, UNSURE, "FORMAT_FAILURE"),
    **{
        f"{row['type']} that nothing signs": (partial(_attached, unsigned=[row]), UNSURE, "FORMAT_FAILURE")
        for row in (
            {"type": "signing_time", "values": [cms.Time({"utc_time": NOW - DAY})]},
            {"type": "message_digest", "values": [b"x" * 32]},
            {"type": "content_type", "values": ["data"]},
        )
    },
    "two times in one attribute": (_two_times, UNSURE, "FORMAT_FAILURE"),
    "ed25519 over SHA-256": (lambda: _attached("ed25519"), UNSURE, "FORMAT_FAILURE"),
    "an end of line after it": (lambda: _attached() + b"\r\n\0", PASSED, ""),
    "PEM after a text": (lambda: b"Signature\n" + pem.armor("PKCS7", _attached()), PASSED, ""),
    "PEM of an old name": (lambda: pem.armor("PKCS #7 SIGNED DATA", _attached()), PASSED, ""),
    "two contents in a file": (lambda: _attached() * 2, UNSURE, "FORMAT_FAILURE"),
    "archived": (_archived, UNSURE, "GENERIC"),
    "detached, nothing beside": (lambda: cades(WORLD.signer, OFFER), UNSURE, "SIGNED_DATA_NOT_FOUND"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_verdict(case: str, tmp_path: Path) -> None:
    make, indication, sub = CASES[case]
    assert verdict(judge(make(), tmp_path, WORLD.trust)) == (indication, sub)


def test_the_content_of_a_detached_signature_is_found_among_the_files_of_the_bid(tmp_path: Path) -> None:
    files = {"memoire.pdf": b"m", "acte.txt": OFFER, "prix.xlsx": b"p"}
    report = judge(cades(WORLD.signer, OFFER), tmp_path, WORLD.trust, detached=files, name="signature.p7s")
    assert verdict(report) == (PASSED, "")
    assert report.signatures[0].covers == ("acte.txt",)


def test_a_detached_signature_of_another_file_fails_where_one_file_is_given(tmp_path: Path) -> None:
    report = judge(cades(WORLD.signer, OFFER), tmp_path, WORLD.trust, detached={"acte.txt": OTHER})
    assert verdict(report) == (FAILED, "HASH_FAILURE")


def test_a_file_of_the_signature_s_name_that_was_changed_is_said_changed(tmp_path: Path) -> None:
    files = {"acte.txt": OTHER, "autre.txt": b"x"}
    report = judge(cades(WORLD.signer, OFFER), tmp_path, WORLD.trust, detached=files, name="acte.txt.p7s")
    assert verdict(report) == (FAILED, "HASH_FAILURE")


def test_two_contents_for_one_signature_do_not_pass(tmp_path: Path) -> None:
    signed = cades(WORLD.signer, OFFER, attached=True)
    assert verdict(judge(signed, tmp_path, WORLD.trust, detached={"acte.txt": OTHER})) == (
        FAILED,
        "HASH_FAILURE",
    )


def test_without_any_authority_nobody_is_trusted(tmp_path: Path) -> None:
    signed = cades(WORLD.signer, OFFER, attached=True)
    assert verdict(judge(signed, tmp_path, [])) == (UNSURE, "NO_CERTIFICATE_CHAIN_FOUND")


def test_the_extension_never_chooses_the_engine(tmp_path: Path) -> None:
    signed = cades(WORLD.signer, OFFER, attached=True)
    assert verdict(judge(signed, tmp_path, WORLD.trust, name="offre.pdf")) == (PASSED, "")


@dataclass(frozen=True)
class Moment:
    """When it was stamped, when it is judged, in days from now."""

    stamped: float
    judged: float
    indication: str
    sub: str = ""


@pytest.mark.parametrize(
    "moment",
    [
        Moment(-15, 0, PASSED),  # stamped while the certificate was valid
        Moment(-5, 0, UNSURE, "OUT_OF_BOUNDS_NO_POE"),  # stamped too late
    ],
)
def test_a_timestamp_proves_that_the_signature_was_there_before_the_end(
    moment: Moment, tmp_path: Path
) -> None:
    authority = WORLD.issuer.authority(tmp_path)
    signed = _expired(authority=authority, stamped=NOW + moment.stamped * DAY)
    report = judge(signed, tmp_path, WORLD.trust, at=NOW + moment.judged * DAY)
    assert verdict(report) == (moment.indication, moment.sub)
    assert report.signatures[0].level == "B-T"


def test_a_certificate_expired_since_passes_at_the_time_of_the_deposit(tmp_path: Path) -> None:
    assert verdict(judge(_expired(), tmp_path, WORLD.trust, at=NOW - 12 * DAY)) == (PASSED, "")


def test_a_timestamp_copied_from_another_signature_is_refused(tmp_path: Path) -> None:
    authority = WORLD.issuer.authority(tmp_path)
    signed = cades(WORLD.signer, OFFER, attached=True, authority=authority, token_of=b"autre")
    assert verdict(judge(signed, tmp_path, WORLD.trust)) == (UNSURE, "SIG_CONSTRAINTS_FAILURE")


@pytest.mark.parametrize("armor", [False, True])
def test_a_detached_signature_is_stamped_or_armored_all_the_same(armor: bool, tmp_path: Path) -> None:
    short = WORLD.issuer.issue("Éphémère", start=NOW - 20 * DAY, days=10)
    authority = WORLD.issuer.authority(tmp_path)
    data = cades(short, OFFER, authority=authority, stamped=NOW - 15 * DAY)
    if armor:
        data = pem.armor("PKCS7", data)
    report = judge(data, tmp_path, WORLD.trust, detached={"acte.txt": OFFER}, name="acte.txt.p7s")
    assert verdict(report) == (PASSED, "")
    assert report.signatures[0].level == "B-T"
    other = judge(data, tmp_path, WORLD.trust, detached={"acte.txt": OTHER}, name="acte.txt.p7s")
    assert verdict(other) == (FAILED, "HASH_FAILURE")


def test_a_timestamp_of_an_unknown_authority_proves_nothing(tmp_path: Path) -> None:
    stranger = World().issuer.authority(tmp_path)
    signed = _expired(authority=stranger, stamped=NOW - 15 * DAY)
    report = judge(signed, tmp_path, WORLD.trust)
    assert verdict(report) == (UNSURE, "OUT_OF_BOUNDS_NO_POE")
    assert report.signatures[0].warnings


def test_a_signer_s_certificate_does_not_stamp(tmp_path: Path) -> None:
    fake = WORLD.issuer.issue("Faux horodateur")
    authority = Authority(fake.pem, fake.key_pem, tmp_path / "state")
    signed = _expired(authority=authority, stamped=NOW - 15 * DAY)
    assert verdict(judge(signed, tmp_path, WORLD.trust)) == (UNSURE, "OUT_OF_BOUNDS_NO_POE")


@pytest.mark.parametrize(
    ("revoked", "expected"),
    [(None, (PASSED, "")), (-2, (UNSURE, "REVOKED_NO_POE")), (+2, (PASSED, ""))],
)
def test_a_revocation_counts_from_its_date(
    revoked: int | None, expected: tuple[str, str], tmp_path: Path
) -> None:
    world = World()
    signer = world.issuer.issue(declares=True)
    if revoked is not None:
        world.issuer.revoke(signer, NOW + revoked * DAY)
    lists = [
        cms.RevocationInfoChoice("crl", CertificateList.load(each.crl(issued=NOW + 3 * DAY)))
        for each in (world.issuer, world.root)
    ]
    signed = make_cms([signer_info(signer, OFFER)], [signer], content=OFFER, revocation=lists)
    assert verdict(judge(signed, tmp_path, world.trust)) == expected


def test_without_any_revocation_data_the_answer_is_to_try_later(tmp_path: Path) -> None:
    signer = WORLD.issuer.issue(declares=True)
    report = judge(cades(signer, OFFER, attached=True), tmp_path, WORLD.trust)
    assert verdict(report) == (UNSURE, "TRY_LATER")


def test_openssl_agrees(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        absent("openssl : il manque openssl (paquet Debian : openssl)")
    (tmp_path / "ca.pem").write_bytes(WORLD.root.identity.pem)
    for data, accepted in ((OFFER, True), (OTHER, False)):
        signature, content = tmp_path / "a.p7s", tmp_path / "a.txt"
        signature.write_bytes(cades(WORLD.signer, OFFER))
        content.write_bytes(data)
        command = ["openssl", "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", signature]
        command += [
            "-content",
            content,
            "-CAfile",
            tmp_path / "ca.pem",
            "-purpose",
            "any",
            "-out",
            "/dev/null",
        ]
        assert (subprocess.run(command, capture_output=True, check=False).returncode == 0) is accepted


@pytest.mark.parametrize(
    "more", [("-stream",), ("-keyid",), ("-keyopt", "rsa_padding_mode:pss")], ids=["BER", "key id", "PSS"]
)
def test_a_signature_made_by_openssl_passes(more: tuple[str, ...], tmp_path: Path) -> None:
    """Streamed, it is in BER of indefinite lengths."""
    if shutil.which("openssl") is None:
        absent("openssl : il manque openssl (paquet Debian : openssl)")
    certificate, key = WORLD.issuer.issue(kind="rsa").write(tmp_path, "signer")
    (tmp_path / "above.pem").write_bytes(WORLD.issuer.identity.pem)
    (tmp_path / "a.txt").write_bytes(OFFER)
    command = ["openssl", "cms", "-sign", "-cades", "-binary", "-nodetach", "-outform", "DER"]
    command += ["-in", tmp_path / "a.txt", "-signer", certificate, "-inkey", key, "-md", "sha256"]
    command += ["-certfile", tmp_path / "above.pem", "-out", tmp_path / "a.p7m", *more]
    subprocess.run(command, check=True, capture_output=True)
    report = judge((tmp_path / "a.p7m").read_bytes(), tmp_path, WORLD.trust)
    assert verdict(report) == (PASSED, "")
    assert (report.signatures[0].format, report.signatures[0].level) == ("CAdES", "B-B")
