"""PDFs are opened, mended, and their signatures checked in a subprocess with limits.

`python -m dematmp.acts.pdfs` reads jobs as JSON lines, and answers each by the verdicts of its files, or by
those that it wrote again.
"""

import io
import json
import logging
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pyhanko.pdf_utils.crypt import AuthStatus
from pyhanko.pdf_utils.reader import PdfFileReader
from pypdf import PdfReader, PdfWriter
from pypdf.errors import PyPdfError

from dematmp.acts.errors import JudgementUnfinished
from signing.pades import PDF_BROKEN
from signing.report import FAILED, INDETERMINATE
from signing.validation import validate

MEMORY_LIMIT = 2 * 1024**3  # bytes of address space
TIME_LIMIT = 120  # seconds of processor
WALL_LIMIT = 2 * TIME_LIMIT  # seconds: a busy machine is not a broken file
_MENDED_BYTES = 256 * 1024**2  # of a file written again
_ROOT = Path(__file__).resolve().parents[2]
_CORRUPT = "fichier pdf corrompu"
_LOCKED = "fichier pdf protégé par un mot de passe"
# What a reader may meet in a file that is not what it says.
_UNREADABLE = (OSError, PyPdfError, RecursionError, ArithmeticError, *PDF_BROKEN)
_PADDING = b" \t\r\n\f\0"  # what some devices add after the end, to fill their blocks
_BLOCK = 1024 * 1024
_TAIL_BYTES = 8 * 1024
# What pyHanko looks for from the end, byte by byte: without it there, it could walk back the whole file.
_END = re.compile(rb"[\r\n]startxref\s*[0-9]+[ \t\f\0]*[\r\n]+%%EOF")
# For a file that was cut after its last object, or written by hand: readers then look for its objects.
_TAIL = b"\nstartxref\n0\n%%EOF\n"


@dataclass(frozen=True)
class PdfVerdict:
    """`problem` is the reason for which the file is refused, or empty; `signed` counts its signatures."""

    pages: int
    signed: int
    problem: str


def judge(path: Path, *, at: datetime, trust: Sequence[bytes], chain: bool) -> PdfVerdict:
    """Open a PDF, count its pages, check its signatures.

    `chain` also asks that each certificate leads to an authority of `trust`. What every reader opens is
    taken: one without its table of objects, or that no password keeps from being read.
    """
    with path.open("rb") as file:
        end = _end_of(file)
        if (
            os.fstat(file.fileno()).st_size - end > _TAIL_BYTES
        ):  # blanks say nothing, and cost readers minutes
            with tempfile.NamedTemporaryFile(prefix="dematmp-pdf-", suffix=".pdf") as short:
                _copy(file, short, end)
                return judge(Path(short.name), at=at, trust=trust, chain=chain)
        file.seek(max(0, end - _TAIL_BYTES))
        if _END.search(file.read()) is None:
            return _mendable(path)
    try:
        with path.open("rb") as file:
            reader = PdfFileReader(file, strict=False)
            if reader.encrypted and reader.decrypt(b"").status == AuthStatus.FAILED:
                return PdfVerdict(0, 0, _LOCKED)
            pages = int(reader.root["/Pages"]["/Count"])
    except _UNREADABLE:
        return _mendable(path)
    if pages < 1:
        return PdfVerdict(0, 0, f"{_CORRUPT} : aucune page")
    report = validate(path, at=at, trust=trust)
    for each in report.signatures:
        if each.indication == FAILED:
            return PdfVerdict(pages, len(report.signatures), f"signature invalide : {each.reason}")
        if chain and each.indication == INDETERMINATE and each.coverage == "whole":
            return PdfVerdict(pages, len(report.signatures), f"signature non reconnue : {each.reason}")
    return PdfVerdict(pages, len(report.signatures), "")


