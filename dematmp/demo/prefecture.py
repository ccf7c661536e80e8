"""The prefecture's side of the play.

A ministry in its own process, reached by real HTTP, which answers by mail. Needs no Django set-up.
"""

import sys
from pathlib import Path

from dematmp.demo.runtime import Processes, free_port, wait_for

_DELAY = "1.5"  # seconds before the control authority answers


def start_ministry(state: Path, logs: Path, environment: dict[str, str]) -> tuple[Processes, dict[str, str]]:
    """Start the ministry; its process and the settings by which the platform's service reaches it."""
    processes = Processes(logs, environment)
    port, maildir = free_port(), state / "Maildir"
    processes.start(
        "ministere",
        sys.executable,
        "-m",
        "deploy.ministry",
        "--port",
        str(port),
        "--state",
        str(state / "ministere"),
        "--maildir",
        str(maildir),
        "--delay",
        _DELAY,
    )
    url = f"http://127.0.0.1:{port}/"
    wait_for(f"{url}received")
    return processes, {
        "DEMATMP_ACTES_MINISTRY_URL": url,
        "DEMATMP_ACTES_RETURN_BOX": f"maildir://{maildir.as_posix()}",
        "DEMATMP_ACTES_SWEEP_SECONDS": "1",
        "DEMATMP_ACTES_GRACE_SECONDS": "5",
        "DEMATMP_S2LOW_POLL_SECONDS": "1",
    }
