"""ClamAV's daemon with our own signature of the EICAR test file, and what its engine finds by itself."""

import hashlib
from pathlib import Path

from deploy.services.process import Service, free_ports, listening

# In two pieces, so that no antivirus takes this source for the test file itself.
EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()
_CONF = """
TCPAddr 127.0.0.1
TCPSocket {port}
DatabaseDirectory {folder}/db
LogFile {folder}/log/clamd.log
TemporaryDirectory {folder}/tmp
Foreground yes
StreamMaxLength {stream}
Bytecode no
ConcurrentDatabaseReload no
"""
_SHIPPED = Path(__file__).resolve().parents[1] / "clamav" / "clamd.conf"


class Clamd(Service):
    """The settings shipped in deploy/clamav.

    `stream` is StreamMaxLength, `without` the lines left out, `also` bytes that this base knows besides.
    """

    name = "ClamAV"
    programs = ("clamd",)
    packages = ("clamav-daemon",)

    def __init__(self, *, stream: str = "2000M", without: tuple[str, ...] = (), also: bytes = b"") -> None:
        super().__init__()
        self.stream, self.without, self.also = stream, without, also

    def _start(self) -> None:
        for name in ("db", "log", "tmp"):
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
        own = _CONF.format(folder=self.folder, port=port, stream=self.stream)
        conf.write_text("\n".join([*shipped, own]))
        self.own()
        self.spawn("clamd", "-c", str(conf))
        self.wait(lambda: listening(port))
        self.url = f"tcp://127.0.0.1:{port}"