def _end_of(file: BinaryIO) -> int:
    """Where the padding that ends a file begins."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        kept = file.read(end - begin).rstrip(_PADDING)
        if kept:
            return begin + len(kept)
        end = begin
    return 0


def _copy(file: BinaryIO, into: IO[bytes], size: int) -> None:
    """The first bytes of a file."""
    file.seek(0)
    while size and (block := file.read(min(_BLOCK, size))):
        into.write(block)
        size -= len(block)
    into.flush()


def trimmed(pdf: bytes) -> bytes | None:
    """A file without the padding that follows it; None when its end is not one, and is to be looked for."""
    if len(pdf) - len(short := pdf.rstrip(_PADDING)) <= _TAIL_BYTES:
        short = pdf
    return short if _END.search(short[-2 * _TAIL_BYTES :]) else None


def _lenient(data: bytes) -> PdfReader:
    """Raises what is in _UNREADABLE."""
    end = data.rfind(b"%%EOF")
    if 0 <= end < len(data) - _TAIL_BYTES:  # it would look for this one line after line
        data = data[: end + 5]
    try:
        found = PdfReader(io.BytesIO(data), strict=False)
        found.get_num_pages()
    except _UNREADABLE:
        found = PdfReader(io.BytesIO(data + _TAIL), strict=False)
    return found


def _mendable(path: Path) -> PdfVerdict:
    """Of a file without its table of objects; what it signs cannot be told, and it is refused if it signs."""
    try:
        data = path.read_bytes()
        pages = _lenient(data).get_num_pages()
    except _UNREADABLE:
        return PdfVerdict(0, 0, _CORRUPT)
    if pages < 1:
        return PdfVerdict(0, 0, f"{_CORRUPT} : aucune page")
    if b"/ByteRange" in data:
        return PdfVerdict(pages, 1, f"{_CORRUPT} : sa signature ne se lit pas")
    return PdfVerdict(pages, 0, "")


def mend(path: Path, out: Path) -> bool:
    """Write again, whole and in order, a file that is neither signed nor locked; False when it cannot be."""
    try:
        data = path.read_bytes()
        reader = _lenient(data)
        if b"/ByteRange" in data or reader.is_encrypted:
            return False
        PdfWriter(clone_from=reader).write(out)  # as a context, it would forget what it cloned
    except _UNREADABLE:
        return False
    return True


class _Helper:
    """A process that has imported everything, and forks a bounded child for each act: ten times cheaper."""

    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), 0
        self._process: subprocess.Popen[str] | None = None

    def ask(self, job: dict[str, object]) -> list[Any] | None:
        """The verdicts, or None when the child went beyond its limits."""
        with self._lock:
            if self._owner != os.getpid():  # forked since: the helper is that of the parent
                self._owner, self._process = os.getpid(), None
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            stdin, stdout = self._process.stdin, self._process.stdout
            if stdin is None or stdout is None:
                return None
            try:
                stdin.write(json.dumps(job) + "\n")
                stdin.flush()
                answer = stdout.readline()
            except OSError:
                answer = ""
            if not answer.endswith("]\n"):  # `null`, or a helper that died
                if not answer:
                    self._process.kill()
                    self._process = None
                return None
        return list(json.loads(answer))

    @staticmethod
    def _start() -> "subprocess.Popen[str]":
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "dematmp.acts.pdfs"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=_ROOT, env=environment,
        )  # fmt: skip


_HELPER = _Helper()


def judge_isolated(
    paths: Sequence[Path], *, at: datetime, trust: Sequence[Path], chain: bool
) -> list[PdfVerdict]:
    """`judge` on each file, in one bounded process. Raises JudgementUnfinished beyond its limits."""
    if not paths:
        return []
    job: dict[str, object] = {
        "files": [str(each) for each in paths],
        "at": at.isoformat(),
        "trust": [str(each) for each in trust],
        "chain": chain,
        "seconds": WALL_LIMIT,
    }
    found = _HELPER.ask(job)
    if found is None:
        raise JudgementUnfinished("Les fichiers PDF sont trop lourds à lire dans le temps permis.")
    return [PdfVerdict(**each) for each in found]


def mended(pdf: bytes) -> bytes | None:
    """What `mend` writes of a file, in the same bounded process; None when it cannot."""
    with tempfile.TemporaryDirectory(prefix="dematmp-pdf-") as folder:
        path, out = Path(folder, "a.pdf"), Path(folder, "b.pdf")
        path.write_bytes(pdf)
        done = _HELPER.ask({"mend": str(path), "out": str(out)})
        return out.read_bytes() if done == [True] else None


def _bounded(job: dict[str, object], out: int) -> None:
    """The forked child: limits first, then parse."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    logging.disable()  # readers write what they think of each object
    if "mend" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MENDED_BYTES, _MENDED_BYTES))
        said: list[object] = [mend(Path(str(job["mend"])), Path(str(job["out"])))]
        with os.fdopen(out, "wb") as file:
            file.write(json.dumps(said).encode())
        return
    trust = [Path(str(each)).read_bytes() for each in cast(list[str], job["trust"])]
    at = datetime.fromisoformat(str(job["at"]))
    files = [Path(each) for each in cast(list[str], job["files"])]
    verdicts = [judge(each, at=at, trust=trust, chain=bool(job["chain"])) for each in files]
    with os.fdopen(out, "wb") as file:
        file.write(json.dumps([asdict(each) for each in verdicts]).encode())


def _forked(job: dict[str, object]) -> str:
    """What the child of one job said, or `null` when it died or took too long."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            _bounded(job, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    said, until = b"", time.monotonic() + float(str(job.get("seconds", WALL_LIMIT)))
    with os.fdopen(reading, "rb", buffering=0) as file:
        while select.select([file], [], [], max(0.0, until - time.monotonic()))[0]:
            block = file.read(65536)
            if not block:
                break
            said += block
        else:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return said.decode() if status == 0 else "null"


def main() -> int:
    """One job per line of the standard input, until it closes."""
    for line in sys.stdin:
        sys.stdout.write(_forked(json.loads(line)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
