"""What is sealed opens as it was; whatever is touched is refused."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signing.envelope import check_ids, open_ek, sealed_size, unseal
from signing.errors import HeaderRefused, SigningError, StanzaRefused
from signing.header import parse_header
from signing.keys import new_seed
from tests.signing.conftest import IDS, Sealed, make

EDGES = [0, 1, 16383, 16384, 16385, 32768, 3 * 1024 * 1024 + 7]


@pytest.mark.parametrize("size", EDGES)
def test_a_file_of_any_size_opens_as_it_was(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    sealed = make(tmp_path, [data])
    unseal(sealed.folder, sealed.ek, tmp_path / "out")
    assert (tmp_path / "out" / "1.bin").read_bytes() == data
    assert (sealed.folder / "1.cob").stat().st_size == sealed_size(size)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40_000), min_size=1, max_size=5))
def test_any_files_open_as_they_were(tmp_path_factory: pytest.TempPathFactory, plain: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("envelope")
    sealed = make(folder, plain)
    unseal(sealed.folder, sealed.ek, folder / "out")
    assert [(folder / "out" / f"{n}.bin").read_bytes() for n in range(1, len(plain) + 1)] == plain


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["0.cob", "1.cob", "2.cob", "3.cob", "t.cob", "keys.bin", "header.json"]),
    where=st.floats(0, 0.9999),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, where: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    sealed = make(folder, [b"a" * 20_000, b"", b"b" * 10])
    path = sealed.folder / name
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(bytes(data))
    with pytest.raises(SigningError):
        header, keys = (sealed.folder / "header.json").read_bytes(), (sealed.folder / "keys.bin").read_bytes()
        ek = open_ek(header, keys, committee_seed=sealed.committee, platform_seed=sealed.platform)
        unseal(sealed.folder, ek, folder / "out")


@pytest.mark.parametrize("name", ["0.cob", "1.cob", "3.cob", "t.cob", "keys.bin"])
def test_a_truncated_object_is_refused(sealed: Sealed, tmp_path: Path, name: str) -> None:
    path = sealed.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SigningError):
        ek = open_ek(
            sealed.envelope.header,
            (sealed.folder / "keys.bin").read_bytes(),
            committee_seed=sealed.committee,
            platform_seed=sealed.platform,
        )
        unseal(sealed.folder, ek, tmp_path / "out")


def test_swapped_files_are_refused(tmp_path: Path) -> None:
    sealed = make(tmp_path, [b"a" * 100, b"b" * 100])
    one, two = sealed.folder / "1.cob", sealed.folder / "2.cob"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    with pytest.raises(SigningError):
        unseal(sealed.folder, sealed.ek, tmp_path / "out")


def test_a_file_of_another_envelope_is_refused(tmp_path: Path) -> None:
    mine, other = make(tmp_path / "a", [b"a" * 100]), make(tmp_path / "b", [b"a" * 100])
    (mine.folder / "1.cob").write_bytes((other.folder / "1.cob").read_bytes())
    with pytest.raises(SigningError):
        unseal(mine.folder, mine.ek, tmp_path / "out")


@pytest.mark.parametrize("who", ["committee", "platform"])
def test_both_halves_are_needed(sealed: Sealed, who: str) -> None:
    seeds = {"committee_seed": sealed.committee, "platform_seed": sealed.platform, f"{who}_seed": new_seed()}
    with pytest.raises(StanzaRefused):
        open_ek(sealed.envelope.header, sealed.envelope.keys, **seeds)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(IDS)])
def test_an_envelope_is_bound_to_each_of_its_ids(sealed: Sealed, name: str) -> None:
    check_ids(sealed.envelope.header, IDS)
    with pytest.raises(HeaderRefused, match=name):
        check_ids(sealed.envelope.header, dataclasses.replace(IDS, **{name: "2"}))


def test_a_relabelled_header_no_longer_opens(sealed: Sealed) -> None:
    value = json.loads(sealed.envelope.header)
    value["lot"] = "2"
    relabelled = json.dumps(value, separators=(",", ":")).encode()
    with pytest.raises(StanzaRefused):
        open_ek(
            relabelled, sealed.envelope.keys, committee_seed=sealed.committee, platform_seed=sealed.platform
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"pli/1"', b'"pli/2"'),
        lambda text: text.replace(b'"files":', b'"extra":1,"files":'),
        lambda text: text.replace(b'{"v"', b'{"v":"pli/1","v"'),
        lambda text: text.replace(b'"lot":"1"', '"lot":"é"'.encode()),
        lambda text: text.replace(b'"files":3', b'"files":true'),
        lambda text: text.replace(b'"files":3', b'"files":-1'),
        lambda text: text + b" " * 70_000,
        lambda text: b"",
        lambda text: b"[]",
        lambda text: b"\xff\xfe",
        lambda text: b"[" * 5000,
    ],
)
def test_a_header_outside_the_specification_is_refused(sealed: Sealed, change: object) -> None:
    hostile = change(sealed.envelope.header)  # type: ignore[operator]
    assert hostile != sealed.envelope.header
    with pytest.raises(HeaderRefused):
        parse_header(hostile)


def test_a_file_that_grows_while_it_is_sealed_is_refused(tmp_path: Path) -> None:
    from signing.envelope import Source, seal
    from signing.errors import ManifestRefused
    from signing.keys import public_key

    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 3_000_000)

    def grow(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"y")

    key = public_key(new_seed())
    with pytest.raises(ManifestRefused):
        seal(
            [Source(path, "a.log")],
            ids=IDS,
            committee=key,
            platform=key,
            ceremony="0" * 64,
            out=tmp_path / "s",
            progress=grow,
        )
