"""Peak memory of a process that seals or unseals: flat whatever the size."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import chromium, deposit_memory
from tests.benchmarks.figures import GB, Figure, workplace
from tests.benchmarks.sealing import random_file, sealed

_PEAK = "\nimport resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
_SEAL = """
import sys
from pathlib import Path
from tests.benchmarks.sealing import sealed
sealed([Path(sys.argv[1])], Path(sys.argv[2]))
"""
_UNSEAL = """
import sys
from pathlib import Path
from signing.envelope import blocks, unseal_blocks
folder = Path(sys.argv[1])
header = (folder / "header.json").read_bytes()
for _ in unseal_blocks(bytes.fromhex(sys.argv[2]), header, 1, blocks(folder / "1.cob")):
    pass
"""


def _peak(code: str, *arguments: str) -> float:
    """MiB."""
    done = subprocess.run(
        [sys.executable, "-c", code + _PEAK, *arguments], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def figures() -> Iterator[Figure]:
    """At 1 GB and 4 GB; the reference is the same process on 16 MB."""
    with workplace(10 * GB) as folder:
        idle: dict[str, float] = {}
        for size, label in ((16 * 1024**2, ""), (GB, "1GB"), (4 * GB, "4GB")):
            plain = random_file(folder / "plain.bin", size)
            peaks = {"seal": _peak(_SEAL, str(plain), str(folder / "sealed"))}
            ek = sealed([plain], folder / "sealed")
            peaks["unseal"] = _peak(_UNSEAL, str(folder / "sealed"), ek)
            if not label:
                idle = peaks
                continue
            for name, peak in peaks.items():
                yield Figure(f"memory.{name}.{label}", peak, "MiB", "same process, 16 MB", idle[name])
            _clear(folder)
    yield from deposit_memory.figures()
    yield from chromium.memory_figures()


def _clear(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
