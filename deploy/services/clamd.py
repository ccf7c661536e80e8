"""ClamAV's daemon with our own signature of the EICAR test file, and what its engine finds by itself."""

import hashlib

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
MaxScanTime 600000
MaxScanSize 0
MaxFileSize 0
MaxRecursion 17
MaxFiles 10000
AlertExceedsMax yes
AlertEncrypted yes
AlertEncryptedArchive yes
AlertEncryptedDoc yes
AlertOLE2Macros yes
MaxThreads 8
ReadTimeout 120
CommandReadTimeout 30
SelfCheck 3600
Bytecode no
ConcurrentDatabaseReload no
"""


class Clamd(Service):
    """`stream` is clamd's StreamMaxLength."""

    name = "ClamAV"
    programs = ("clamd",)
    packages = ("clamav-daemon",)

    def __init__(self, *, stream: str = "2000M") -> None:
        super().__init__()
        self.stream = stream

    def _start(self) -> None:
        for name in ("db", "log", "tmp"):
            (self.folder / name).mkdir()
        digest = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
        (self.folder / "db" / "test.hdb").write_text(f"{digest}:{len(EICAR)}:Eicar-Test-Signature\n")
        (self.folder / "db" / "test.ndb").write_text(f"Eicar-Test-Marker:0:*:{EICAR.hex()}\n")
        (port,) = free_ports(1)
        conf = self.folder / "clamd.conf"
        conf.write_text(_CONF.format(folder=self.folder, port=port, stream=self.stream))
        self.own()
        self.spawn("clamd", "-c", str(conf))
        self.wait(lambda: listening(port))
        self.url = f"tcp://127.0.0.1:{port}"
