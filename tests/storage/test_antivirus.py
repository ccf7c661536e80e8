"""What a real clamd says, and an honest word for what it could not scan."""

import bz2
import gzip
import io
import lzma
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from pytest_django.fixtures import Settings

from deploy.services.clamd import EICAR, Clamd
from storage import members, unpack
from storage.antivirus import Panel, State, scan, scan_with
from storage.checks import antivirus_honest
from storage.clamd import load
from storage.errors import AntivirusUnavailable, ScanFailed
from storage.panel import TWO_GIB, Opinions


@pytest.fixture
def antivirus(clamd: Clamd, settings: Settings) -> None:
    settings.ANTIVIRUS_URL = clamd.url


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", data)
    return out.getvalue()


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.bin")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip64(data: bytes, folder: Path) -> bytes:
    """As `zip -fz` writes it: Python may drop the ZIP64 fields of small members."""
    (folder / "a.bin").write_bytes(data)
    subprocess.run(["zip", "-q", "-fz", "a.zip", "a.bin"], cwd=folder, check=True)
    return (folder / "a.zip").read_bytes()


def test_a_harmless_file_is_clean(antivirus: None) -> None:
    verdict = scan([b"bonjour"])
    assert verdict.state is State.CLEAN
    assert verdict.engine.startswith("ClamAV")


def test_the_test_virus_is_found(antivirus: None) -> None:
    assert scan([EICAR]).state is State.INFECTED


def test_it_is_found_across_two_blocks(antivirus: None) -> None:
    assert scan([EICAR[:30], EICAR[30:]]).state is State.INFECTED


def test_it_is_found_inside_an_archive(antivirus: None) -> None:
    assert scan([zipped(EICAR)]).state is State.INFECTED


def test_what_the_engine_does_not_unpack_is_unpacked_and_scanned(antivirus: None, tmp_path: Path) -> None:
    verdict = scan([zip64(EICAR * 50, tmp_path)])
    assert verdict.state is State.INFECTED
    assert "a.bin" in verdict.name
    assert scan([zip64(b"bonjour" * 500, tmp_path)]).state is State.CLEAN


@pytest.mark.parametrize("wrap", [zipped, gzip.compress, lzma.compress, bz2.compress, tarred])
def test_it_is_found_in_what_hides_it_from_the_engine(
    antivirus: None, tmp_path: Path, wrap: Callable[[bytes], bytes]
) -> None:
    """A ZIP64 in another archive, whose compression hides its structures from who reads the stream."""
    assert scan([wrap(wrap(zip64(EICAR * 50, tmp_path)))]).state is State.INFECTED
    assert scan([wrap(wrap(zip64(b"bonjour" * 500, tmp_path)))]).state is State.CLEAN


def test_more_members_than_the_engine_reads_are_scanned_by_us(antivirus: None) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(10_100):
            archive.writestr(f"{index}.txt", b"x")
        archive.writestr("last.bin", EICAR * 50)
    assert scan([out.getvalue()]).state is State.INFECTED


def test_too_many_archives_in_one_another_are_not_called_clean(antivirus: None) -> None:
    data = b"bonjour"
    for _ in range(25):
        data = zipped(data)
    verdict = scan([data])
    assert verdict.state is State.UNSCANNABLE
    assert "les unes dans les autres" in verdict.name


def test_more_entries_than_the_limit_are_not_called_clean(clamd: Clamd, settings: Settings) -> None:
    """The engine takes minutes over them: it gives up in time, and we count."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(unpack.MAX_ENTRIES + 1):
            archive.writestr(str(number), b"")
    with Clamd(scan_ms=3000) as hurried:
        settings.ANTIVIRUS_URL = hurried.url
        verdict = scan([out.getvalue()])
    assert verdict.state is State.UNSCANNABLE
    assert "plus de fichiers" in verdict.name


def test_more_bytes_than_the_limit_in_all_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: the real limit is 64 GiB."""
    monkeypatch.setattr(unpack, "MAX_TOTAL", 3 * 1024**2)
    out, archive = io.BytesIO(), zipped(os.urandom(4 * 1024**2))
    unpacker = unpack.Unpacker(out)
    unpacker.packed = len(archive)
    with pytest.raises(unpack.Stop, match="plus de données"):
        unpacker.walk(io.BytesIO(archive), 1, emit=True)
    assert len(out.getvalue()) < 4 * 1024**2


def test_the_process_that_unpacks_is_bounded_by_the_system(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(8 * 1024**2))  # more than a pipe holds: it waits for its reader
    with (tmp_path / "a.zip").open("rb") as held:
        command = [sys.executable, "-I", "-S", str(Path(unpack.__file__)), "all"]
        child = subprocess.Popen(command, stdin=held, stdout=subprocess.PIPE, env={})
    assert child.stdout is not None
    with child.stdout:
        child.stdout.read(1)
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        child.kill()
    child.wait()
    found = dict(re.findall(r"^Max (address space|cpu time|file size|core file size)\s+(\d+)", limits, re.M))
    wanted = (unpack.MAX_MEMORY, unpack.MAX_CPU, unpack.MAX_TOTAL, 0)
    names = ("address space", "cpu time", "file size", "core file size")
    assert found == dict(zip(names, map(str, wanted), strict=True))


def test_an_archive_that_takes_too_long_is_not_called_clean(
    antivirus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "WALL_SECONDS", 0.3)
    with (tmp_path / "a.bin").open("wb") as out:
        out.truncate(400 * 1024**2)
    subprocess.run(["zip", "-q", "-fz", "a.zip", "a.bin"], cwd=tmp_path, check=True)
    try:
        verdict = scan([(tmp_path / "a.zip").read_bytes()])
    except ScanFailed:  # cut in the middle of a member
        return
    assert verdict.state is State.UNSCANNABLE


def test_a_daemon_on_a_unix_socket(clamd: Clamd, settings: Settings) -> None:
    with Clamd(local=True) as local:
        settings.ANTIVIRUS_URL = local.url
        assert local.url.startswith("unix://")
        assert scan([b"bonjour"]).state is State.CLEAN
        assert scan([EICAR[:30], EICAR[30:]]).state is State.INFECTED
        settings.ANTIVIRUS_URL = f"{local.url} {clamd.url}"  # both kinds at once, the least busy first
        assert scan([EICAR]).state is State.INFECTED


def test_a_bomb_stops_at_its_limit(antivirus: None, tmp_path: Path) -> None:
    """A thousand times its size: unpacked no further than the floor of the ratio, in flat memory."""
    with (tmp_path / "a.bin").open("wb") as out:
        out.truncate(2 * 1024**3)
    subprocess.run(["zip", "-q", "-fz", "a.zip", "a.bin"], cwd=tmp_path, check=True)
    verdict = scan([(tmp_path / "a.zip").read_bytes()])
    assert verdict.state is State.UNSCANNABLE
    assert "sans mesure" in verdict.name


