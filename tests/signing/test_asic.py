"""ASiC containers: contents and signatures in one ZIP, and the tricks that a ZIP allows."""

import base64
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.signing.authority import World
from tests.signing.cms_cases import cades
from tests.signing.detached import detached_xades
from tests.signing.judged import judge, verdict

WORLD = World()
PASSED, FAILED, UNSURE = "TOTAL_PASSED", "TOTAL_FAILED", "INDETERMINATE"
FILES = {"acte.txt": b"Acte d'engagement", "prix.csv": b"lot;prix\n1;12000\n"}
ONE = {"acte.txt": FILES["acte.txt"]}
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_TYPES = {"s": "application/vnd.etsi.asic-s+zip", "e": "application/vnd.etsi.asic-e+zip"}


def container(kind: str, entries: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("mimetype"), _TYPES[kind])
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def manifest(files: Mapping[str, bytes], signature: str = "META-INF/signature.p7s") -> bytes:
    rows = "".join(
        f'<asic:DataObjectReference URI="{name}"><ds:DigestMethod Algorithm="{_SHA256}"/><ds:DigestValue>'
        f"{base64.b64encode(hashlib.sha256(data).digest()).decode()}</ds:DigestValue></asic:DataObjectReference>"
        for name, data in files.items()
    )
    return (
        '<asic:ASiCManifest xmlns:asic="http://uri.etsi.org/02918/v1.2.1#" '
        'xmlns:ds="http://www.w3.org/2000/09/xmldsig#">'
        f'<asic:SigReference URI="{signature}" MimeType="application/x-pkcs7-signature"/>{rows}'
        "</asic:ASiCManifest>"
    ).encode()


def _simple_cades(content: bytes = ONE["acte.txt"]) -> bytes:
    return container(
        "s", {"acte.txt": content, "META-INF/signature.p7s": cades(WORLD.signer, ONE["acte.txt"])}
    )


def _simple_xades() -> bytes:
    signature = detached_xades(WORLD.signer, ONE, container=True)
    return container("s", {**ONE, "META-INF/signatures.xml": signature})


def _extended_xades(files: Mapping[str, bytes] = FILES, *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    signature = detached_xades(WORLD.signer, FILES, container=True)
    return container("e", {**files, "META-INF/signatures.xml": signature}, method=method)


def _extended_cades(
    files: Mapping[str, bytes] = FILES, *, listed: Mapping[str, bytes] = FILES, signed: bytes | None = None
) -> bytes:
    said = manifest(listed)
    entries = {
        **files,
        "META-INF/ASiCManifest.xml": said,
        "META-INF/signature.p7s": cades(WORLD.signer, signed or said),
    }
    return container("e", entries)


def _no_manifest() -> bytes:
    return container("e", {**FILES, "META-INF/signature.p7s": cades(WORLD.signer, FILES["acte.txt"])})


def _twice() -> bytes:
    """The same name twice: some readers see the first, others the last."""
    data = _extended_xades(method=zipfile.ZIP_STORED)
    out = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("acte.txt", b"1 euro")
    return out.getvalue()


def _added(name: str) -> bytes:
    out = io.BytesIO(_extended_xades(method=zipfile.ZIP_STORED))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, b"1 euro")
    return out.getvalue()


def _local_name() -> bytes:
    """The local header and the directory give two names to the same bytes."""
    data = bytearray(_simple_xades())
    data[data.index(b"acte.txt") : data.index(b"acte.txt") + 8] = b"prix.txt"
    return bytes(data)


def _hidden() -> bytes:
    """Bytes between the entries, which a reader of local headers would take for a file."""
    data = _simple_xades()
    end = data.rindex(b"PK\x05\x06")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    hidden = b"PK\x03\x04" + b"\x00" * 26
    moved = data[:start] + hidden + data[start:end]
    return moved + data[end : end + 16] + struct.pack("<I", start + len(hidden)) + data[end + 20 :]


