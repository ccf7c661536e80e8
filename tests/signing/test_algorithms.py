"""Algorithms that prove nothing any more: each leaves a signature in doubt."""

import shutil
import subprocess
from pathlib import Path

import pytest
from asn1crypto import algos, keys, pem

from signing.algorithms import CHAIN_POLICY, key_weakness
from tests.conftest import absent
from tests.signing.authority import World
from tests.signing.cms_cases import cades
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
