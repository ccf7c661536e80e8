"""A CMS in PEM: what stands around its one block is said to be signed by nobody, or refused."""

from pathlib import Path

import pytest
from asn1crypto import pem

from tests.signing.authority import World
from tests.signing.cms_cases import cades
from tests.signing.judged import judge
from tests.signing.test_asic import container

WORLD = World()
PASSED, UNSURE = "TOTAL_PASSED", "INDETERMINATE"
SIGNED = cades(WORLD.signer, b"12 000 euros", attached=True)
BLOCK = pem.armor("CMS", SIGNED)
BER = b"\x30\x80" + SIGNED[4:] + b"\0\0"  # of a length that is not said
# file, verdict, whether it is said
CASES: dict[str, tuple[bytes, str, bool]] = {
    "bare, the end of a line after": (BER + b"\r\n", PASSED, False),
    "bare, a text after": (BER + b"Prix : 1 euro\n", UNSURE, False),
    "bare, cut": (BER[:-2], UNSURE, False),
    "alone": (BLOCK, PASSED, False),
    "the end of a line after": (BLOCK + b"\r\n \0", PASSED, False),
    "a text before": (b"Prix : 1 euro\n" + BLOCK, PASSED, True),
    "a text in its headers": (pem.armor("CMS", SIGNED, {"Prix": "1 euro"}), PASSED, True),
    "a text after": (BLOCK + b"Prix : 1 euro\n", UNSURE, True),
    "another block before": (pem.armor("PKCS7", b"0\x09\x16\x071 euro") + BLOCK, UNSURE, False),
    "another block after": (BLOCK + pem.armor("CERTIFICATE", b"0\x00"), UNSURE, False),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_around_the_block_is_not_signed(case: str, tmp_path: Path) -> None:
    data, expected, said = CASES[case]
    report = judge(data, tmp_path, WORLD.trust)
    assert report.indication == expected, report
    warnings = [text for each in report.signatures for text in each.warnings]
    assert any("autour du bloc PEM" in each for each in warnings) is said


@pytest.mark.parametrize(("before", "expected"), [(b"", PASSED), (b"Prix : 1 euro\n", UNSURE)])
def test_a_signature_in_a_container_is_its_block_alone(before: bytes, expected: str, tmp_path: Path) -> None:
    signature = before + pem.armor("CMS", cades(WORLD.signer, b"12 000 euros"))
    made = container("s", {"offre.txt": b"12 000 euros", "META-INF/signature.p7s": signature})
    assert judge(made, tmp_path, WORLD.trust).indication == expected
