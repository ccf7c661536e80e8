"""What a clamd really does, asked with small files: its configuration cannot be read, only tried."""

import io
import re
import struct
import zipfile
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from storage.clamd import accepts, version
from storage.panel import TWO_GIB, Opinions, Panel, State, Verdict

MAX_AGE = timedelta(days=3)  # of the signatures
_LONG_MIB = 101  # more than the 100 MiB that clamd reads of a file by default
_DEPTH = 24  # archives in archives, more than clamd follows
# In two pieces, so that no antivirus takes this source for the test file itself.
_EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()


def shortcomings(url: str, *, now: datetime, largest: int = 0) -> list[str]:
    """What this daemon does not do and should, in French; `largest` file in bytes that it may be sent.

    Raises AntivirusUnavailable, ScanFailed.
    """
    found = []
    if _scan(url, _EICAR).state is not State.INFECTED:
        found.append("il ne reconnaît pas le fichier de test EICAR : sa base est vide ou n'est pas chargée")
    if _scan(url, _locked_zip()).state is not State.UNSCANNABLE:
        found.append("il dit saine une archive protégée par mot de passe (AlertEncrypted yes)")
    if _scan(url, _nested_zip()).state is not State.UNSCANNABLE:
        found.append("il dit sain ce qui dépasse ses limites (AlertExceedsMax yes)")
    if _scan(url, _locked_pdf()).state is not State.UNSCANNABLE:
        found.append("il dit sain un PDF protégé par mot de passe (AlertEncryptedDoc yes)")
    if _scan(url, _macro_book()).state is not State.UNSCANNABLE:
        found.append("il dit sain un classeur à macros (AlertOLE2Macros yes)")
    if _scan(url, _long_zip()).state is not State.INFECTED:
        found.append("il ne lit pas un fichier compressé jusqu'au bout (MaxFileSize 0, MaxScanSize 0)")
    if largest and not accepts(url, min(largest, TWO_GIB)):
        found.append(f"il refuse un fichier de {min(largest, TWO_GIB)} octets (StreamMaxLength 4000M)")
    dated = signatures_date(version(url))
    if dated is not None and now - dated > MAX_AGE:
        found.append(f"ses signatures datent du {dated:%d/%m/%Y} : freshclam ne tourne plus")
    return found


def signatures_date(engine: str) -> datetime | None:
    """The date in « ClamAV 1.4.6/27500/Mon Nov 24 09:30:12 2026 »; None for a base without date."""
    found = re.search(r"/(?:\w{3}) (\w{3} +\d+ \d\d:\d\d:\d\d \d{4})(?: #|$)", engine)
    try:
        return datetime.strptime(found[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def _scan(url: str, data: bytes) -> Verdict:
    """The daemon's own opinion, without what we unpack besides."""
    opinions = Opinions(Panel([url]).chosen())
    try:
        opinions.feed(data)
        return opinions.finish()
    finally:
        opinions.close()


def _zip(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def _locked_zip() -> bytes:
    """An archive that says that a password closes it: the flag is what an antivirus looks at."""
    data = bytearray(_zip("a.txt", b"x" * 64))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def _locked_pdf() -> bytes:
    """A PDF whose password nobody has."""
    keys = f"/Filter/Standard/V 1/R 2/Length 40/P -4/O<{'ab' * 32}>/U<{'cd' * 32}>"
    return (
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
        f"3 0 obj<<{keys}>>endobj\ntrailer<</Root 1 0 R/Encrypt 3 0 R/ID[<{'00' * 16}><{'00' * 16}>]>>\n"
        "startxref\n0\n%%EOF\n"
    ).encode()


def _macro_book() -> bytes:
    """The smallest workbook (MS-CFB, BIFF8) that says that it has a sheet of macros, and has none."""
    end, free, words = 0xFFFFFFFE, 0xFFFFFFFF, "<8s16sHHHHHHIIIIIIIIII"
    magic = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header = struct.pack(words, magic, b"", 0x3E, 3, 0xFFFE, 9, 6, 0, 0, 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)  # then: the table of sectors, the directory, the book
    table = struct.pack("<128I", 0xFFFFFFFD, end, *range(3, 10), end, *[free] * 118)

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        text, rest = name.encode("utf-16-le"), (0, 0, 0, start, size)
        known = (text, len(text) + 2, kind, 1, free, free, child, b"")
        return struct.pack("<64sHBBIII16sIQQIQ", *known, *rest)

    directory = entry("Root Entry", 5, 1, end, 0) + entry("Workbook", 2, free, 2, 4096)
    sheet = struct.pack("<IBBBB", 64, 0, 1, 1, 0) + b"M"  # BOUNDSHEET of type 1: Excel 4.0 macros
    book = struct.pack("<HHHHHHII", 0x809, 16, 0x600, 5, 0, 0, 0, 0)
    book += struct.pack("<HH", 0x85, len(sheet)) + sheet + struct.pack("<HH", 0x0A, 0)
    return header + table + directory.ljust(512, b"\0") + book.ljust(4096, b"\0")


@lru_cache(maxsize=1)
def _long_zip() -> bytes:
    """100 kB that unpack to more than clamd's default limits, what is found at their end."""
    out = io.BytesIO()
    info = zipfile.ZipInfo("a.bin", (2026, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w") as archive, archive.open(info, "w") as member:
        for _ in range(_LONG_MIB):
            member.write(bytes(1024**2))
        member.write(_EICAR)
    return out.getvalue()


def _nested_zip() -> bytes:
    data = b"x"
    for _ in range(_DEPTH):
        data = _zip("a.zip", data)
    return data
