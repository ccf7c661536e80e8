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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


def descendants(pid: int) -> Iterator[int]:
    """Processes started by this one, and by those: some take a session of their own."""
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                yield child
                yield from descendants(child)


def _lives(pid: int) -> bool:
    """Whether it still runs: the threads of a killed process may outlive its leader for a moment."""
    try:
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        return threads > 1 or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@dataclass(frozen=True)
class _Started:
    """What it takes to start a process again."""

    program: str
    command: tuple[str, ...]
    env: dict[str, str] | None


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
        self._started: list[_Started] = []  # beside each of them
        self._answers: Callable[[], bool] = lambda: True

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
            log = self.log()
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
        self._started.append(_Started(command[0], command, env))
        return child

    def wait(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Until `ready`, while the children live. Raises ServiceFailed."""
        until, self._answers = time.monotonic() + seconds, ready
        while not ready():
            dead = [child for child in self._children if child.poll() is not None]
            if dead or time.monotonic() > until:
                raise ServiceFailed("arrêté aussitôt" if dead else f"muet après {seconds:.0f} s")
            time.sleep(0.02)

    def kill(self, *programs: str) -> None:
        """SIGKILL to every process of it, or of these programs, and to what they started: a fault."""
        chosen = [
            child
            for child, started in zip(self._children, self._started, strict=True)
            if not programs or started.program in programs
        ]
        doomed = [pid for child in chosen for pid in (child.pid, *descendants(child.pid))]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for child in chosen:
            child.wait()
        until = time.monotonic() + 10  # seconds
        while any(map(_lives, doomed)) and time.monotonic() < until:
            time.sleep(0.005)  # until the kernel has closed their files and ports

    def revive(self) -> None:
        """Start again what is dead, at the same addresses; returns once it answers. Raises ServiceFailed."""
        before = list(zip(self._children, self._started, strict=True))
        self._children, self._started = [], []
        for child, started in before:
            if child.poll() is None:
                self._children.append(child)
                self._started.append(started)
            else:
                self.spawn(*started.command, env=started.env)
        self.wait(self._answers)

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
        self._started.clear()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def log(self) -> str:
        """The end of what its processes said."""
        texts = []
        for path in sorted([*self.folder.glob("*.out"), *self.folder.glob("log/*")]):
            with contextlib.suppress(OSError):
                tail = path.read_text(errors="replace")[-1500:]
                texts.append(f"--- {path.name}\n{tail}")
        return "\n".join(texts)


def _postgresql() -> list[str]:
    return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
