"""The prefecture's side of the play.

A gateway in its own process, reached by real HTTP. Needs no Django set-up.
"""

import secrets
import sys
from pathlib import Path

from dematmp.demo.runtime import Processes, free_port, wait_for

_DELAY = "1.5"  # seconds before the control authority answers


def start_gateway(state: Path, logs: Path, environment: dict[str, str]) -> tuple[Processes, dict[str, str]]:
    """Start the gateway; its process and the settings by which the platform reaches it."""
    login, password = "dematmp", secrets.token_urlsafe(12)
    own = {
        "GATEWAY_STATE": str(state),
        "GATEWAY_LOGIN": login,
        "GATEWAY_PASSWORD": password,
        "GATEWAY_DELAY": _DELAY,
    }
    processes = Processes(logs, {**environment, **own})
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "dematmp.acts.gateway:build()",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    processes.start("prefecture", *command, "--threads", "4", "--no-control-socket")
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/api/test-connexion.php")
    return processes, {
        "DEMATMP_S2LOW_URL": url,
        "DEMATMP_S2LOW_LOGIN": login,
        "DEMATMP_S2LOW_PASSWORD": password,
        "DEMATMP_S2LOW_POLL_SECONDS": "1",
    }