def _written_again(name: str, *, extra: bytes = b"", data: bytes | None = None) -> bytes:
    """A good container, one of whose entries is changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_simple_xades())) as read, zipfile.ZipFile(out, "w") as archive:
        for row in read.infolist():
            held = read.read(row.filename)
            if row.filename == name:
                row.extra, held = extra, held if data is None else data
            archive.writestr(row, held)
    return out.getvalue()


def _two_names() -> bytes:
    """A second name in an extra field, which some readers show instead of the first."""
    said = b"\x01" + struct.pack("<I", zlib.crc32(b"acte.txt")) + b"prix-1.txt"
    return _written_again("acte.txt", extra=struct.pack("<HH", 0x7075, len(said)) + said)


def _stored_for_streams() -> bytes:
    """The local header says that the entry is stored: a reader of streams takes other bytes."""
    data = bytearray(_extended_xades())
    at = data.index(b"acte.txt") - 30
    assert data[at + 8] == zipfile.ZIP_DEFLATED
    data[at + 8] = zipfile.ZIP_STORED
    return bytes(data)


def _after(method: int) -> bytes:
    """An entry longer than its own data, which end before."""
    name, held = b"a.txt", b"bonjour"
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (made.compress(held) + made.flush() if method == zipfile.ZIP_DEFLATED else held) + b"1 euro"
    row = (20, 0, method, 0, 0x21, zlib.crc32(held), len(packed), len(held), len(name), 0)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *row) + name + packed
    central = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, *row, 0, 0, 0, 0, 0) + name
    signature = container("s", {"META-INF/signature.p7s": cades(WORLD.signer, held)})
    with zipfile.ZipFile(io.BytesIO(signature)) as archive:
        start = archive.start_dir
    end = signature.rindex(b"PK\5\6")
    moved = central[:42] + struct.pack("<I", start) + central[46:]
    directory = signature[start:end] + moved
    sizes = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 3, 3, len(directory), start + len(local), 0)
    return signature[:start] + local + directory + sizes


def _two_ends() -> bytes:
    """A 64-bit end that designates the directory that is signed, and a 32-bit one another: readers choose."""
    good = _simple_xades()
    end = good.rindex(b"PK\5\6")
    start = struct.unpack("<I", good[end + 16 : end + 20])[0]
    at = end - start  # of the first end, after the directory
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        count = len(archive.infolist())
    first = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, at, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    return good[:end] + first + locator + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0, 0, 0, start, 0)


def _commented() -> bytes:
    out = io.BytesIO(_simple_xades())
    with zipfile.ZipFile(out, "a") as archive:
        archive.getinfo("acte.txt").comment = b"1 euro"
        archive.writestr("META-INF/", b"")
    return out.getvalue()


def _attributes(attributes: int) -> bytes:
    """One of the contents has these external attributes: of Unix above, of DOS below."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_extended_xades())) as read, zipfile.ZipFile(out, "w") as archive:
        for row in read.infolist():
            held = read.read(row.filename)
            if row.filename == "acte.txt":
                row.create_system, row.external_attr = 3, attributes
            archive.writestr(row, held)
    return out.getvalue()


def _folder(name: str) -> bytes:
    out = io.BytesIO(_extended_xades())
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, b"")
    return out.getvalue()


_LIST = (
    b'<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" m:version="1.2">'
    b'<m:file-entry m:full-path="acte.txt" m:media-type="text/plain"/></m:manifest>'
)


def _covering_all(*, altered: bool = False) -> bytes:
    """A signature that covers the type and the list of the entries too, as some tools do."""
    files = {**FILES, "mimetype": _TYPES["e"].encode(), "META-INF/manifest.xml": _LIST}
    signature = detached_xades(WORLD.signer, files, container=True)
    listed = _LIST.replace(b"plain", b"html") if altered else _LIST
    return container("e", {**FILES, "META-INF/manifest.xml": listed, "META-INF/signatures.xml": signature})


def _manifest_of_xml(root: bytes) -> bytes:
    """A manifest that says of which XML signature it is, and that this signature does not cover."""
    said = root + b' xmlns:asic="http://uri.etsi.org/02918/v1.2.1#"><asic:SigReference '
    said += b'URI="META-INF/signatures.xml"/>1 euro</' + root[1:] + b">"
    signature = detached_xades(WORLD.signer, FILES, container=True)
    return container("e", {**FILES, "META-INF/ASiCManifest9.xml": said, "META-INF/signatures.xml": signature})


def _second_manifest() -> bytes:
    """Another root that designates a signature which has its manifest already."""
    said, evil = (
        manifest(FILES),
        b'<x xmlns:asic="http://uri.etsi.org/02918/v1.2.1#">1 euro<asic:SigReference ',
    )
    entries = {
        **FILES,
        "META-INF/ASiCManifest.xml": said,
        "META-INF/ASiCManifest9.xml": evil + b'URI="META-INF/signature.p7s"/></x>',
        "META-INF/signature.p7s": cades(WORLD.signer, said),
    }
    return container("e", entries)


def _bomb() -> bytes:
    return _extended_xades({**FILES, "zero.bin": bytes(300 * 1024 * 1024)})


