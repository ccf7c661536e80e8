"""Children in their own groups, with dropped privileges, in a folder of their own; all ended at the end."""

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


class ServiceFailed(Exception):
    """The service did not start; the message carries the end of its log."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on right now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Service:
    """One service: a private folder, its processes, its address; a context manager."""

    name = "service"
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    account = "nobody"  # who runs it when the starter is root
    patience = 8.0  # seconds between the polite signal and the other

    def __init__(self) -> None:
        self.folder = Path()
        self.url = ""
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def find(cls, program: str) -> str | None:
        """The program's path: Debian keeps some servers out of PATH."""
        places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/rabbitmq/bin", *_postgresql()]
        return shutil.which(program, path=os.pathsep.join(places))

    @classmethod
    def missing(cls) -> str | None:
        """None when it can start, else a French sentence."""
        absent = [program for program in cls.programs if cls.find(program) is None]
        if not absent:
            return None
        return f"{cls.name} : il manque {', '.join(absent)} (paquets Debian : {' '.join(cls.packages)})"

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers. Raises ServiceFailed, with nothing left behind."""
        absent = self.missing()
        if absent:
            raise ServiceFailed(absent)
        self.folder = Path(tempfile.mkdtemp(prefix=f"dematmp-{type(self).__name__.lower()}-"))
        self.folder.chmod(0o755)
        atexit.register(self.stop)
        try:
            self._start()
        except BaseException as failed:
            log = self._log()
            self.stop()
            if isinstance(failed, KeyboardInterrupt):
                raise
            raise ServiceFailed(f"{self.name} n'a pas démarré : {failed}\n{log}") from failed

    def _start(self) -> None:
        raise NotImplementedError

    def own(self) -> None:
        """Give the folder to the account that runs the service."""
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.account)
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, account.pw_uid, account.pw_gid)

    def command(self, *command: str) -> list[str]:
        """The command, with the starter's privileges dropped when it is root."""
        full = [self.find(command[0]) or command[0], *command[1:]]
        if os.geteuid() != 0:
            return full
        account = pwd.getpwnam(self.account)
        drop = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--inh-caps=-all"]
        return ["setpriv", *drop, "--", *full]

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Run to its end; raises CalledProcessError."""
        full = self.command(*command)
        done = subprocess.run(
            full, cwd=self.folder, env=env, check=False, capture_output=True, text=True, timeout=90
        )
        if done.returncode:
            raise ServiceFailed(f"{command[0]} a rendu {done.returncode} : {done.stderr[-800:]}")
        return done.stdout

    def spawn(self, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process that stays, in a group of its own, its output in the folder."""
        with (self.folder / f"{Path(command[0]).name}.out").open("ab") as out:
            child = subprocess.Popen(
                self.command(*command),
                cwd=self.folder,
                env=env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def wait(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Until `ready`, while the children live. Raises ServiceFailed."""
        until = time.monotonic() + seconds
        while not ready():
            dead = [child for child in self._children if child.poll() is not None]
            if dead or time.monotonic() > until:
                raise ServiceFailed("arrêté aussitôt" if dead else f"muet après {seconds:.0f} s")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to every process of it, now: what a fault does."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self._children:
            child.wait()

    def stop(self) -> None:
        """End every child and remove the folder; stopping twice is harmless."""
        for sign, seconds in ((signal.SIGTERM, self.patience), (signal.SIGKILL, 5.0)):
            for child in self._children:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, sign)
            until = time.monotonic() + seconds
            for child in self._children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.05, until - time.monotonic()))
            if all(child.poll() is not None for child in self._children):
                break
        self._children.clear()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def _log(self) -> str:
        texts = []
        for path in sorted([*self.folder.glob("*.out"), *self.folder.glob("log/*")]):
            with contextlib.suppress(OSError):
                tail = path.read_text(errors="replace")[-1500:]
                texts.append(f"--- {path.name}\n{tail}")
        return "\n".join(texts)


def _postgresql() -> list[str]:
    return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
