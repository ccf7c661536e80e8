"""Whatever the bytes, validation answers: in bounded time and memory, and it never says that they pass."""

import io
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signing.asic import read_asic
from signing.cades import read_cades
from signing.der import check_limits
from signing.validation import validate_isolated
from signing.xades import read_xades
from signing.zipped import ContainerRefused
from tests.signing.authority import NOW, World
from tests.signing.cms_cases import cades
from tests.signing.judged import judge
from tests.signing.pdf_cases import signed
from tests.signing.test_asic import container
from tests.signing.xml_cases import xades

WORLD = World()
OFFER = b"Acte d'engagement"
SAMPLES = {
    "CAdES": cades(WORLD.signer, OFFER, attached=True),
    "XAdES": xades(WORLD.signer),
    "ASiC": container("s", {"a.txt": OFFER, "META-INF/signature.p7s": cades(WORLD.signer, OFFER)}),
    "PAdES": signed(WORLD.signer),
}
BOUNDED = settings(
    max_examples=60,
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@BOUNDED
@given(data=st.binary(max_size=2000))
def test_no_parser_breaks_on_any_bytes(data: bytes, tmp_path: Path) -> None:
    read_cades(b"\x30" + data, "a.p7s", [])
    read_xades(b"<Signature>" + data, [])
    path = tmp_path / "a.asice"
    path.write_bytes(b"PK\x03\x04" + data)
    try:
        read_asic(path)
    except ContainerRefused as refused:
        assert str(refused)


@BOUNDED
@given(kind=st.sampled_from(sorted(SAMPLES)), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_never_makes_another_document_pass(
    kind: str, where: float, bit: int, tmp_path: Path
) -> None:
    """What still passes after a flip is what the signature does not need: the content is the same."""
    data = bytearray(SAMPLES[kind])
    data[int(where * len(data))] ^= 1 << bit
    report = judge(bytes(data), tmp_path, WORLD.trust)
    if report.indication == "TOTAL_PASSED" and kind in ("CAdES", "ASiC"):
        assert OFFER in data


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        # A number that is none, in a PDF; a name whose type is no type, in the signer's certificate.
        ("PAdES", b"/Size 30/", b"/Size ../"),
        ("CAdES", b"\x06\x03\x55\x04\x03\x0c\x0cJulie", b"\x60\x03\x55\x04\x03\x0c\x0cJulie"),
    ],
)
def test_what_the_fuzzer_found_gives_a_report(kind: str, good: bytes, bad: bytes, tmp_path: Path) -> None:
    data = SAMPLES[kind]
    assert good in data
    report = judge(data.replace(good, bad), tmp_path, WORLD.trust)
    assert report.indication in ("INDETERMINATE", "TOTAL_FAILED")


@BOUNDED
@given(kind=st.sampled_from(sorted(SAMPLES)), keep=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_never_passes(kind: str, keep: float, tmp_path: Path) -> None:
    data = SAMPLES[kind][: int(keep * len(SAMPLES[kind]))]
    if kind == "PAdES" and SAMPLES[kind].rstrip() == data.rstrip():
        return
    assert judge(data, tmp_path, WORLD.trust).indication != "TOTAL_PASSED"


def _nested(size: int) -> bytes:
    """ASN.1 of indefinite lengths, nested as deep as it is long."""
    head = bytes.fromhex("308006092a864886f70d010702a080")
    return head + b"\x30\x80" * ((size - len(head)) // 2)


def _laughs() -> bytes:
    rows = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10 if n else b"lol") for n in range(20))
    return b"<!DOCTYPE Signature [" + rows + b"]><Signature>&a19;</Signature>"


def _deep_xml() -> bytes:
    return b"<Signature>" + b"<a>" * 3_000_000


def _bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/signatures.xml", bytes(400 * 1024 * 1024))
    return out.getvalue()


@pytest.mark.parametrize(
    "make",
    [lambda: _nested(100 * 1024 * 1024), _laughs, _deep_xml, _bomb],
    ids=["ASN.1", "DTD", "XML", "ZIP"],
)
def test_what_would_exhaust_the_machine_is_bounded(make: "object", tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(make())  # type: ignore[operator]
    report = validate_isolated(path, at=NOW, trust=[])
    assert report.indication in {"", "INDETERMINATE"}
    assert report.reason or report.signatures[0].reason


def test_the_limits_of_asn1_are_walked_without_recursion() -> None:
    with pytest.raises(ValueError, match="too many or too deep"):
        check_limits(_nested(10_000))
