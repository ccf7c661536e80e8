"""What the real services need of Debian, and its installation when this process may."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.services.brokers import RabbitMQ, Redis
from deploy.services.ceph import Ceph
from deploy.services.clamd import Clamd
from deploy.services.imap import Dovecot
from deploy.services.nginx import Nginx
from deploy.services.postgres import Postgres
from deploy.services.process import Service

SERVICES: tuple[type[Service], ...] = (Postgres, Ceph, Clamd, Redis, RabbitMQ, Nginx, Dovecot)
# program → Debian package, beyond the services
TOOLS = {
    "chromium": "chromium",
    "pdftotext": "poppler-utils",
    "pdfinfo": "poppler-utils",
    "pdfsig": "poppler-utils",
    "qpdf": "qpdf",
    "xmlsec1": "xmlsec1",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "softhsm2-util": "softhsm2",
    "zip": "zip",
    "nft": "nftables",
    "ip": "iproute2",
}
_POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """Debian packages that are needed and not there."""
    packages = [package for service in SERVICES if service.missing() for package in service.packages]
    return packages + [package for program, package in TOOLS.items() if shutil.which(program) is None]


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    """Debian starts a server when it installs it: our policy forbids it, unless the machine has its own."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def install() -> list[str]:
    """Install what is missing when root on Debian; returns what still misses."""
    wanted = missing()
    if not wanted:
        return []
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _say("pas le droit d'installer : " + " ".join(wanted))
        return wanted
    _say("installation de " + " ".join(wanted))
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    with _nothing_starts():
        subprocess.run([*apt, "update"], env=env, check=False, stdout=subprocess.DEVNULL)
        subprocess.run(
            [*apt, "install", "--no-install-recommends", *wanted],
            env=env,
            check=False,
            stdout=subprocess.DEVNULL,
        )
    return missing()


def _say(text: str) -> None:
    sys.stderr.write(f"deploy/test : {text}\n")
