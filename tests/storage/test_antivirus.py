"""What a real clamd says, and an honest word for what it could not scan."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from deploy.services.clamd import EICAR, Clamd
from storage.antivirus import State, scan
from storage.errors import AntivirusUnavailable


@pytest.fixture
def antivirus(clamd: Clamd, settings: Settings) -> None:
    settings.ANTIVIRUS_URL = clamd.url


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", data)
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


def test_an_archive_that_the_engine_does_not_unpack_is_not_called_clean(
    antivirus: None, tmp_path: Path
) -> None:
    assert scan([zip64(EICAR * 50, tmp_path)]).state is State.UNSCANNABLE


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


def test_without_antivirus_nothing_is_called_clean(settings: Settings) -> None:
    settings.ANTIVIRUS_URL = "none"
    assert scan([EICAR]).state is State.NOT_SCANNED


@pytest.mark.parametrize("url", ["", "tcp://127.0.0.1:9", "unix:///nulle/part"])
def test_an_antivirus_that_is_down_says_so(settings: Settings, url: str) -> None:
    settings.ANTIVIRUS_URL = url
    with pytest.raises(AntivirusUnavailable):
        scan([b"x"])
