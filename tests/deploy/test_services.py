"""The starters stop what they started."""

import os
from pathlib import Path

import pytest

from deploy.services.packages import SERVICES
from deploy.services.process import Service, ServiceFailed
from tests.conftest import absent


def _alive(folder: Path) -> list[str]:
    """Command lines of the processes that name this folder or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            folder_of_it = str((process / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in line + folder_of_it and int(process.name) != os.getpid():
            found.append(line)
    return found


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.name)
def test_a_service_starts_and_leaves_nothing(service: type[Service]) -> None:
    reason = service.missing()
    if reason:
        absent(reason)
    started = service()
    started.start()
    folder = started.folder
    assert _alive(folder)
    started.stop()
    assert _alive(folder) == []
    assert not folder.exists()


def test_what_is_not_installed_is_said_in_one_sentence() -> None:
    class Absent(Service):
        name, programs, packages = "Absent", ("no-such-program",), ("nothing",)

    assert "nothing" in str(Absent.missing())
    with pytest.raises(ServiceFailed):
        Absent().start()
