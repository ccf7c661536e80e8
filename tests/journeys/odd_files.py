"""Files that a committee could not read, made byte by byte: what preflight must say of each."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import typst
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import copy_into_new_writer

GIB = 1024**3


def pdf(pages: int = 1) -> bytes:
    """A PDF of so many pages."""
    source = "#set document(date: none)\n" + "\n#pagebreak()\n".join(f"Page {each}" for each in range(pages))
    made = typst.compile(source.encode())
    assert isinstance(made, bytes)
    return made


def locked_pdf(*, user: str, owner: str = "patron") -> bytes:
    """AES-256; with an empty `user` anybody opens it."""
    writer = copy_into_new_writer(PdfFileReader(io.BytesIO(pdf())))
    writer.encrypt(owner_pass=owner, user_pass=user)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def objects_pdf(*objects: str) -> bytes:
    """A PDF of these objects, the first being its catalog."""
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
    return out + f"{end}<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(out)}\n%%EOF\n".encode()


def pageless_pdf() -> bytes:
    return objects_pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 0>>")


def large_pdf(*, damaged: bool) -> bytes:
    """About 80 MB; damaged, its table of objects is not where it says: a reader must search everything."""
    stream = f"<</Length 80000000>>\nstream\n{'a' * 80_000_000}\nendstream"
    pages = ("<</Type/Pages/Kids[3 0 R]/Count 1>>", "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>")
    made = objects_pdf("<</Type/Catalog/Pages 2 0 R>>", *pages, stream)
    return made.replace(b"startxref\n", b"startxref\n9") if damaged else made


def endless_pdf() -> bytes:
    """Half a megabyte that keeps a reader busy for minutes: each object is a string up to the file's end."""
    return b"%PDF-1.7\n" + b"1 0 obj\n(\n" * 50_000 + b"%%EOF\n"


def archive(**files: bytes) -> bytes:
    """A deflated ZIP; an underscore in a keyword stands for the dot of the name."""
    return archive_of({name.replace("_", "."): data for name, data in files.items()})


def archive_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def zip64() -> bytes:
    """One small file, written as if it could be larger than 4 GiB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made, made.open("plan.txt", "w", force_zip64=True) as entry:
        entry.write(b"plan")
    data = out.getvalue()
    end = data.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack("<H2L", data[end + 10 : end + 20])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:end] + record + locator + last


def locked_archive(password: bytes) -> bytes:
    """PKWARE's traditional encryption (APPNOTE.TXT §6.1)."""
    data, keys = b"contenu de la note", [0x12345678, 0x23456789, 0x34567890]

    def crc(value: int, byte: int) -> int:
        return zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def turn(byte: int) -> None:
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    for byte in password:
        turn(byte)
    sealed = bytearray()
    for byte in bytes(11) + bytes([zlib.crc32(data) >> 24]) + data:
        mask = (keys[2] | 2) & 0xFFFF
        sealed.append(byte ^ ((mask * (mask ^ 1)) >> 8 & 0xFF))
        turn(byte)
    name = b"note.txt"
    common = struct.pack("<5H3L2H", 20, 1, 0, 0, 33, zlib.crc32(data), len(sealed), len(data), len(name), 0)
    local = b"PK\x03\x04" + common + name + bytes(sealed)
    central = b"PK\x01\x02\x14\x00" + common + struct.pack("<3H2L", 0, 0, 0, 0, 0) + name
    return local + central + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(central), len(local), 0)


def damaged_archive() -> bytes:
    """One bit of the content flipped: the directory says nothing of it, the check sum does."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        made.writestr("plan.txt", b"plan de masse")
    return out.getvalue().replace(b"plan de masse", b"plan de massf")


def write_bomb(path: Path, size: int = GIB) -> None:
    """About a megabyte that becomes `size` bytes of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("plan.bin", "w") as entry:
        for _ in range(size // 1024**2):
            entry.write(bytes(1024**2))


def liar(size: int) -> bytes:
    """An archive whose file declares one kilobyte and holds `size` zeros."""
    data = bytearray(archive_of({"a.txt": bytes(size)}))
    struct.pack_into("<L", data, 22, 1024)
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 1024)
    return bytes(data)


def old_office(stream: str) -> bytes:
    """The container of Office files before 2007, with a stream of this name in its directory (MS-CFB)."""
    name = stream.encode("utf-16-le")
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1016) + name.ljust(128, b"\0") + bytes(896)
