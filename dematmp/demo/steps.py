"""Steps with their durations, and the command line as the actors run it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dematmp.demo.runtime import ROOT


class Steps:
    """Prints each step with its duration in seconds and keeps them."""

    def __init__(self) -> None:
        self.timings: list[dict[str, object]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self.timings.append({"step": title, "seconds": round(seconds, 3)})
        self.say(f"  {seconds:6.2f} s  {title}")

    @staticmethod
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Refused(Exception):
    """The command line exited 1: its message."""


def command_line(server: str, token: Path, *arguments: str) -> dict[str, object]:
    """Run `python -m signing` as an actor does; raises Refused with what it printed."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "signing",
            "--server",
            server,
            "--token-file",
            str(token),
            "--json",
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    result = json.loads(done.stdout)
    return result if isinstance(result, dict) else {}
