"""Where an archive hides from a real clamd: behind other bytes, in its directory alone, in another kind."""

import errno
import io
import json
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.services.clamd import EICAR
from storage import members, unpack
from storage.antivirus import State, scan
from storage.errors import ScanFailed
from tests.storage.test_antivirus import antivirus, tarred, zip64, zipped  # noqa: F401

VIRUS = b"A" * 3000 + EICAR + b"B" * 50


def in_its_directory(data: bytes, name: bytes = b"a.bin") -> bytes:
    """ZIP64 in the directory alone: the local header says nothing, and the end is an ordinary one."""
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = made.compress(data) + made.flush()
    crc, size, whole = zlib.crc32(data), len(packed), len(data)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 8, 8, 0, 0x21, 0, 0, 0, len(name), 0) + name
    extra = struct.pack("<HHQQ", 1, 16, whole, size)
    row = (45, 45, 8, 8, 0, 0x21, crc, 2**32 - 1, 2**32 - 1, len(name), len(extra), 0, 0, 0, 0, 0)
    directory = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", *row) + name + extra
    body = local + packed + struct.pack("<4sIII", b"PK\7\x08", crc, size, whole)
    return body + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)


def in_cpio(data: bytes) -> bytes:
    out = b""
    for name, held in ((b"a.zip", data), (b"TRAILER!!!", b"")):
        numbers = (1, 0o100644, 0, 0, 1, 0, len(held), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % each for each in numbers) + name + b"\0"
        out += b"\0" * (-len(out) % 4) + held
        out += b"\0" * (-len(out) % 4)
    return out


def in_old_tar(data: bytes) -> bytes:
    """A tar of 1979, which nothing names."""
    info = tarfile.TarInfo("a.zip")
    info.size = len(data)
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT)[:512])
    header[257:265], header[148:156] = b"\0" * 8, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + b"\0" * (-len(data) % 512) + b"\0" * 1024


HIDDEN: dict[str, Callable[[Path], bytes]] = {
    "in a zip without its end": lambda _: zipped(b"bonjour" * 99)[:-30],
    "behind a program": lambda folder: b"MZ" + bytes(510) + zip64(VIRUS, folder),
    "behind a line": lambda folder: b"\n" + zip64(VIRUS, folder),
    "in its directory alone": lambda _: in_its_directory(VIRUS),
    "in a cpio": lambda folder: in_cpio(zip64(VIRUS, folder)),
    "in an old tar": lambda folder: in_old_tar(zip64(VIRUS, folder)),
    "behind a program, in a zip": lambda folder: zipped(b"MZ" + bytes(510) + zip64(VIRUS, folder)),
    "in a cpio, in a tar": lambda folder: tarred(in_cpio(zip64(VIRUS, folder))),
}


@pytest.mark.parametrize("case", HIDDEN)
@pytest.mark.usefixtures("antivirus")
def test_what_the_engine_passes_over_is_not_called_clean(case: str, tmp_path: Path) -> None:
    assert zipfile.ZipFile(io.BytesIO(in_its_directory(VIRUS))).read("a.bin") == VIRUS
    assert scan([HIDDEN[case](tmp_path)]).state in (State.INFECTED, State.UNSCANNABLE)


@pytest.mark.usefixtures("antivirus")
def test_what_has_nothing_of_the_kind_stays_clean() -> None:
    noise = b"PK\x06\x06" + bytes(60) + b"PK\x01\x02" + bytes(60) + b"PK\x03\x04" + bytes(60)
    for data in (noise, zipped(noise), in_old_tar(zipped(b"bonjour")), b"MZ" + bytes(510) + zipped(b"a")):
        assert scan([data]).state is State.CLEAN


def unpacked(data: bytes) -> tuple[unpack.Unpacker, bytes]:
    out = io.BytesIO()
    made = unpack.Unpacker(out)
    made.packed = len(data)
    made.walk(io.BytesIO(data), 1, emit=False)
    return made, out.getvalue()


def test_a_member_that_the_engine_cuts_in_silence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 2 GiB, ClamAV answers OK for an archive and looks at no more of the member."""
    assert unpacked(zipped(bytes(5000)))[0].problems == []
    monkeypatch.setattr(unpack, "TWO_GIB", 4000)
    assert "plus de 2 Gio" in unpacked(zipped(bytes(5000)))[0].problems[0]


@pytest.mark.usefixtures("antivirus")
def test_a_member_of_any_name_gives_a_verdict_that_can_be_kept(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        for name in ("devis-\xe9t\xe9.exe",):
            info = tarfile.TarInfo(name)
            info.size = len(VIRUS)
            archive.addfile(info, io.BytesIO(VIRUS))
    verdict = scan([zip64(out.getvalue(), tmp_path)])
    assert verdict.state is State.INFECTED
    assert verdict.name.encode()
    assert "devis-\ufffdt\ufffd.exe" in verdict.name
    assert members._shown("a\x00b\u202egpj.exe") == "a\ufffdb\ufffdgpj.exe"


@pytest.mark.usefixtures("antivirus")
def test_a_workspace_without_room_says_nothing_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is asked again: a full disk of ours is no fault of a bidder."""
    data = zip64(zipped(b"bonjour"), tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "plein")

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", full)
        with pytest.raises(ScanFailed, match="plein"):
            scan([data])
        with pytest.raises(OSError, match="plein"):
            unpacked(data)
    said = json.dumps({"full": True}).encode()
    with pytest.raises(ScanFailed, match="plein"):
        members._read(io.BytesIO(len(said).to_bytes(4, "big") + said), None)  # type: ignore[arg-type]
    assert scan([data]).state is State.CLEAN
