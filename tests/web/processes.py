"""The processes of the Chromium that this one started: their memory, their sleep."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")


def processes() -> list[int]:
    """The Chromium that this process started: its browser, its renderers, its network service."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for status in PROC.glob("[0-9]*/status"):
        try:
            said = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        parents[int(said["Pid"])], names[int(said["Pid"])] = int(said["PPid"]), said["Name"]

    def ours(pid: int) -> bool:
        while pid and pid != os.getpid():
            pid = parents.get(pid, 0)
        return bool(pid)

    return sorted(pid for pid, name in names.items() if name.startswith("chrom") and ours(pid))


@contextmanager
def asleep() -> Iterator[None]:
    """As when the lid is closed: no process of the browser runs."""
    stopped = processes()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
