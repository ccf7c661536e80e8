"""Timestamps of the content that a signature carries: of this content, or somebody put them there."""

import base64
from pathlib import Path

import pytest

from tests.signing.authority import World
from tests.signing.cms_cases import stamp
from tests.signing.detached import detached_xades
from tests.signing.judged import judge, verdict

WORLD = World()
FILES = {"acte.txt": b"Acte d'engagement", "prix.csv": b"lot;prix\n1;12000\n"}
BOTH = b"".join(FILES.values())
PASSED, COPIED = ("TOTAL_PASSED", ""), ("INDETERMINATE", "SIG_CONSTRAINTS_FAILURE")
_ALL, _SOME = "AllDataObjectsTimeStamp", "IndividualDataObjectsTimeStamp"
_EXCLUSIVE = (
    '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">'
    "</ds:CanonicalizationMethod>"
)


def _stamped(folder: Path, kind: str, data: bytes, before: str = "") -> bytes:
    token = base64.b64encode(stamp(WORLD.issuer.authority(folder), data).dump()).decode()
    held = f"{before}<xades:EncapsulatedTimeStamp>{token}</xades:EncapsulatedTimeStamp>"
    return detached_xades(WORLD.signer, FILES, stamps=f"<xades:{kind}>{held}</xades:{kind}>")


def _included(*ranks: int) -> str:
    return "".join(f'<xades:Include URI="#r{rank}"></xades:Include>' for rank in ranks)


@pytest.mark.parametrize(
    ("kind", "data", "before", "expected"),
    [
        (_ALL, BOTH, "", PASSED),
        (_ALL, b"1 euro", "", COPIED),
        (_ALL, FILES["prix.csv"], "", COPIED),
        (_SOME, FILES["prix.csv"], _included(1), PASSED),
        (_SOME, BOTH, _included(0, 1), PASSED),
        (_SOME, BOTH, _included(1, 0), COPIED),
        (_SOME, FILES["acte.txt"], _included(1), COPIED),
        (_ALL, BOTH, _EXCLUSIVE, PASSED),
        (_ALL, b"1 euro", _EXCLUSIVE, COPIED),
    ],
)
def test_a_timestamp_of_the_content_is_of_this_content(
    kind: str, data: bytes, before: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    signed = _stamped(tmp_path, kind, data, before)
    assert verdict(judge(signed, tmp_path, WORLD.trust, detached=FILES)) == expected
