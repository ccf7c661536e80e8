"""Sealing in a real Chromium against slice reads, and sealing + PUT against raw PUT of the same parts."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from deploy.install import node
from deploy.services.process import Service
from tests.benchmarks.figures import GB, Figure, workplace
from tests.benchmarks.sealing import random_file
from tests.web.processes import PROC, processes

ROOT = Path(__file__).resolve().parents[2]
SIZE = 512 * 1024**2
_PAGE = b"<!doctype html><title>bench</title><input type=file>"
_MEASURE = """(name) => new Promise((resolve, reject) => {
  const worker = new Worker("/worker.js");
  worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
  worker.onerror = (event) => reject(new Error(event.message));
  worker.postMessage({ name, file: document.querySelector("input").files[0] });
})"""


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script = b""

    def do_GET(self) -> None:
        is_script = self.path == "/worker.js"
        self._answer(self.script if is_script else _PAGE, "text/javascript" if is_script else "text/html")

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1024**2)))
        self._answer(b"", "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the figures are what is printed."""


def _bundle(folder: Path) -> bytes:
    esbuild = ROOT / "node_modules" / "esbuild" / "bin" / "esbuild"
    out = folder / "worker.js"
    source = ROOT / "tests" / "benchmarks" / "chromium_worker.js"
    command = [node()[0], esbuild, source, "--bundle", "--minify", "--format=iife", f"--outfile={out}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return out.read_bytes()


def figures() -> Iterator[Figure]:
    """512 MB, one worker, the fastest of three."""
    program = Service.find("chromium")
    if program is None:
        sys.stderr.write("chromium non mesuré : il manque chromium\n")
        return
    with workplace(2 * SIZE) as folder, _page(program, folder, SIZE) as page:
        yield from _measured(page)


@contextmanager
def _page(program: Path, folder: Path, size: int) -> Iterator[Page]:
    """A page of a new browser, that has chosen a random file of this size (bytes)."""
    file = random_file(folder / "plain.bin", size)
    _Server.script = _bundle(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(program), args=flags)
            page = browser.new_page()
            page.set_default_timeout(600_000)
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
            page.set_input_files("input", file)
            yield page
            browser.close()
    finally:
        server.shutdown()


def memory_figures() -> Iterator[Figure]:
    """The deposit's worker, sealing and sending: peak of the renderer that has it, at 1 GB and 4 GB."""
    if (program := Service.find("chromium")) is None:
        sys.stderr.write("mémoire de chromium non mesurée : il manque chromium\n")
        return
    peaks: dict[int, float] = {}
    for size in (16 * 1024**2, GB, 4 * GB):
        with workplace(size + GB) as folder, _page(program, folder, size) as page:
            page.evaluate(_MEASURE, "sealput")
            peaks[size] = max(_peak(pid) for pid in processes())
    for size in (GB, 4 * GB):
        name = f"memory.chromium.{size // GB}GB"
        yield Figure(name, peaks[size], "MiB", "same page, 16 MB", peaks[16 * 1024**2])


def _peak(pid: int) -> float:
    """MiB, of a renderer; 0 for the other processes of the browser."""
    if b"--type=renderer" not in (PROC / str(pid) / "cmdline").read_bytes():
        return 0.0
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _measured(page: Page) -> Iterator[Figure]:
    def speed(name: str) -> float:
        return SIZE / 1e6 / min(page.evaluate(_MEASURE, name) for _ in range(3))

    read, raw = speed("read"), speed("put")
    yield Figure("seal.chromium", speed("seal"), "MB/s", "slice read", read)
    yield Figure("seal.chromium.cipher", speed("cipher"), "MB/s", "slice read", read)
    yield Figure("sealput.chromium", speed("sealput"), "MB/s", "raw PUT of the same parts", raw)