CASES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "ASiC-S with CAdES": (_simple_cades, PASSED, ""),
    "ASiC-S with XAdES": (_simple_xades, PASSED, ""),
    "ASiC-E with XAdES": (_extended_xades, PASSED, ""),
    "ASiC-E with CAdES": (_extended_cades, PASSED, ""),
    "ASiC-S with an altered content": (lambda: _simple_cades(b"1 euro"), FAILED, "HASH_FAILURE"),
    "ASiC-E, XAdES, altered": (lambda: _extended_xades({**FILES, "acte.txt": b"1"}), FAILED, "HASH_FAILURE"),
    "ASiC-E, CAdES, altered": (lambda: _extended_cades({**FILES, "acte.txt": b"1"}), FAILED, "HASH_FAILURE"),
    "a manifest that was not signed": (lambda: _extended_cades(signed=b"autre"), FAILED, "HASH_FAILURE"),
    "a content missing": (lambda: _extended_cades(ONE), UNSURE, "SIGNED_DATA_NOT_FOUND"),
    "a content that no manifest lists": (lambda: _extended_cades(listed=ONE), UNSURE, "FORMAT_FAILURE"),
    "a content added": (lambda: _added("autre.txt"), UNSURE, "FORMAT_FAILURE"),
    "a content hidden among the signatures": (lambda: _added("META-INF/a.pdf"), UNSURE, "FORMAT_FAILURE"),
    "several contents, no manifest": (_no_manifest, UNSURE, "FORMAT_FAILURE"),
    "the same name twice": (_twice, UNSURE, ""),
    "the same name in another case": (lambda: _added("ACTE.txt"), UNSURE, ""),
    "a name that goes up": (lambda: _added("../acte.txt"), UNSURE, ""),
    "an absolute name": (lambda: _added("/etc/acte.txt"), UNSURE, ""),
    "two names for the same bytes": (_local_name, UNSURE, ""),
    "bytes between the entries": (_hidden, UNSURE, ""),
    "bytes before the container": (lambda: b"PK\x03\x04" + _simple_xades(), UNSURE, ""),
    "written again": (lambda: _written_again("acte.txt"), PASSED, ""),
    "a second name beside the first": (_two_names, UNSURE, ""),
    "a document for a media type": (
        lambda: _written_again("mimetype", data=b"%PDF-1.4 1 euro"),
        UNSURE,
        "FORMAT_FAILURE",
    ),
    "another method in a local header": (_stored_for_streams, UNSURE, ""),
    "bytes after a compressed entry": (lambda: _after(zipfile.ZIP_DEFLATED), UNSURE, ""),
    "bytes after a stored entry": (lambda: _after(zipfile.ZIP_STORED), UNSURE, ""),
    "two ends": (_two_ends, UNSURE, ""),
    "the comment of an entry": (_commented, UNSURE, ""),
    "bytes after the end": (lambda: _simple_xades() + b"%PDF-1.4 1 euro", UNSURE, ""),
    "an extra field of data": (
        lambda: _written_again("acte.txt", extra=struct.pack("<HH", 0x9999, 6) + b"1 euro"),
        UNSURE,
        "",
    ),
    "a link": (lambda: _attributes(0o120777 << 16), UNSURE, ""),
    "a device": (lambda: _attributes(0o020666 << 16), UNSURE, ""),
    "a file that says it is a folder": (lambda: _attributes(0x10), UNSURE, ""),
    "a file of Unix": (lambda: _attributes(0o100644 << 16), PASSED, ""),
    "a file of Windows": (lambda: _attributes(0x20), PASSED, ""),
    "a folder that holds the signatures": (lambda: _folder("META-INF/"), PASSED, ""),
    "a folder whose name speaks": (lambda: _folder("OFFRE RETIREE/"), UNSURE, "FORMAT_FAILURE"),
    "a folder in the place of a file": (lambda: _folder("acte.txt/"), UNSURE, "FORMAT_FAILURE"),
    "the type and the list covered too": (_covering_all, PASSED, ""),
    "the list covered, then altered": (lambda: _covering_all(altered=True), FAILED, "HASH_FAILURE"),
    "a manifest that is none": (lambda: _manifest_of_xml(b"<x"), UNSURE, "FORMAT_FAILURE"),
    "a manifest of an XML signature": (
        lambda: _manifest_of_xml(b"<asic:ASiCManifest"), UNSURE, "FORMAT_FAILURE"
    ),
    "a second manifest that is none": (_second_manifest, UNSURE, "FORMAT_FAILURE"),
    "a bomb": (_bomb, UNSURE, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_verdict(case: str, tmp_path: Path) -> None:
    make, indication, sub = CASES[case]
    report = judge(make(), tmp_path, WORLD.trust)
    assert verdict(report) == (indication, sub), report


def test_the_report_names_the_container_and_what_is_covered(tmp_path: Path) -> None:
    (signature,) = judge(_extended_cades(), tmp_path, WORLD.trust).signatures
    assert signature.format == "ASiC-E CAdES"
    assert set(signature.covers) == set(FILES)


def test_an_archive_without_signature_has_no_indication(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../acte.txt", b"x")
    report = judge(out.getvalue(), tmp_path, WORLD.trust)
    assert report.indication == ""
    assert "signez chaque document" in report.reason
