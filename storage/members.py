"""What an archive holds, unpacked by a child process within limits and scanned member by member."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from storage import unpack
from storage.errors import ScanFailed, WorkspaceFull, workspace
from storage.panel import GRAVITY, Opinions, Panel, State, Verdict

WALL_SECONDS = 2 * 3600.0


def scan_members(archive: IO[bytes], panel: Panel, *, everything: bool) -> Verdict | None:
    """The worst verdict on members; None when none had to be looked at.

    `everything`: all of them, else only those of ZIP64 archives, at any depth. Raises ScanFailed.
    """
    with workspace():
        archive.flush()
    archive.seek(0)
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(unpack.__file__)), "all" if everything else "zip64"],
        stdin=archive,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
    )
    late = threading.Timer(WALL_SECONDS, child.kill)
    late.start()
    try:
        return _read(child.stdout, panel)
    finally:
        late.cancel()
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def _read(out: IO[bytes] | None, panel: Panel) -> Verdict | None:
    worst: Verdict | None = None
    chosen: list[tuple[str, str]] = []
    while True:
        said = _frame(out)
        if said is None:
            found = ["dépliage interrompu par ses limites"]
        elif said.get("full"):
            raise WorkspaceFull("l'espace de travail est plein ou ne répond plus")
        elif said.get("end"):
            found = said["problems"]
        else:
            chosen = chosen or panel.chosen()  # asked once: thousands of members may follow
            verdict = _member(out, chosen)
            if worst is None or GRAVITY[verdict.state] > GRAVITY[worst.state]:
                name = f"{verdict.name} dans « {_shown(str(said['name']))} »"
                worst = Verdict(verdict.state, name, verdict.engine)
            if verdict.state is State.INFECTED:
                return worst
            continue
        if found and (worst is None or worst.state is State.CLEAN):
            return Verdict(State.UNSCANNABLE, f"archive : {', '.join(found)}", worst.engine if worst else "")
        return Verdict(State.CLEAN, "", worst.engine) if worst and worst.state is State.CLEAN else worst


def _shown(name: str) -> str:
    """A member's name as it can be kept and read: an archive may call it by any bytes."""
    return "".join(each if each.isprintable() else "\ufffd" for each in name)


def _exactly(out: IO[bytes] | None, size: int) -> bytes:
    data = out.read(size) if out else b""
    if len(data) < size:
        raise ScanFailed("le dépliage de l'archive s'est interrompu")
    return data


def _frame(out: IO[bytes] | None) -> dict[str, Any] | None:
    """None when the child stopped between two frames: killed by a limit."""
    size = out.read(4) if out else b""
    if len(size) < 4:
        return None
    return dict(json.loads(_exactly(out, int.from_bytes(size, "big"))))


def _blocks(out: IO[bytes] | None) -> Iterator[bytes]:
    while size := int.from_bytes(_exactly(out, 4), "big"):
        yield _exactly(out, size)


def _member(out: IO[bytes] | None, chosen: Sequence[tuple[str, str]]) -> Verdict:
    opinions = Opinions(chosen)
    try:
        for block in _blocks(out):
            opinions.feed(block)
        return opinions.finish()
    finally:
        opinions.close()
