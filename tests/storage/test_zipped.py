"""The ZIP whose bytes are known beforehand: what others unpack, read in any ranges, over 4 GiB too."""

import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.zipped import Entry, ZipOf

AT = datetime(2026, 12, 1, 11, 30, 42)  # as on a clock
_BLOCK = 1024**2


def entry(name: str, data: bytes, at: datetime = AT) -> Entry:
    return Entry(
        name, len(data), zlib.crc32(data), at, lambda start, size: iter([data[start : start + size]])
    )


def zeros(name: str, size: int) -> Entry:
    """So many zero bytes, made as they are read."""
    crc, block = 0, bytes(_BLOCK)
    for _ in range(size // _BLOCK):
        crc = zlib.crc32(block, crc)
    crc = zlib.crc32(bytes(size % _BLOCK), crc)

    def read(start: int, length: int) -> Iterator[bytes]:
        while length:
            yield block[: min(length, _BLOCK)]
            length -= min(length, _BLOCK)

    return Entry(name, size, crc, AT, read)


_FILES = st.dictionaries(
    st.text(alphabet="abcé €/-.", min_size=1, max_size=20).filter(lambda name: not name.endswith("/")),
    st.binary(max_size=300),
    max_size=6,
)


@given(files=_FILES, cut=st.tuples(st.integers(0, 3000), st.integers(0, 3000)))
@settings(max_examples=150)
def test_any_range_is_that_of_the_whole_which_any_reader_unpacks(
    files: dict[str, bytes], cut: tuple[int, int]
) -> None:
    made = ZipOf([entry(name, data) for name, data in files.items()])
    whole = b"".join(made.open())
    assert made.size == len(whole)
    assert whole == b"".join(ZipOf([entry(name, data) for name, data in files.items()]).open())
    with zipfile.ZipFile(io.BytesIO(whole)) as read:
        assert read.testzip() is None
        assert {each.filename: read.read(each) for each in read.infolist()} == files
        assert {each.date_time for each in read.infolist()} <= {AT.timetuple()[:6]}
    start, length = cut
    assert b"".join(made.open(start, length)) == whole[start : start + length]
    assert b"".join(made.open(start)) == whole[start:]


@pytest.mark.parametrize("tool", ["unzip -tq", "7z t", "python3 -m zipfile -t"])
def test_other_programs_unpack_it(tool: str, tmp_path: Path) -> None:
    command = tool.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} n'est pas là")
    path = tmp_path / "dossier.zip"
    path.write_bytes(b"".join(ZipOf([entry("règlement.pdf", b"%PDF"), entry("vide", b"")]).open()))
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_over_four_gibibytes(tmp_path: Path) -> None:
    """Its sizes and offsets are those of ZIP64; only holes are written to this disk."""
    made = ZipOf([zeros("gros.bin", 2**32 + 5), entry("après.txt", b"fin"), entry("encore.txt", b"!")])
    path, at = tmp_path / "gros.zip", 0
    with path.open("wb") as file:
        file.truncate(made.size)
        for start in (0, 2**32):  # around the hole
            file.seek(start)
            length = 4096 if start == 0 else made.size - start
            for block in made.open(start, length):
                file.write(block)
                at += len(block)
    assert at == 4096 + made.size - 2**32
    with zipfile.ZipFile(path) as read:
        assert [each.file_size for each in read.infolist()] == [2**32 + 5, 3, 1]
        assert (read.read("après.txt"), read.read("encore.txt")) == (b"fin", b"!")
        with read.open("gros.bin") as inside:
            assert inside.read(10) == bytes(10)


def test_more_than_65535_entries() -> None:
    made = ZipOf([entry(str(number), b"") for number in range(65_536)])
    with zipfile.ZipFile(io.BytesIO(b"".join(made.open()))) as read:
        assert len(read.infolist()) == 65_536


def test_a_date_before_1980_is_1980() -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(ZipOf([entry("a", b"", datetime(1970, 1, 1))]).open()))) as read:
        assert read.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
