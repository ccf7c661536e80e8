"""The transmission service, whole, on this machine: ministry, web process, worker, nginx and certificates.

`python -m deploy.transmission [--out DIR]` starts it, writes what a client needs in DIR/client.json (address,
authority, certificates as PEM and PKCS#12, logins), and stays until it is stopped.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path

from dematmp.demo.runtime import ROOT, Processes, fresh, wait_for
from deploy.services.nginx import Nginx
from deploy.services.pki import P12_PASSWORD, Held, TestAuthority
from deploy.services.process import free_ports

SIREN = "123456789"


class Stack:
    """Every process of it, in a folder; `start` and `stop`, and `restart` for one of them."""

    def __init__(
        self, folder: Path, *, delay: float = 1.0, rgs: bool = False, worker: bool = True, **settings: str
    ) -> None:
        self.folder, self.delay, self.worker = folder, delay, worker
        self.pki = TestAuthority(folder / "pki")
        self.stranger = TestAuthority(folder / "pki", "autre")
        self.between = TestAuthority(folder / "pki", "intermediaire", above=self.pki)
        self.web_port, self.ministry_port = free_ports(2)
        self.secret = secrets.token_urlsafe(24)
        self.ministry_tls = self.pki.server("ministere")
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "dematmp.settings.dev",
            "DEMATMP_STATE_DIR": str(folder / "state"),
            "DEMATMP_SECRETS_DIR": str(folder / "state" / "secrets"),
            "DEMATMP_ALLOWED_HOSTS": "localhost,127.0.0.1",
            "DEMATMP_ANTIVIRUS_URL": os.environ.get("DEMATMP_ANTIVIRUS_URL", "none"),
            "DEMATMP_ACTES_FRONT_SECRET": self.secret,
            "DEMATMP_ACTES_MINISTRY_URL": f"https://localhost:{self.ministry_port}/",
            "DEMATMP_ACTES_MINISTRY_CA": str(self.pki.held.pem),
            "DEMATMP_ACTES_MINISTRY_CERTIFICATE": str(self.pki.client("tdt").pem),
            "DEMATMP_ACTES_MINISTRY_KEY": str(folder / "pki" / "tdt.key"),
            "DEMATMP_ACTES_RETURN_BOX": f"maildir://{folder / 'Maildir'}",
            "DEMATMP_ACTES_RETRY_SECONDS": "2",
            "DEMATMP_ACTES_SWEEP_SECONDS": "0.5",
            "DEMATMP_ACTES_GRACE_SECONDS": "10",
            **({"DEMATMP_ACTES_RGS": str(self.pki.held.pem)} if rgs else {}),
            **settings,
        }
        self.children = Processes(folder / "logs", self.environment)
        self.started: list[subprocess.Popen[bytes]] = []  # web and worker
        application = f"http://127.0.0.1:{self.web_port}"
        self.nginx = Nginx(application, self.pki, secret=self.secret, between=[self.between])

    def manage(self, *command: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT, env={**self.environment, **more}, check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def account(self, held: Held, *, login: str = "", siren: str = SIREN, **more: str) -> None:
        """An account of the service for a certificate; its password is its login's name."""
        options = {
            "siren": siren, "authority": "Ville d'Essai", "department": "034", "name": held.name.capitalize(),
            "email": f"{held.name}@ville.example.fr", "certificate": str(held.pem), **more,
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        arguments += ["--login", login] if login else []
        self.manage("acts_account", *arguments, DEMATMP_ACTS_PASSWORD=login)

    def start(self) -> "Stack":
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        self.manage("migrate", "--verbosity", "0", "--skip-checks")
        self.manage("platform_keys", "--skip-checks")
        self.start_ministry()
        self.start_web()
        if self.worker:
            self.start_worker()
        self.nginx.start()
        wait_for(f"http://127.0.0.1:{self.web_port}/api/v1/time")
        return self

    def start_ministry(self) -> subprocess.Popen[bytes]:
        return self.children.start(
            "ministere", sys.executable, "-m", "deploy.ministry", "--port", str(self.ministry_port),
            "--state", str(self.folder / "ministere"), "--maildir", str(self.folder / "Maildir"),
            "--delay", str(self.delay), "--tls", str(self.ministry_tls.pem), str(self.ministry_tls.key_pem),
            "--clients", str(self.pki.held.pem),
        )  # fmt: skip

    def start_web(self) -> subprocess.Popen[bytes]:
        return self._platform(
            "web", sys.executable, "-m", "gunicorn", "dematmp.wsgi", "--bind", f"127.0.0.1:{self.web_port}",
            "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--timeout", "300",
            "--no-control-socket",
        )  # fmt: skip

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self._platform(
            "worker", sys.executable, "-m", "celery", "-A", "dematmp", "worker", "-B",
            "-s", str(self.folder / "beat"), "-c", "2", "-l", "warning",
            "--without-gossip", "--without-mingle",
        )  # fmt: skip

    def _platform(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        child = self.children.start(name, *command)
        self.started.append(child)
        return child

    def stop(self) -> None:
        self.nginx.stop()
        self.children.stop()


def _people(stack: Stack) -> dict[str, object]:
    """The accounts of a demonstration, and what a client needs to be each of them."""
    alone, shared, archivist = (stack.pki.client(name) for name in ("lea", "partage", "archiviste"))
    revoked, expired = stack.pki.client("revoque"), stack.pki.client("perime", expired=True)
    stranger = stack.stranger.client("etranger")
    stack.pki.revoke(revoked)
    stack.account(alone)
    stack.account(shared, login="paul")
    stack.account(shared, login="zoe", permission="CS")
    stack.account(archivist, role="ARCH", permission="RO")
    stack.account(stack.pki.client("admin"), role="ADM")
    held = {"seul": alone, "partage": shared, "archiviste": archivist, "revoque": revoked,
            "perime": expired, "autre_autorite": stranger}  # fmt: skip
    return {
        "authority": {"siren": SIREN, "department": "034", "district": "1", "nature": "31"},
        "ca": str(stack.pki.held.pem),
        "p12_password": P12_PASSWORD,
        "logins_of_the_shared_certificate": {"paul": "paul", "zoe": "zoe"},
        "certificates": {
            name: {"pem": str(each.pem), "key": str(each.key_pem), "p12": str(each.p12)}
            for name, each in held.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.transmission")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "s2low")
    parser.add_argument("--delay", type=float, default=1.0, help="secondes avant chaque réponse du ministère")
    parser.add_argument("--rgs", action="store_true", help="n'accepter que les certificats de l'autorité")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = options.out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / "client.json").exists():
        parser.error(f"{out} n'est pas vide, et n'est pas d'une exécution précédente")
    stack = Stack(fresh(out), delay=options.delay, rgs=options.rgs)
    try:
        (stack.folder / "state").mkdir(parents=True, exist_ok=True)
        stack.manage("migrate", "--verbosity", "0", "--skip-checks")
        stack.manage("platform_keys", "--skip-checks")
        known = _people(stack)
        stack.start()
        known["url"] = stack.nginx.url
        known["ministry"] = f"https://localhost:{stack.ministry_port}/"
        (stack.folder / "client.json").write_text(json.dumps(known, ensure_ascii=False, indent=1))
        sys.stdout.write(json.dumps(known, ensure_ascii=False, indent=1) + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        stack.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
