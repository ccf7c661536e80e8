"""A figure and its reference; where the work is done; the best of several runs."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GB = 1024**3


@dataclass(frozen=True)
class Figure:
    """`value` and `reference_value` have the same unit; ratio is value / reference."""

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float

    def as_line(self) -> dict[str, object]:
        ratio = self.value / self.reference_value if self.reference_value else None
        return {
            "name": self.name,
            "value": round(self.value, 1),
            "unit": self.unit,
            "reference": self.reference,
            "reference_value": round(self.reference_value, 1),
            "ratio": round(ratio, 3) if ratio is not None else None,
        }


def best(work: Callable[[], object], *, runs: int = 3) -> float:
    """Seconds of the fastest run."""
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@contextmanager
def workplace(room: int) -> Iterator[Path]:
    """A folder in memory where there is `room` (bytes) for it, else on disk; removed at the end."""
    memory = Path("/dev/shm")
    there = memory.is_dir() and shutil.disk_usage(memory).free > room
    folder = Path(tempfile.mkdtemp(prefix="dematmp-bench-", dir=memory if there else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
