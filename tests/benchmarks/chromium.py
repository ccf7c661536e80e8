"""Sealing in a real Chromium against slice reads, and sealing + PUT against raw PUT of the same parts."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from deploy.install import node
from deploy.services.process import Service
from tests.benchmarks.figures import Figure, workplace
from tests.benchmarks.sealing import random_file

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
    with workplace(2 * SIZE) as folder:
        file = random_file(folder / "plain.bin", SIZE)
        _Server.script = _bundle(folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--disable-gpu", "--disable-background-networking", "--no-first-run"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=str(program), args=flags)
                page = browser.new_page()
                page.set_default_timeout(120_000)
                page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
                page.set_input_files("input", file)
                yield from _measured(page)
                browser.close()
        finally:
            server.shutdown()


def _measured(page: Page) -> Iterator[Figure]:
    def speed(name: str) -> float:
        return SIZE / 1e6 / min(page.evaluate(_MEASURE, name) for _ in range(3))

    read, raw = speed("read"), speed("put")
    yield Figure("seal.chromium", speed("seal"), "MB/s", "slice read", read)
    yield Figure("seal.chromium.cipher", speed("cipher"), "MB/s", "slice read", read)
    yield Figure("sealput.chromium", speed("sealput"), "MB/s", "raw PUT of the same parts", raw)
