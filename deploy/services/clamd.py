"""ClamAV's daemon with our own signature of the EICAR test file, and what its engine finds by itself."""

import hashlib
import socket
from pathlib import Path

from deploy.services.process import Service, free_ports, listening

# In two pieces, so that no antivirus takes this source for the test file itself.
EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()
_CONF = """
{listen}
DatabaseDirectory {folder}/db
LogFile {folder}/log/clamd.log
TemporaryDirectory {folder}/tmp
Foreground yes
Bytecode no
ConcurrentDatabaseReload no
"""
_SHIPPED = Path(__file__).resolve().parents[1] / "clamav" / "clamd.conf"


def _answers(path: Path) -> bool:
    """A socket has its name a moment before anybody listens to it."""
    with socket.socket(socket.AF_UNIX) as link:
        return link.connect_ex(str(path)) == 0


class Clamd(Service):
    """The settings shipped in deploy/clamav.

    `stream` is another StreamMaxLength, `scan_ms` another MaxScanTime, `without` the lines left out, `also`
    bytes that this base knows besides; `local` listens on a unix socket.
    """

    name = "ClamAV"
    programs = ("clamd",)
    packages = ("clamav-daemon",)

    def __init__(
        self,
        *,
        stream: str = "",
        scan_ms: int = 0,
        without: tuple[str, ...] = (),
        also: bytes = b"",
        local: bool = False,
    ) -> None:
        super().__init__()
        self.also, self.local = also, local
        other = {"StreamMaxLength": stream, "MaxScanTime": scan_ms}
        self.lines = [f"{name} {value}" for name, value in other.items() if value]
        self.without = (*without, *(name for name, value in other.items() if value))

    def _start(self) -> None:
        for name in ("db", "log", "tmp", "run"):
            (self.folder / name).mkdir()
        digest = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
        (self.folder / "db" / "test.hdb").write_text(f"{digest}:{len(EICAR)}:Eicar-Test-Signature\n")
        (self.folder / "db" / "test.ndb").write_text(f"Eicar-Test-Marker:0:*:{EICAR.hex()}\n")
        if self.also:
            (self.folder / "db" / "also.ndb").write_text(f"Test-Also:0:*:{self.also.hex()}\n")
        (port,) = free_ports(1)
        conf = self.folder / "clamd.conf"
        shipped = [
            line for line in _SHIPPED.read_text().splitlines() if line.split(" ")[0] not in self.without
        ]
        path = self.folder / "run" / "clamd.sock"
        listen = f"LocalSocket {path}" if self.local else f"TCPAddr 127.0.0.1\nTCPSocket {port}"
        own = _CONF.format(folder=self.folder, listen=listen)
        conf.write_text("\n".join([*shipped, *self.lines, own]))
        self.own()
        self.spawn("clamd", "-c", str(conf))
        self.wait(lambda: _answers(path) if self.local else listening(port))
        self.url = f"unix://{path}" if self.local else f"tcp://127.0.0.1:{port}"
