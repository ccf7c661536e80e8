"""Acts through the whole path, over TLS: posted, checked, sent, acknowledged; and the memory of it."""

import ssl
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from deploy.services.pki import Held
from deploy.transmission import Stack
from tests.benchmarks.figures import Figure

ACTS, LARGE = 40, 3
LARGE_BYTES = 149 * 1024 * 1024
_MODULE = "/modules/actes/"
_FIELDS = {
    "api": "1", "nature_code": "1", "classif1": "1", "classif2": "1", "decision_date": "2026-01-10",
    "subject": "Banc d'essai", "type_acte": "99_DE",
}  # fmt: skip


def large_pdf(path: Path, size: int) -> Path:
    """A true PDF of one page whose one stream fills it, with its cross-reference table."""
    noise = Path("/dev/urandom").open("rb")  # noqa: SIM115  (closed below)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<<>>>>",
    ]
    with path.open("wb") as out:
        out.write(b"%PDF-1.7\n")
        places = []
        for number, body in enumerate(objects, start=1):
            places.append(out.tell())
            out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        places.append(out.tell())
        out.write(b"4 0 obj\n<</Length %d>>\nstream\n" % size)
        for _ in range(size // (1024 * 1024)):
            out.write(noise.read(1024 * 1024))
        out.write(noise.read(size % (1024 * 1024)))
        out.write(b"\nendstream\nendobj\n")
        start = out.tell()
        out.write(b"xref\n0 5\n0000000000 65535 f \n")
        out.writelines(b"%010d 00000 n \n" % place for place in places)
        out.write(b"trailer\n<</Root 1 0 R/Size 5>>\nstartxref\n%d\n%%%%EOF\n" % start)
    noise.close()
    return path


def _client(stack: Stack, held: Held) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(stack.pki.held.pem))
    context.load_cert_chain(held.pem, held.key_pem)
    return httpx.Client(base_url=stack.nginx.url, verify=context, timeout=300)


def _post(client: httpx.Client, number: str, document: Path) -> int:
    with document.open("rb") as file:
        answer = client.post(
            f"{_MODULE}actes_transac_create.php",
            data={**_FIELDS, "number": number},
            files={"acte_pdf_file": ("acte.pdf", file, "application/pdf")},
        )
    lines = answer.text.split("\n")
    if lines[0] != "OK":
        raise RuntimeError(answer.text)
    return int(lines[1])


def _acknowledged(client: httpx.Client, pks: list[int]) -> None:
    waiting = list(pks)
    while waiting:
        body = client.get(f"{_MODULE}actes_transac_get_status.php", params={"transaction": str(waiting[0])})
        status = int(body.text.split("\n")[1])
        if status == -1:
            raise RuntimeError(body.text)
        if status == 4:
            waiting.pop(0)
        else:
            time.sleep(0.1)


def _peak(stack: Stack) -> float:
    """MiB: the highest peak of one process of the web or of the worker."""
    groups = {child.pid for child in stack.started}
    peaks = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            said = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            group = int((status.parent / "stat").read_text().rsplit(")", 1)[1].split()[2])
        except (OSError, ValueError):
            continue
        if group in groups and "VmHWM" in said:
            peaks.append(int(said["VmHWM"].split()[0]) // 1024)
    return float(max(peaks))


def figures() -> Iterator[Figure]:
    """The reference of the memory is the same processes before the large archives."""
    with tempfile.TemporaryDirectory(prefix="dematmp-bench-") as folder:
        stack = Stack(Path(folder), delay=0.0)
        held = stack.pki.client("banc")
        try:
            stack.start()
            stack.account(held)
            small = large_pdf(Path(folder) / "small.pdf", 40_000)
            with _client(stack, held) as client:
                _acknowledged(client, [_post(client, "CHAUFFE", small)])
                started = time.monotonic()
                with ThreadPoolExecutor(4) as pool:
                    pks = list(pool.map(lambda n: _post(client, f"BANC_{n}", small), range(ACTS)))
                posted = time.monotonic() - started
                _acknowledged(client, pks)
                whole = time.monotonic() - started
                yield Figure("acts.posted", ACTS * 60 / posted, "acts/min", "4 clients", 0.0)
                yield Figure("acts.acknowledged", ACTS * 60 / whole, "acts/min", "whole path", 0.0)
                idle = _peak(stack)
                big = large_pdf(Path(folder) / "large.pdf", LARGE_BYTES)
                started = time.monotonic()
                for number in range(LARGE):
                    _acknowledged(client, [_post(client, f"GROS_{number}", big)])
                each = (time.monotonic() - started) / LARGE
                yield Figure("acts.large.149MiB", each, "s", "one act, whole path", 0.0)
                yield Figure("acts.memory.149MiB", _peak(stack), "MiB", "same processes, small acts", idle)
        finally:
            stack.stop()
