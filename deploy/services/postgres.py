"""PostgreSQL: a cluster of its own, trust on loopback."""

import subprocess

from deploy.services.process import Service, free_ports


class Postgres(Service):
    """`durable=True` keeps fsync, as benchmarks and crash tests need."""

    name = "PostgreSQL"
    programs = ("initdb", "postgres", "pg_isready")
    packages = ("postgresql-15",)
    account = "postgres"

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable
        self.port = 0

    def _start(self) -> None:
        self.own()
        data = str(self.folder / "data")
        self.run(
            "initdb", "-D", data, "-U", "app", "-A", "trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8"
        )
        (self.port,) = free_ports(1)
        # After a crash, one syncfs instead of an fsync of each file.
        fast = ["-c", "recovery_init_sync_method=syncfs"] if self.durable else ["-F"]
        listen = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        self.spawn("postgres", "-D", data, *listen, *fast, "-c", "max_connections=200")
        self.wait(self._ready)
        self.url = f"postgres://app@127.0.0.1:{self.port}/postgres"

    def _ready(self) -> bool:
        probe = [
            self.find("pg_isready") or "pg_isready",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "app",
        ]
        return subprocess.run(probe, check=False).returncode == 0
