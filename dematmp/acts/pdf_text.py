"""The text of a PDF, read by pypdf in a subprocess with limits; nothing here needs Django.

`python -m dematmp.acts.pdf_text FILE BYTES` writes it in UTF-8, page after page: what came before a limit
counts.
"""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

MEMORY_LIMIT = 1024**3  # bytes of address space
TIME_LIMIT = 30  # seconds
_ROOT = Path(__file__).resolve().parents[2]


def text_of(path: Path, *, chars: int) -> str:
    """At most that many characters, blanks made one; empty for a scan and for what breaks the reader."""
    with path.open("rb") as file:
        if file.read(5) != b"%PDF-":
            return ""
    limit = 4 * chars  # bytes: four at most for a character
    command = [sys.executable, "-m", "dematmp.acts.pdf_text", str(path), str(limit)]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_ROOT)}
    with tempfile.TemporaryFile() as out:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, check=False,
                timeout=2 * TIME_LIMIT, cwd=_ROOT, env=environment,
            )  # fmt: skip
        out.seek(0)
        return " ".join(out.read(limit).decode(errors="ignore").replace("\x00", " ").split())[:chars]


def main(path: str, limit: int) -> None:
    """The subprocess: limits first, then parse. Whatever ends it, what it wrote counts."""
    for name, bound in (
        (resource.RLIMIT_AS, MEMORY_LIMIT),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, TIME_LIMIT),
        (resource.RLIMIT_FSIZE, limit),
    ):
        resource.setrlimit(name, (bound, bound))
    from pypdf import PdfReader

    for page in PdfReader(path).pages:
        sys.stdout.buffer.write(page.extract_text().encode(errors="ignore") + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