def test_a_damaged_archive_of_the_kind_is_not_called_clean(antivirus: None, tmp_path: Path) -> None:
    data = bytearray(zip64(b"bonjour" * 5000, tmp_path))
    data[86:100] = bytes(14)
    assert scan([bytes(data)]).state is State.UNSCANNABLE
    assert scan([bytes(data[: len(data) // 2])]).state is State.UNSCANNABLE


def test_a_locked_member_of_the_kind_is_not_called_clean(antivirus: None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"secret" * 100)
    subprocess.run(["zip", "-q", "-fz", "-P", "x", "a.zip", "a.txt"], cwd=tmp_path, check=True)
    assert scan([(tmp_path / "a.zip").read_bytes()]).state is State.UNSCANNABLE


ODD = b"connu de la seconde base seulement"


def test_two_bases_must_agree_that_it_is_clean(clamd: Clamd, settings: Settings) -> None:
    with Clamd(also=ODD) as second:
        settings.ANTIVIRUS_URL = f"{clamd.url}#une, {second.url}#deux"
        settings.ANTIVIRUS_AGREE = 2
        assert scan([b"bonjour"]).state is State.CLEAN
        verdict = scan([ODD])
        assert verdict.state is State.INFECTED
        assert "une autre base ne trouve rien" in verdict.name
        assert "#une" in verdict.engine
        assert "#deux" in verdict.engine
        settings.ANTIVIRUS_URL = f"{clamd.url}#une, {second.url}#une"
        with pytest.raises(AntivirusUnavailable, match="exigées"):
            scan([b"bonjour"])
        assert [each.id for each in antivirus_honest(None)] == ["storage.E005"]
    settings.ANTIVIRUS_URL = f"{clamd.url}#une, {second.url}#deux"
    with pytest.raises(AntivirusUnavailable):
        scan([b"bonjour"])


def test_the_least_busy_of_a_base_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = {"tcp://a:1": 7, "tcp://b:1": 0, "tcp://c:1": 3}
    monkeypatch.setattr("storage.panel.load", busy.__getitem__)
    monkeypatch.setattr("storage.panel.version", lambda _: "ClamAV 1/27500/Mon Nov 24 09:30:12 2026")
    assert {Panel(list(busy)).chosen()[0][0] for _ in range(20)} == {"tcp://b:1"}


@pytest.mark.parametrize("answer", [b"", b"\0", b"stream: what?\0", b"OK\0"])
def test_an_answer_that_nobody_knows_is_never_clean(answer: bytes) -> None:
    """Another service on this port, a daemon that is being stopped."""

    def serve(listening: socket.socket) -> None:
        for each in (b"ClamAV 1.4.6/1/Mon Nov 24 09:30:12 2026\0", answer):
            link, _ = listening.accept()
            with link:
                asked = link.recv(64)
                while each is answer and not asked.endswith(bytes(4)):
                    asked += link.recv(64)
                link.sendall(each)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=serve, args=(listening,), daemon=True).start()
        panel = Panel([f"tcp://127.0.0.1:{listening.getsockname()[1]}"])
        with pytest.raises(ScanFailed):
            scan_with(panel, [b"bonjour"])


def test_the_least_busy_is_asked_and_a_dead_one_is_passed_over(clamd: Clamd, settings: Settings) -> None:
    with Clamd(also=ODD) as second:
        settings.ANTIVIRUS_URL = f"tcp://127.0.0.1:9 {clamd.url} {second.url}"
        busy = [
            Thread(target=scan_with, args=(Panel([clamd.url]), [os.urandom(1024**2)] * 150)) for _ in range(3)
        ]
        for each in busy:
            each.start()
        while load(clamd.url) <= load(second.url) and any(each.is_alive() for each in busy):
            time.sleep(0.02)  # clamd counts a file once it has received it
        assert any(each.is_alive() for each in busy)
        assert scan([ODD]).state is State.INFECTED, "the busy one does not know it"
        for each in busy:
            each.join()


def test_an_encrypted_archive_is_not_called_clean(antivirus: None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"secret" * 100)
    done = subprocess.run(["zip", "-q", "-P", "x", "a.zip", "a.txt"], cwd=tmp_path, check=False)
    if done.returncode:
        pytest.fail("zip manque")
    assert scan([(tmp_path / "a.zip").read_bytes()]).state is State.UNSCANNABLE


@pytest.mark.usefixtures("clamd")
def test_a_stream_over_the_limit_is_not_called_clean(settings: Settings) -> None:
    with Clamd(stream="1M") as small:
        settings.ANTIVIRUS_URL = small.url
        assert scan([b"x" * 1024 * 1024] * 3).state is State.UNSCANNABLE


def test_what_the_engine_cannot_judge_is_neither_clean_nor_infected(clamd: Clamd) -> None:
    """Above 2 GiB it looks no further; macros are not a threat by themselves."""
    opinions = Opinions(Panel([clamd.url]).chosen())
    opinions.feed(b"bonjour")
    opinions.size = TWO_GIB + 1
    assert opinions.finish().state is State.UNSCANNABLE
    for name in (
        "OLE2.ContainsMacros.VBA",
        "Encrypted.Zip",
        "Limits.Exceeded.MaxFileSize",
        "Broken.Executable",
    ):
        assert opinions._read(f"stream: Heuristics.{name} FOUND").state is State.UNSCANNABLE
    assert opinions._read("stream: Heuristics.Phishing.Email FOUND").state is State.INFECTED


def test_without_antivirus_nothing_is_called_clean(settings: Settings) -> None:
    settings.ANTIVIRUS_URL = "none"
    assert scan([EICAR]).state is State.NOT_SCANNED


@pytest.mark.parametrize("url", ["", "tcp://127.0.0.1:9", "unix:///nulle/part"])
def test_an_antivirus_that_is_down_says_so(settings: Settings, url: str) -> None:
    settings.ANTIVIRUS_URL = url
    with pytest.raises(AntivirusUnavailable):
        scan([b"x"])
