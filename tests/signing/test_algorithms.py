"""Algorithms that prove nothing any more: each leaves a signature in doubt."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import algos, keys, pem
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing.algorithms import CHAIN_POLICY, curve_bits, key_weakness
from tests.conftest import absent
from tests.signing.authority import World, new_key
from tests.signing.cms_cases import cades, make_cms, signer_info
from tests.signing.judged import judge, verdict
from tests.signing.xml_cases import xades

WORLD = World()
OFFER = b"12 000 euros"
WEAK = ("INDETERMINATE", "CRYPTO_CONSTRAINTS_FAILURE_NO_POE")


@pytest.mark.parametrize(
    ("kind", "expected"), [("p224", WEAK), ("p256", ("TOTAL_PASSED", "")), ("p384", ("TOTAL_PASSED", ""))]
)
def test_a_curve_is_of_256_bits_at_least(kind: str, expected: tuple[str, str], tmp_path: Path) -> None:
    signed = cades(WORLD.issuer.issue(kind=kind), OFFER, attached=True)
    assert verdict(judge(signed, tmp_path, WORLD.trust)) == expected


@pytest.mark.parametrize(("digest", "expected"), [("sha224", WEAK), ("sha256", ("TOTAL_PASSED", ""))])
def test_a_digest_is_of_256_bits_at_least(digest: str, expected: tuple[str, str], tmp_path: Path) -> None:
    cms = cades(WORLD.signer, OFFER, attached=True, digest=digest)
    assert verdict(judge(cms, tmp_path, WORLD.trust)) == expected
    assert verdict(judge(xades(WORLD.signer, digest=digest), tmp_path, WORLD.trust)) == expected


@pytest.mark.parametrize(("mask", "allowed"), [("sha1", False), ("sha224", False), ("sha256", True)])
def test_the_mask_of_a_certificate_s_signature_is_a_hash_too(mask: str, allowed: bool) -> None:
    algorithm = algos.SignedDigestAlgorithm(
        {
            "algorithm": "rsassa_pss",
            "parameters": {
                "hash_algorithm": {"algorithm": "sha256"},
                "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": mask}},
                "salt_length": 32,
            },
        }
    )
    assert CHAIN_POLICY.signature_algorithm_allowed(algorithm, None, None).allowed is allowed


@pytest.mark.parametrize("encoding", ["named_curve", "explicit"])
def test_a_curve_is_named(encoding: str, tmp_path: Path) -> None:
    """One that is described may have a generator chosen for a known signature (CVE-2020-0601)."""
    if shutil.which("openssl") is None:
        absent("openssl : il manque openssl (paquet Debian : openssl)")
    key = tmp_path / "key.pem"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-param_enc", encoding]
    subprocess.run([*make, "-out", key], check=True, capture_output=True)
    read = subprocess.run(["openssl", "ec", "-in", key, "-pubout"], check=True, capture_output=True)
    public = keys.PublicKeyInfo.load(pem.unarmor(read.stdout)[2])
    assert bool(key_weakness(public)) is (encoding == "explicit")


@pytest.mark.parametrize(("kind", "said"), [("p256", "256"), ("p384", "384"), ("p521", "521")])
def test_a_curve_is_said_by_its_size(kind: str, said: str, tmp_path: Path) -> None:
    report = judge(cades(WORLD.issuer.issue(kind=kind), OFFER, attached=True), tmp_path, WORLD.trust)
    assert report.signatures[0].algorithms == f"SHA-256, ECDSA {said} bits"


def test_a_point_may_be_compressed() -> None:
    key = new_key()
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert len(point) == 33
    algorithm = {"algorithm": "ec", "parameters": keys.ECDomainParameters("named", "secp256r1")}
    made = keys.PublicKeyInfo({"algorithm": algorithm, "public_key": keys.ECPointBitString(point)})
    assert (curve_bits(made), key_weakness(made)) == (256, "")


@pytest.mark.parametrize(
    "number", ["0.4.0.127.0.7.1.1.4.1.3", "1.2.643.7.1.1.3.2", "1.2.156.10197.1.501", "1.3.6.1.5.5.7.6.30"]
)
def test_an_algorithm_that_nobody_here_computes_is_not_a_forgery(number: str, tmp_path: Path) -> None:
    """Plain ECDSA (BSI), GOST, SM2, SHAKE: TOTAL_FAILED would say that somebody lied."""
    info = signer_info(WORLD.signer, OFFER)
    info["signature_algorithm"] = algos.SignedDigestAlgorithm({"algorithm": number})
    report = judge(make_cms([info], [WORLD.signer], content=OFFER), tmp_path, WORLD.trust)
    assert verdict(report) == ("INDETERMINATE", "FORMAT_FAILURE")
    assert "pas pris en charge" in report.signatures[0].reason


@pytest.mark.parametrize(("salt", "flagged"), [(0, True), (8, True), (16, False), (32, False), (222, False)])
def test_a_short_salt_is_said(salt: int, flagged: bool, tmp_path: Path) -> None:
    signer = WORLD.issuer.issue(kind="rsa")
    info = signer_info(signer, OFFER, pss=True)
    info["signature_algorithm"]["parameters"]["salt_length"] = salt
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt)
    signed = b"\x31" + info["signed_attrs"].dump()[1:]
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    info["signature"] = signer.key.sign(signed, pss, hashes.SHA256())
    report = judge(make_cms([info], [signer], content=OFFER), tmp_path, WORLD.trust)
    assert verdict(report) == ("TOTAL_PASSED", "")
    assert any("sel" in each for each in report.signatures[0].warnings) is flagged


@pytest.mark.parametrize(("asked", "passes"), [("", True), ("20", True), ("32", True), ("40", False)])
def test_a_key_for_pss_alone_asks_for_its_salt(asked: str, passes: bool, tmp_path: Path) -> None:
    """OpenSSL makes the key, its certificate and the signature."""
    if shutil.which("openssl") is None:
        absent("openssl : il manque openssl (paquet Debian : openssl)")
    ca, ca_key = WORLD.issuer.identity.write(tmp_path, "ca")
    key, request, signer, made = (tmp_path / name for name in ("pss.key", "pss.csr", "pss.pem", "offre.p7m"))
    options = [f"rsa_pss_keygen_saltlen:{asked}", "rsa_pss_keygen_md:sha256", "rsa_pss_keygen_mgf1_md:sha256"]
    asking = [word for each in options for word in ("-pkeyopt", each)] if asked else []
    (tmp_path / "ext").write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
    (tmp_path / "offre").write_bytes(OFFER)
    salt = ["-keyopt", f"rsa_pss_saltlen:{32 if passes else 40}"]
    _openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", *asking, "-out", key)
    _openssl("req", "-new", "-key", key, "-subj", "/CN=Julie", "-out", request)
    issue = ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-extfile", tmp_path / "ext"]
    _openssl(*issue, "-days", "9", "-set_serial", "7", "-out", signer)
    sign = ["cms", "-sign", "-cades", "-binary", "-nodetach", "-outform", "DER", "-in", tmp_path / "offre"]
    sign += ["-signer", signer, "-inkey", key, "-certfile", ca, "-md", "sha256", "-out", made]
    _openssl(*sign, "-keyopt", "rsa_padding_mode:pss", *salt)
    data = made.read_bytes()
    if not passes:  # the signature says that it has less salt than the key asks for
        before, _, after = data.rpartition(bytes.fromhex("a203020128"))
        data = before + bytes.fromhex("a203020120") + after
    report = judge(data, tmp_path, WORLD.trust, at=datetime.now(UTC) + timedelta(minutes=1))
    assert (report.indication == "TOTAL_PASSED") is passes, report
    _openssl(*sign)  # which then announces another algorithm, and refuses itself what it made
    (other,) = judge(
        made.read_bytes(), tmp_path, WORLD.trust, at=datetime.now(UTC) + timedelta(minutes=1)
    ).signatures
    assert (other.indication, "RSA-PSS" in other.reason) == ("INDETERMINATE", True)


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
