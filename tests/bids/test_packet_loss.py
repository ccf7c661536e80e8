"""A network that loses five packets in a hundred between everybody and the store only takes longer."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, absent, whole_matrix

pytestmark = pytest.mark.services
_LINK = "ip link set lo up"


@whole_matrix
def test_a_deposit_through_a_network_that_loses_packets() -> None:
    """The test of `lossy.py`, in a network namespace: no rule of this machine's own network is touched."""
    alone = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    tools = all(
        shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") for tool in ("unshare", "nft", "ip")
    )
    if not tools or subprocess.run([*alone, "sh", "-c", _LINK], check=False).returncode:
        absent("Perte de paquets : il faut unshare, ip et nft (paquets Debian : iproute2 nftables)")
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/bids/lossy.py")
    done = subprocess.run(
        [*alone, "sh", "-c", f'{_LINK} && exec "$@"', "sh", *command],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout
